//! A snapshot in words: what golden files and people compare.

use std::fmt::Write;
use std::sync::Arc;

use super::address::AddressRules;
use super::application::{CompiledApplication, Grant, Rule};
use super::limit::CompiledLimit;
use super::route::{CompiledRoute, Methods};
use super::routing::{Hosts, Root};
use super::service::Cluster;
use super::{Snapshot, Table};
use crate::model::{LimitBy, OnStoreError, Target};

impl Snapshot {
    /// The routing table, the services and who may call as text, in an order of its own that does not depend on how they came
    /// to be.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut out = String::new();
        self.hosts.describe(&mut out);
        for (name, service) in sorted(&self.services) {
            let state = if service.source.is_active { "" } else { " (inactive)" };
            line(&mut out, &format!("service {name}{state}"));
            for version in &service.versions {
                let header = format!("  version {} of {} weight {}", version.name, version.api_version, version.weight);
                line(&mut out, &format!("{header} -> {}", instances(&version.cluster)));
            }
            for (label, cluster) in [("default", &service.default_cluster), ("fallback", &service.fallback)] {
                if let Some(cluster) = cluster {
                    line(&mut out, &format!("  {label} -> {}", instances(cluster)));
                }
            }
        }
        for (name, referrers) in sorted(&self.referrers) {
            line(
                &mut out,
                &format!(
                    "used {name} by {}",
                    sorted(&referrers.names).iter().map(|(name, ())| *name).collect::<Vec<_>>().join(", ")
                ),
            );
        }
        self.describe_access(&mut out);
        out
    }

    fn describe_access(&self, out: &mut String) {
        describe_limits("defaults limit", &self.defaults.limits, out);
        describe_addresses("defaults", &self.defaults.address, out);
        for (name, route) in sorted(&self.routes) {
            describe_limits(&format!("route {name} limit"), &route.limits, out);
            describe_addresses(&format!("route {name}"), &route.address, out);
        }
        for (_, application) in sorted(&self.applications) {
            application.describe(out);
        }
        self.public_rules.each_in_order("", &mut |path, rule| {
            line(out, &format!("public {path} [{}] of {}", rule.methods_in_words(), rule.application));
        });
        for (prefix, _) in sorted(&self.keys) {
            let found =
                self.key(prefix).map_or("?".to_owned(), |it| format!("\"{}\" of {}", it.key.name, it.application.name));
            line(out, &format!("key {prefix} is {found}"));
        }
        for (name, issuer) in sorted(&self.issuers) {
            line(out, &format!("issuer {name} is {}", issuer.issuer));
        }
        for (iss, issuer) in sorted(&self.issuer_names) {
            line(out, &format!("iss {iss} is of {}", issuer.name));
        }
        for (issuer, clients) in sorted(&self.clients) {
            for (client, application) in sorted(clients) {
                line(out, &format!("client {issuer} {client} is {}", application.name));
            }
        }
    }
}

impl CompiledApplication {
    fn describe(&self, out: &mut String) {
        let state = if self.source.is_active { "" } else { " (inactive)" };
        let (services, versions) = (self.services.in_words(), self.versions.in_words());
        line(out, &format!("application {}{state} services {services} versions {versions}", self.name));
        describe_limits("  limit", &self.limits, out);
        describe_addresses(" ", &self.address, out);
        self.whitelist.each_in_order("", &mut |path, rule| {
            let limit = rule.limit.as_ref().map(|limit| format!(" limit {}", limit.in_words())).unwrap_or_default();
            let (methods, versions) = (rule.methods_in_words(), rule.versions.in_words());
            line(out, &format!("  entry {path} [{methods}] versions {versions}{limit}"));
        });
    }
}

impl Rule {
    fn methods_in_words(&self) -> String {
        self.methods.as_ref().map_or_else(|| "no method".to_owned(), Methods::in_words)
    }
}

impl Grant {
    fn in_words(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::Only(names) if names.is_empty() => "none".to_owned(),
            Self::Only(names) => names.join("|"),
        }
    }
}

impl CompiledLimit {
    fn in_words(&self) -> String {
        let by = match self.by {
            LimitBy::Global => "global",
            LimitBy::Application => "application",
            LimitBy::Key => "key",
            LimitBy::Subject => "subject",
            LimitBy::Ip => "ip",
        };
        let shared = match (self.shared, self.on_store_error) {
            (false, _) => "",
            (true, OnStoreError::Local) => " shared",
            (true, OnStoreError::Allow) => " shared or allow",
            (true, OnStoreError::Deny) => " shared or deny",
        };
        let Self { name, requests, per_seconds, burst, .. } = self;
        format!("{name}: {requests} in {per_seconds} s, burst {burst}, by {by}{shared}")
    }
}

fn describe_limits(label: &str, limits: &[Arc<CompiledLimit>], out: &mut String) {
    for limit in limits {
        line(out, &format!("{label} {}", limit.in_words()));
    }
}

fn describe_addresses(label: &str, rules: &AddressRules, out: &mut String) {
    let words = rules.in_words();
    if !words.is_empty() {
        line(out, &format!("{label} addresses{words}"));
    }
}

impl Hosts {
    fn describe(&self, out: &mut String) {
        let hosts = |table, prefix: &'static str| {
            sorted::<Root>(table).into_iter().map(move |(host, root)| (format!("{prefix}{host}"), root))
        };
        let roots = hosts(&self.exact, "").chain(hosts(&self.wildcard, "*."));
        for (host, root) in roots.chain([("any".to_owned(), &self.any)]) {
            line(out, &format!("host {host}"));
            root.each_in_order("", &mut |path, route| line(out, &format!("  {path} {}", route.describe())));
        }
    }
}

impl Methods {
    fn in_words(&self) -> String {
        match self {
            Self::Any => "any method".to_owned(),
            Self::Only { .. } => self.iter().map(http::Method::as_str).collect::<Vec<_>>().join("|"),
        }
    }
}

impl CompiledRoute {
    fn describe(&self) -> String {
        let methods = self.methods.in_words();
        let conditions = match self.conditions.len() {
            0 => String::new(),
            count => format!(" if {count} hold"),
        };
        let target = match &self.source.target {
            Target::Service(name) => format!("service {name}"),
            Target::Queue(name) => format!("queue {name}"),
            Target::Redirect(redirect) => format!("redirect {} {}", redirect.status_code, redirect.location),
            Target::Respond(respond) => format!("respond {}", respond.status_code),
            Target::Channel(_) => "channel".to_owned(),
            Target::Aggregate(_) => "aggregate".to_owned(),
        };
        let rewrite = self.source.rewrite.as_ref().map(|to| format!(" as {to}")).unwrap_or_default();
        format!("[{methods}{conditions}] {} priority {} -> {target}{rewrite}", self.source.name, self.source.priority)
    }
}

fn instances(cluster: &Cluster) -> String {
    let one = |it: &super::UpstreamInstance| {
        let scheme = if it.url.tls { "https" } else { "http" };
        format!("{scheme}://{}{} x{}", it.url.authority, it.url.base_path, it.weight)
    };
    cluster.instances.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn sorted<V: Clone>(table: &Table<V>) -> Vec<(&str, &V)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| *name);
    entries
}

fn line(out: &mut String, text: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(out, "{text}");
}
