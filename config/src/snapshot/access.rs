//! Who may use a route: deny by default, decided here and nowhere else.

use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;

use super::Snapshot;
use super::application::{CompiledApplication, Rule, first_rule};
use super::caller::{Caller, Verified};
use super::code::Code;
use super::decide::Refusal;
use super::limit::{CompiledLimit, Counter, Counters, Who};
use super::matching::{Found, Match};
use super::service::{CompiledService, CompiledVersion};
use super::trail::{Access, Step, Trail};
use crate::model::{Credential, InvalidCredentials, LimitBy, Target};

/// Who was let in, and with what.
#[derive(Debug, Default)]
pub(super) struct Admission<'s> {
    /// Whose request it is, for counting and accounting. Of a public entry: the entry's.
    pub(super) application: Option<Arc<CompiledApplication>>,
    pub(super) rule: Option<&'s Rule>,
    /// Only what application and entry allow may serve.
    pub(super) narrows: bool,
}

impl Admission<'_> {
    pub(super) fn allows_version(&self, version: &CompiledVersion) -> bool {
        let Some(application) = self.application.as_ref().filter(|_| self.narrows) else { return true };
        may_serve(version, application, self.rule)
    }
}

fn may_serve(version: &CompiledVersion, application: &CompiledApplication, rule: Option<&Rule>) -> bool {
    application.versions.holds(&version.api_version)
        && rule.is_none_or(|rule| rule.versions.holds(&version.api_version))
}

/// What is asked for, apart from who asks.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a, 'm> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) matched: &'m Match<'a>,
    pub(super) found: &'m Found<'a>,
    pub(super) service: Option<&'a Arc<CompiledService>>,
    /// The API version that the request insists on.
    pub(super) pin: Option<&'m str>,
}

impl<'a> Asked<'a, '_> {
    /// The name that applications must be allowed; none for what the gateway answers itself.
    fn service_name(&self) -> Option<&'a str> {
        match &self.found.route.source.target {
            Target::Service(name) | Target::Queue(name) => Some(name),
            Target::Channel(channel) => Some(&channel.queue),
            Target::Aggregate(_) | Target::Redirect(_) | Target::Respond(_) => None,
        }
    }

    /// Versions matter only where there are some.
    fn versions(&self) -> Option<&'a [CompiledVersion]> {
        let service = self.service.filter(|service| service.has_versions() && !service.versions.is_empty())?;
        Some(&service.versions)
    }

    /// Some version that the request may mean passes `allowed`.
    fn some_version(&self, allowed: impl Fn(&CompiledVersion) -> bool) -> bool {
        self.versions().is_none_or(|versions| {
            let meant = |version: &&CompiledVersion| self.pin.is_none_or(|pin| *version.api_version == *pin);
            versions.iter().filter(meant).any(allowed)
        })
    }
}

pub(super) fn admit<'a>(asked: &Asked<'a, '_>, caller: &Caller, trail: &mut Trail) -> Result<Admission<'a>, Refusal> {
    let access = &asked.found.route.source.access;
    let admission = match caller {
        Caller::Anonymous => admit_anonymous(asked, trail)?,
        Caller::Rejected(code) => {
            if access.invalid_credentials != InvalidCredentials::Ignore {
                return Err(Refusal::new(*code));
            }
            let admitted = admit_anonymous(asked, trail).and_then(|admitted| {
                check_roles(asked, caller, trail)?;
                Ok(admitted)
            });
            // What was wrong with them tells their sender more than that there are none.
            let admitted = admitted.map_err(|_| Refusal::new(*code))?;
            trail.push(Step::Access(Access::Ignored(*code)));
            admitted
        }
        Caller::Verified(verified) => admit_verified(asked, verified, trail)?,
    };
    check_roles(asked, caller, trail)?;
    Ok(admission)
}

/// By the route's own word, or by a public entry of an application that may use this.
fn admit_anonymous<'a>(asked: &Asked<'a, '_>, trail: &mut Trail) -> Result<Admission<'a>, Refusal> {
    if asked.found.route.is_public {
        trail.push(Step::Access(Access::Public));
        return Ok(Admission::default());
    }
    let Some((application, rule)) = public_entry(asked) else { return Err(Refusal::new(Code::CredentialsMissing)) };
    trail.push(Step::Access(Access::PublicEntry(rule.id)));
    Ok(Admission { application: Some(application.clone()), rule: Some(rule), narrows: true })
}

/// The most specific public entry, then the one of the lowest application name.
fn public_entry<'a>(asked: &Asked<'a, '_>) -> Option<(&'a Arc<CompiledApplication>, &'a Rule)> {
    let tree = &asked.snapshot.public_rules;
    if tree.is_empty() {
        return None;
    }
    let facts = &asked.matched.facts;
    let rule = first_rule(tree, facts.path, |rule| {
        let Some(application) = asked.snapshot.application(&rule.application) else { return false };
        application.source.is_active
            && application.address.permit(facts.address)
            && rule.takes(facts.method)
            && asked.service_name().is_none_or(|name| application.services.holds(name))
            && asked.some_version(|version| may_serve(version, application, Some(rule)))
    })?;
    Some((asked.snapshot.application(&rule.application)?, rule))
}

fn admit_verified<'a>(asked: &Asked<'a, '_>, caller: &Verified, trail: &mut Trail) -> Result<Admission<'a>, Refusal> {
    let route = asked.found.route;
    in_good_standing(caller, asked.matched.facts.address)?;
    match admit_by_name(asked, caller, trail) {
        Ok(admission) => Ok(admission),
        // Whoever would be let in without credentials is not kept out for showing good ones.
        Err(refusal) => match admit_anonymous(asked, trail) {
            Ok(admission) if route.is_public => Ok(Admission { application: caller.application.clone(), ..admission }),
            Ok(admission) => Ok(admission),
            Err(_) => Err(refusal),
        },
    }
}

/// What was switched off stays off, wherever its caller turns to: also where nobody needs to be known.
fn in_good_standing(caller: &Verified, address: IpAddr) -> Result<(), Refusal> {
    let Some(application) = &caller.application else { return Ok(()) };
    if !application.source.is_active {
        return Err(Refusal::new(Code::ApplicationInactive));
    }
    if application.address.permit(address) { Ok(()) } else { Err(Refusal::new(Code::IpDenied)) }
}

/// Who may use the gateway's own endpoints for callers: whoever is known and in good standing.
pub fn known(caller: &Caller, address: IpAddr) -> Result<&Verified, Refusal> {
    match caller {
        Caller::Verified(caller) => in_good_standing(caller, address).map(|()| caller),
        Caller::Rejected(code) => Err(Refusal::new(*code)),
        Caller::Anonymous => Err(Refusal::new(Code::CredentialsMissing)),
    }
}

/// By what its application may do, or, where the route needs no application, by being known.
fn admit_by_name<'a>(asked: &Asked<'a, '_>, caller: &Verified, trail: &mut Trail) -> Result<Admission<'a>, Refusal> {
    let access = &asked.found.route.source.access;
    let counts = |credential: &Credential| match credential {
        Credential::ApiKey => caller.key.is_some(),
        Credential::Jwt => caller.token.is_some(),
        Credential::Public => false,
    };
    if !access.any_of.iter().any(counts) {
        return Err(Refusal::new(Code::CredentialsMissing));
    }
    if !access.application_required {
        trail.push(Step::Access(Access::Known));
        return Ok(Admission { application: caller.application.clone(), ..Admission::default() });
    }
    let Some(application) = &caller.application else {
        let message = "the credentials belong to no application, and this endpoint needs one";
        return Err(Refusal { message: Some(message.into()), ..Refusal::new(Code::ServiceNotAllowed) });
    };
    // The same one, but of the snapshot that is borrowed from.
    let Some(application) = asked.snapshot.application(&application.name) else {
        return Err(Refusal::new(Code::CredentialsInvalid));
    };
    trail.push(Step::Access(Access::Application(application.source.id)));
    let rule = granted(asked, application)?;
    trail.push(Step::Endpoint(rule.id));
    Ok(Admission { application: Some(application.clone()), rule: Some(rule), narrows: true })
}

/// The most specific entry that grants all of it. Entries add up: what any of them grants is granted, and nothing else.
fn granted<'a>(asked: &Asked<'a, '_>, application: &'a Arc<CompiledApplication>) -> Result<&'a Rule, Refusal> {
    if !asked.service_name().is_none_or(|name| application.services.holds(name)) {
        return Err(Refusal::new(Code::ServiceNotAllowed));
    }
    if !asked.some_version(|version| may_serve(version, application, None)) {
        return Err(Refusal::new(Code::VersionNotAllowed));
    }
    let facts = &asked.matched.facts;
    let mut is_listed = false;
    let rule = application.rule(facts.path, |rule| {
        let takes = rule.takes(facts.method);
        is_listed |= takes;
        takes && asked.some_version(|version| may_serve(version, application, Some(rule)))
    });
    rule.map(AsRef::as_ref)
        .ok_or_else(|| Refusal::new(if is_listed { Code::VersionNotAllowed } else { Code::EndpointNotAllowed }))
}

/// Any of the roles, and all of the scopes.
fn check_roles(asked: &Asked<'_, '_>, caller: &Caller, trail: &mut Trail) -> Result<(), Refusal> {
    if !asked.found.route.asks_for_roles {
        return Ok(());
    }
    let access = &asked.found.route.source.access;
    let Some(caller) = caller.verified() else { return Err(Refusal::new(Code::CredentialsMissing)) };
    let has = |held: &[SmolStr], wanted: &String| held.iter().any(|it| **it == **wanted);
    if !access.roles.is_empty() && !access.roles.iter().any(|role| has(caller.roles(), role)) {
        return Err(Refusal::new(Code::RoleMissing));
    }
    if !access.scopes.iter().all(|scope| has(caller.scopes(), scope)) {
        return Err(Refusal::new(Code::ScopeMissing));
    }
    trail.push(Step::RolesHeld);
    Ok(())
}

/// The identity group: what the caller is counted by once it is let in.
pub(super) fn count(asked: &Asked<'_, '_>, caller: &Caller, admission: &Admission<'_>, counters: &mut Counters) {
    let caller = caller.verified();
    let address = asked.matched.facts.address;
    let fleet = asked.snapshot.defaults.limits.iter();
    let late = fleet.chain(&asked.found.route.limits).filter(|limit| !limit.is_early());
    let own = caller.and_then(|caller| caller.application.as_ref()).into_iter().flat_map(|it| &it.limits);
    for limit in late.chain(own) {
        counters.push(Counter { limit: limit.clone(), who: Who::of(limit.by, caller, address) });
    }
    if let Some(limit) = admission.rule.and_then(|rule| rule.limit.as_ref()) {
        // Of the anonymous each counts by its address.
        let who = Who::of(LimitBy::Application, caller, address);
        counters.push(Counter { limit: limit.clone(), who });
    }
}

/// What counts this caller wherever it goes: the fleet's limits and its application's.
#[must_use]
pub fn counters_of(snapshot: &Snapshot, caller: &Verified, address: IpAddr) -> Counters {
    let fleet = snapshot.defaults.limits.iter().filter(|limit| !limit.is_early());
    let own = caller.application.iter().flat_map(|it| &it.limits);
    let counter =
        |limit: &Arc<CompiledLimit>, by| Counter { limit: limit.clone(), who: Who::of(by, Some(caller), address) };
    fleet.chain(own).map(|limit| counter(limit, limit.by)).collect()
}

/// What counts it on the entries of its application's whitelist that have a limit of their own.
#[must_use]
pub fn entry_counters_of(caller: &Verified, address: IpAddr) -> Counters {
    let mut counters = Counters::new();
    if let Some(application) = &caller.application {
        application.whitelist.each(&mut |rule: &Arc<Rule>| {
            let who = || Who::of(LimitBy::Application, Some(caller), address);
            counters.extend(rule.limit.iter().map(|limit| Counter { limit: limit.clone(), who: who() }));
        });
    }
    counters
}
