//! An application compiled: what it may reach, by which paths, and what counts its requests.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderValue, Method};

use super::address::AddressRules;
use super::checks;
use super::limit::CompiledLimit;
use super::pattern::Pattern;
use super::problems::Problems;
use super::route::Methods;
use super::tree::{Tree, Walk};
use crate::model::{Application, Id, WhitelistEntry};

#[derive(Debug)]
pub struct CompiledApplication {
    pub source: Arc<Application>,
    pub name: Arc<str>,
    /// The name as backends are told it.
    pub header: HeaderValue,
    pub(super) services: Grant,
    pub(super) versions: Grant,
    pub(super) address: AddressRules,
    pub limits: Vec<Arc<CompiledLimit>>,
    pub(super) whitelist: Tree<Arc<Rule>>,
    /// The rules that let the anonymous in.
    pub(super) public: Vec<Arc<Rule>>,
}

/// A whitelist entry compiled.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: Id<WhitelistEntry>,
    pub(super) application: Arc<str>,
    pub(super) pattern: Pattern,
    /// `None` grants no method.
    pub(super) methods: Option<Methods>,
    pub(super) versions: Grant,
    pub(super) limit: Option<Arc<CompiledLimit>>,
}

/// A list that grants something: an empty one grants nothing, `*` grants all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    All,
    Only(Box<[Box<str>]>),
}

impl Grant {
    pub(super) fn new(names: &[String]) -> Self {
        if names.iter().any(|name| name == "*") {
            Self::All
        } else {
            Self::Only(names.iter().map(|name| name.as_str().into()).collect())
        }
    }

    #[inline]
    pub(super) fn holds(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|it| **it == *name),
        }
    }
}

impl Rule {
    pub(super) fn takes(&self, method: &Method) -> bool {
        self.methods.as_ref().is_some_and(|methods| methods.contain(method))
    }

    /// `None` when its path is no pattern; why is among the problems then.
    /// `before` is how many entries of the same path stand before it.
    fn compile(application: &Arc<str>, entry: &WhitelistEntry, before: usize, problems: &mut Problems) -> Option<Self> {
        let pattern = Pattern::parse(&entry.endpoint_path).map_err(|why| problems.add("endpointPath", why)).ok();
        let methods = if entry.allowed_methods.iter().any(|method| method == "*") {
            Some(Methods::Any)
        } else if entry.allowed_methods.is_empty() {
            None
        } else {
            Some(Methods::parse(&entry.allowed_methods, "allowedMethods", problems))
        };
        let owner = format!("applications/{application}/whitelist/{}", entry.endpoint_path);
        let limit = (entry.rate_limit > 0).then(|| CompiledLimit::a_minute(&owner, before, entry.rate_limit));
        let versions = Grant::new(&entry.allowed_versions);
        Some(Self { id: entry.id, application: application.clone(), pattern: pattern?, methods, versions, limit })
    }
}

impl CompiledApplication {
    pub(super) fn compile(source: &Arc<Application>, problems: &mut Problems) -> Self {
        checks::name(&source.name, problems);
        problems.within("limits", |problems| checks::limits(&source.limits, problems));
        let name: Arc<str> = source.name.as_str().into();
        let (mut whitelist, mut public) = (Tree::default(), Vec::new());
        let mut paths = HashMap::<&str, usize>::new();
        for (at, entry) in source.whitelist.iter().enumerate() {
            let count = paths.entry(&entry.endpoint_path).or_default();
            let before = std::mem::replace(count, *count + 1);
            let compiled = problems.within(&format!("whitelist/{at}"), |it| Rule::compile(&name, entry, before, it));
            let Some(rule) = compiled.map(Arc::new) else { continue };
            whitelist.edit(rule.pattern.skeleton(), |rules| rules.push(rule.clone()));
            if entry.is_public {
                public.push(rule);
            }
        }
        Self {
            // A name that compiles is plain ASCII.
            header: HeaderValue::try_from(&source.name).unwrap_or_else(|_| HeaderValue::from_static("-")),
            services: Grant::new(&source.allowed_services),
            versions: Grant::new(&source.allowed_versions),
            address: AddressRules::new(&source.ip_allow, &source.ip_deny),
            limits: CompiledLimit::all(&format!("applications/{name}"), &source.limits),
            source: source.clone(),
            name,
            whitelist,
            public,
        }
    }

    /// The most specific rule for `path` that `accept` takes.
    pub(super) fn rule<'a>(&'a self, path: &'a str, accept: impl FnMut(&Rule) -> bool) -> Option<&'a Arc<Rule>> {
        first_rule(&self.whitelist, path, accept)
    }
}

/// The most specific rule for `path` that `accept` takes, in a tree of rules.
pub(super) fn first_rule<'a>(
    tree: &'a Tree<Arc<Rule>>,
    path: &'a str,
    mut accept: impl FnMut(&Rule) -> bool,
) -> Option<&'a Arc<Rule>> {
    Walk::new(path, |rules: &'a [Arc<Rule>]| rules.iter().find(|rule| accept(rule))).walk(tree, Some(1))
}

/// The rules of all applications that let the anonymous in; under one pattern in the order of the applications' names.
pub(super) type PublicRules = Tree<Arc<Rule>>;

pub(super) fn publish(tree: &mut PublicRules, application: &CompiledApplication) {
    for rule in &application.public {
        tree.edit(rule.pattern.skeleton(), |rules| {
            let at = rules.partition_point(|other| other.application <= rule.application);
            rules.insert(at, rule.clone());
        });
    }
}

pub(super) fn withdraw(tree: &mut PublicRules, application: &CompiledApplication) {
    for rule in &application.public {
        tree.edit(rule.pattern.skeleton(), |rules| rules.retain(|other| other.application != application.name));
    }
}
