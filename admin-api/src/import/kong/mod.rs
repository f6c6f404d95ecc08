//! Kong's declarative format, as decK writes it.
//!
//! Kong lets a consumer use a route by groups; here an application is allowed services. So a service whose routes are for
//! different groups becomes one service for each of them, and every consumer is allowed exactly what it may use in Kong.

mod consumer;
mod path;
mod plugin;
mod route;
mod service;
mod world;

use std::collections::{BTreeMap, HashMap};

use gateway_config::model::{Kind, Problem};
use serde_json::Value;

use super::draft::Draft;
use super::foreign::text;
use consumer::Offer;
use route::{Groups, Policy};
use world::World;

/// Consumers times services: each application names what it may use.
const MOST_GRANTS: usize = 500_000;

/// `marks_regexes`: since format 3.0 a regular expression begins with `~`.
pub(super) fn convert(root: &Value, marks_regexes: bool, draft: &mut Draft) -> Result<(), Vec<Problem>> {
    let world = World::read(root, draft);
    let mut landed = HashMap::new();
    let policies: Vec<Policy> = (0..world.routes.len()).map(|at| Policy::of(&world, at, &mut landed)).collect();
    let services = services(&world, &policies, draft)?;
    for ((found, of), policy) in world.routes.iter().zip(&policies) {
        let service = of.and_then(|at| services.get(&(at, policy.groups())));
        route::add(found, service.map(String::as_str), policy, marks_regexes, draft)?;
    }
    for (origin, _) in landed.into_iter().filter(|(_, routes)| *routes > 1) {
        draft.warn(origin, "each route counts by itself; in Kong they count together");
    }
    let offers = offers(&services, &world, &policies);
    if offers.len().saturating_mul(world.consumers.len()) > MOST_GRANTS {
        return Err(vec![Problem::new("consumers", "too many consumers for so many services; import them in parts")]);
    }
    for at in 0..world.consumers.len() {
        consumer::add(&world, at, &offers, draft)?;
    }
    Ok(())
}

/// Adds the services; answers their names by their place and the groups that may use them.
fn services(
    world: &World,
    policies: &[Policy],
    draft: &mut Draft,
) -> Result<HashMap<(usize, Groups), String>, Vec<Problem>> {
    let mut wanted: Vec<Vec<Groups>> = vec![Vec::new(); world.services.len()];
    for ((_, of), policy) in world.routes.iter().zip(policies) {
        if let Some(wanted) = of.and_then(|at| wanted.get_mut(at))
            && !wanted.contains(&policy.groups())
        {
            wanted.push(policy.groups());
        }
    }
    let mut names = HashMap::new();
    for (at, (found, mut wanted)) in world.services.iter().zip(wanted).enumerate() {
        let given = text(found.value, "name").or_else(|| text(found.value, "host")).unwrap_or_default();
        let Some(body) = service::service(world, at, draft) else { continue };
        // The one for all consumers has the plain name.
        wanted.sort();
        if wanted.is_empty() {
            wanted.push(None);
        }
        if wanted.len() > 1 {
            draft.warn(&found.origin, "is several services here, for its routes are for different groups of consumers");
        }
        for (copy, groups) in wanted.into_iter().enumerate() {
            let of =
                groups.as_ref().filter(|_| copy > 0).map(|(allow, deny)| [allow.as_slice(), deny].concat().join(" "));
            let name = draft.name(Kind::Service, &of.map_or_else(|| given.to_owned(), |of| format!("{given} {of}")));
            if copy == 0 && name != given {
                draft.warn(&found.origin, format!("is called \"{name}\" here"));
            }
            draft.add(Kind::Service, name.clone(), &found.origin, body.clone())?;
            names.insert((at, groups), name);
        }
    }
    Ok(names)
}

/// The services that have routes which need credentials, in the order of their names.
fn offers(services: &HashMap<(usize, Groups), String>, world: &World, policies: &[Policy]) -> Vec<Offer> {
    let routes = world.routes.iter().zip(policies).filter(|(_, policy)| policy.needs_credentials());
    let keys = routes.filter_map(|((_, of), policy)| Some(((*of)?, policy.groups())));
    let offers: BTreeMap<&String, Groups> = keys.filter_map(|key| Some((services.get(&key)?, key.1))).collect();
    offers.into_iter().map(|(service, groups)| Offer { service: service.clone(), groups }).collect()
}
