//! What compiles but is probably not meant.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, Method};

use super::certificate::{self, CompiledCertificate};
use super::facts::RequestFacts;
use super::matching::would_match;
use super::route::CompiledRoute;
use super::{CompiledService, Snapshot};
use crate::model::{Application, Edit, Item, Problem, Target, Timestamp};

pub(super) fn of(snapshot: &Snapshot, edits: &[Edit]) -> Vec<Problem> {
    let mut warnings = Vec::new();
    for edit in edits {
        match edit {
            Edit::Put(Item::Route(it)) => {
                if let Some(route) = snapshot.route(&it.name) {
                    of_route(snapshot, route, &mut warnings);
                }
            }
            Edit::Put(Item::Service(it)) => {
                if let Some(service) = snapshot.service(&it.service_name) {
                    of_service(snapshot, service, &mut warnings);
                }
            }
            Edit::Put(Item::Application(it)) => of_application(snapshot, it, &mut warnings),
            Edit::Put(Item::Certificate(it)) => {
                if let Some(certificate) = snapshot.certificate(&it.name) {
                    of_certificate(certificate, &mut warnings);
                }
            }
            Edit::Put(_) | Edit::Delete { .. } => {}
        }
    }
    warnings.sort();
    warnings.dedup();
    warnings
}

fn of_route(snapshot: &Snapshot, route: &CompiledRoute, warnings: &mut Vec<Problem>) {
    let path = |field: &str| format!("routes/{}/{field}", route.source.name);
    if !route.source.is_active {
        let message = match instead_of(snapshot, route) {
            Some(other) => format!("the route is not active; its requests go to route \"{other}\""),
            None => "the route is not active; its requests are answered 404".to_owned(),
        };
        warnings.push(Problem::new(path("isActive"), message));
        return;
    }
    let hosts = &route.source.hosts;
    for host in hosts.iter().map(|host| Some(host.as_str())).chain(hosts.is_empty().then_some(None)) {
        let beside = snapshot.hosts.beside(host, route);
        let position = beside.iter().position(|other| other.source.name == route.source.name).unwrap_or(0);
        for (at, other) in beside.iter().enumerate() {
            if at < position && shadows(other, route) {
                let message = format!("is never reached: route \"{}\" takes all its requests first", other.source.name);
                warnings.push(Problem::new(path("path"), message));
            }
            if at > position && shadows(route, other) {
                let message = format!("is never reached: route \"{}\" takes all its requests first", route.source.name);
                warnings.push(Problem::new(format!("routes/{}/path", other.source.name), message));
            }
        }
    }
    if let Target::Service(name) = &route.source.target
        && snapshot.service(name).is_some_and(|service| !service.source.is_active)
    {
        let message = format!("service \"{name}\" is not active; its requests are answered 503");
        warnings.push(Problem::new(path("target/service"), message));
    }
}

fn of_service(snapshot: &Snapshot, service: &CompiledService, warnings: &mut Vec<Problem>) {
    let name = &service.source.service_name;
    if service.versions.is_empty() && service.default_cluster.is_none() && service.source.is_active {
        let message = "has neither an active version nor a defaultUrl; its requests are answered 503";
        warnings.push(Problem::new(format!("services/{name}"), message));
    }
    if !service.source.is_active {
        let routes = snapshot.referrers(crate::model::Kind::Service, name).count();
        if routes > 0 {
            let message = format!("the service is not active; {routes} routes lead to it and are answered 503");
            warnings.push(Problem::new(format!("services/{name}/isActive"), message));
        }
    }
}

fn of_application(snapshot: &Snapshot, application: &Application, warnings: &mut Vec<Problem>) {
    for (at, name) in application.allowed_services.iter().enumerate() {
        if name != "*" && snapshot.service(name).is_none() && snapshot.queue(name).is_none() {
            let path = format!("applications/{}/allowedServices/{at}", application.name);
            warnings.push(Problem::new(path, format!("there is no service or queue \"{name}\" yet")));
        }
    }
}

fn of_certificate(certificate: &CompiledCertificate, warnings: &mut Vec<Problem>) {
    let name = &certificate.source.name;
    let mut warn = |field: &str, message: String| {
        warnings.push(Problem::new(format!("certificates/{name}/{field}"), message));
    };
    for (at, host) in certificate.source.hosts.iter().enumerate() {
        if certificate::is_address(host) {
            warn(
                &format!("hosts/{at}"),
                "clients name no addresses; they are shown the certificate that lists \"*\"".to_owned(),
            );
        } else if !certificate.covers(host) {
            let message = format!("the certificate does not name \"{host}\": clients will refuse it for this host");
            warn(&format!("hosts/{at}"), message);
        }
    }
    if !certificate.is_in_order {
        let message = "each certificate should be issued by the one behind it; clients may refuse the chain";
        warn("certificatePem", message.to_owned());
    }
}

/// `first` goes before `second` and takes whatever `second` would.
fn shadows(first: &CompiledRoute, second: &CompiledRoute) -> bool {
    first.conditions.is_empty() && first.methods.cover(&second.methods)
}

fn instead_of<'s>(snapshot: &'s Snapshot, route: &CompiledRoute) -> Option<&'s str> {
    let path = route.pattern.sample();
    let host = route.source.hosts.first().map_or("", |host| host.strip_prefix("*.").unwrap_or(host));
    let facts = RequestFacts {
        method: route.methods.iter().next().unwrap_or(&Method::GET),
        host,
        path: &path,
        query: None,
        target_bytes: path.len(),
        headers: &HeaderMap::new(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        now: Timestamp::default(),
        entropy: 0,
    };
    let other = would_match(snapshot, &facts)?;
    // The name is looked up again because the match borrows the facts.
    snapshot.route(&other.source.name).map(|other| other.source.name.as_str())
}
