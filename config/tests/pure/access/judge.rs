//! A second judge, written from the design alone: it lists every entry that could grant, and takes the best. Slow and plain, so
//! that it can be believed. It knows one service with versions, and names it by `s`.

use std::collections::BTreeSet;

use gateway_config::model::{Access, Application, Credential, InvalidCredentials, WhitelistEntry};
use gateway_config::snapshot::Code;

use crate::naive::fits;

/// What the world holds, as it was configured.
pub(super) struct World<'w> {
    pub(super) access: &'w Access,
    /// (name, API version, active)
    pub(super) versions: &'w [(&'static str, &'static str, bool)],
    pub(super) applications: &'w [Application],
}

/// What is asked for.
pub(super) struct Asked<'w> {
    pub(super) path: &'w str,
    pub(super) method: &'w str,
    pub(super) pin: Option<&'w str>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    Anonymous,
    Rejected(Code),
    Known(Known),
}

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) application: Option<String>,
    pub(super) has_key: bool,
    pub(super) has_token: bool,
    pub(super) roles: Vec<&'static str>,
    pub(super) scopes: Vec<&'static str>,
}

/// The versions of which one serves, and the entry that is accounted: its application and its place there.
pub(super) type Verdict = Result<(BTreeSet<String>, Option<(String, usize)>), Code>;

pub(super) fn judge(world: &World<'_>, asked: &Asked<'_>, who: &Asker) -> Verdict {
    let verdict = match who {
        Asker::Anonymous => anonymous(world, asked),
        Asker::Rejected(code) if world.access.invalid_credentials == InvalidCredentials::Refuse => Err(*code),
        Asker::Rejected(code) => {
            let open = anonymous(world, asked).and_then(|verdict| roles(world, who).map(|()| verdict));
            open.map_err(|_| *code)
        }
        Asker::Known(known) => verified(world, asked, known),
    };
    let (served, accounted) = verdict?;
    roles(world, who)?;
    // Unknown is told only to those who may use the service at all.
    if asked.pin.is_some_and(|pin| has_versions(world) && !world.versions.iter().any(|it| it.2 && it.1 == pin)) {
        return Err(Code::UnknownVersion);
    }
    Ok((served, accounted))
}

fn has_versions(world: &World<'_>) -> bool {
    !world.versions.is_empty()
}

/// The versions that the request may mean and that `allows` takes.
fn candidates(world: &World<'_>, asked: &Asked<'_>, allows: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let active = || world.versions.iter().filter(|version| version.2);
    let is_known = asked.pin.is_some_and(|pin| active().any(|version| version.1 == pin));
    let meant = |api: &str| !is_known || asked.pin == Some(api);
    active().filter(|version| meant(version.1) && allows(version.1)).map(|version| version.0.to_owned()).collect()
}

/// Where no version is active `defaultUrl` serves, and there is nothing to narrow.
fn is_narrowed(world: &World<'_>) -> bool {
    world.versions.iter().any(|version| version.2)
}

fn unnarrowed(world: &World<'_>, asked: &Asked<'_>) -> BTreeSet<String> {
    if is_narrowed(world) { candidates(world, asked, |_| true) } else { BTreeSet::from([String::new()]) }
}

fn anonymous(world: &World<'_>, asked: &Asked<'_>) -> Verdict {
    if world.access.any_of.contains(&Credential::Public) {
        return Ok((unnarrowed(world, asked), None));
    }
    let all = world
        .applications
        .iter()
        .filter(|application| application.is_active && grants(&application.allowed_services, "s"));
    let entries = all.flat_map(|application| granting(world, asked, application)).filter(|grant| grant.entry.is_public);
    let best = entries.min_by_key(|grant| (grant.kinds.clone(), grant.application.to_owned(), grant.at));
    best.map(Grant::verdict).ok_or(Code::CredentialsMissing)
}

fn verified(world: &World<'_>, asked: &Asked<'_>, known: &Known) -> Verdict {
    let application = known
        .application
        .as_ref()
        .map(|name| world.applications.iter().find(|application| application.name == *name).unwrap());
    if application.is_some_and(|application| !application.is_active) {
        return Err(Code::ApplicationInactive);
    }
    by_name(world, asked, known, application).or_else(|code| anonymous(world, asked).map_err(|_| code))
}

fn by_name(world: &World<'_>, asked: &Asked<'_>, known: &Known, application: Option<&Application>) -> Verdict {
    let lists = |credential| world.access.any_of.contains(&credential);
    if !(known.has_key && lists(Credential::ApiKey) || known.has_token && lists(Credential::Jwt)) {
        return Err(Code::CredentialsMissing);
    }
    if !world.access.application_required {
        return Ok((unnarrowed(world, asked), None));
    }
    let Some(application) = application else { return Err(Code::ServiceNotAllowed) };
    if !grants(&application.allowed_services, "s") {
        return Err(Code::ServiceNotAllowed);
    }
    if is_narrowed(world) && candidates(world, asked, |api| grants(&application.allowed_versions, api)).is_empty() {
        return Err(Code::VersionNotAllowed);
    }
    if let Some(best) =
        granting(world, asked, application).into_iter().min_by_key(|grant| (grant.kinds.clone(), grant.at))
    {
        return Ok(best.verdict());
    }
    let is_listed = application.whitelist.iter().any(|entry| takes(entry, asked).is_some());
    Err(if is_listed { Code::VersionNotAllowed } else { Code::EndpointNotAllowed })
}

struct Grant<'w> {
    /// How specific its pattern is; the smaller the more.
    kinds: Vec<u8>,
    application: &'w str,
    at: usize,
    entry: &'w WhitelistEntry,
    versions: BTreeSet<String>,
}

impl Grant<'_> {
    fn verdict(self) -> (BTreeSet<String>, Option<(String, usize)>) {
        (self.versions, Some((self.application.to_owned(), self.at)))
    }
}

/// The entries that grant what is asked for, each with the versions that it leaves.
fn granting<'w>(world: &World<'_>, asked: &Asked<'_>, application: &'w Application) -> Vec<Grant<'w>> {
    let mut grants_of = Vec::new();
    for (at, entry) in application.whitelist.iter().enumerate() {
        let Some(kinds) = takes(entry, asked) else { continue };
        let versions = if is_narrowed(world) {
            let both = |api: &str| grants(&application.allowed_versions, api) && grants(&entry.allowed_versions, api);
            candidates(world, asked, both)
        } else {
            BTreeSet::from([String::new()])
        };
        if !versions.is_empty() {
            grants_of.push(Grant { kinds, application: &application.name, at, entry, versions });
        }
    }
    grants_of
}

fn takes(entry: &WhitelistEntry, asked: &Asked<'_>) -> Option<Vec<u8>> {
    let (kinds, _) = fits(&entry.endpoint_path, asked.path)?;
    grants(&entry.allowed_methods, asked.method).then_some(kinds)
}

fn grants(list: &[String], name: &str) -> bool {
    list.iter().any(|it| it == "*" || it == name)
}

fn roles(world: &World<'_>, who: &Asker) -> Result<(), Code> {
    let access = world.access;
    if access.roles.is_empty() && access.scopes.is_empty() {
        return Ok(());
    }
    let Asker::Known(known) = who else { return Err(Code::CredentialsMissing) };
    if !access.roles.is_empty() && !access.roles.iter().any(|role| known.roles.contains(&role.as_str())) {
        return Err(Code::RoleMissing);
    }
    if !access.scopes.iter().all(|scope| known.scopes.contains(&scope.as_str())) {
        return Err(Code::ScopeMissing);
    }
    Ok(())
}
