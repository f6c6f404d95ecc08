//! Who stays on which side of a canary, where a service sticks to its callers.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use gateway_config::snapshot::{Caller, Snapshot, Token};
use serde_json::json;

use super::scene::{application, numbered_key_of, route, service, token, token_of, verdict, world};
use crate::world::Request;

fn canary() -> Snapshot {
    let version = |name: &str| json!({"version": name, "apiVersion": "v1", "weight": 1, "url": "http://127.0.0.1:1"});
    let names = (0..40).map(|number| application(&format!("a{number}"), json!({})));
    let fleet = service(json!({"serviceName": "s", "stickyOn": "caller", "versions": [version("a"), version("b")]}));
    let open = route(json!({"access": {"anyOf": ["api_key", "jwt", "public"]}}));
    world(&[fleet, open].into_iter().chain(names).collect::<Vec<_>>())
}

fn from(number: u32) -> Request {
    let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
    Request { address, entropy: u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15), ..Request::get("/x") }
}

/// The sides that these requests meet.
fn sides(snapshot: &Snapshot, requests: impl Iterator<Item = (Request, Caller)>) -> BTreeSet<String> {
    requests.map(|(request, caller)| verdict(snapshot, &request, &caller).unwrap()).collect()
}

#[test]
fn a_subject_stays_on_its_side_whatever_its_address_and_application() {
    let snapshot = canary();
    let kim = |application| token_of(&snapshot, application, token("kim", &[], &[]));
    let calls = (0..50).map(|at| (from(at), kim([Some("a1"), Some("a2")][at as usize % 2])));
    assert_eq!(sides(&snapshot, calls).len(), 1);
    let many = (0..50).map(|at| (from(0), token_of(&snapshot, Some("a1"), token(&format!("user-{at}"), &[], &[]))));
    assert_eq!(sides(&snapshot, many).len(), 2, "while different subjects are on both sides");
}

#[test]
fn subjects_of_different_issuers_are_different_callers() {
    let snapshot = canary();
    let of = |issuer: String| Token { issuer: issuer.into(), ..(*token("kim", &[], &[])).clone() };
    let calls = (0..50).map(|at| (from(0), token_of(&snapshot, Some("a1"), of(format!("idp-{at}")).into())));
    assert_eq!(sides(&snapshot, calls).len(), 2);
}

#[test]
fn the_keys_of_an_application_share_a_side_whatever_their_addresses() {
    let snapshot = canary();
    let calls = (0..50).map(|at| (from(at), numbered_key_of(&snapshot, "a1", u128::from(at) + 1)));
    assert_eq!(sides(&snapshot, calls).len(), 1);
    let many = (0..40).map(|at| (from(0), numbered_key_of(&snapshot, &format!("a{at}"), 1)));
    assert_eq!(sides(&snapshot, many).len(), 2, "while different applications are on both sides");
}

#[test]
fn an_anonymous_caller_stays_by_its_address() {
    let snapshot = canary();
    for at in 0..20 {
        let again = (0..20u64).map(|entropy| (Request { entropy: entropy << 59, ..from(at) }, Caller::Anonymous));
        assert_eq!(sides(&snapshot, again).len(), 1);
    }
    assert_eq!(sides(&snapshot, (0..50).map(|at| (from(at), Caller::Anonymous))).len(), 2);
}

#[test]
fn an_ipv4_address_has_one_side_however_it_is_written_and_an_ipv6_network_too() {
    let snapshot = canary();
    let side = |address: IpAddr| verdict(&snapshot, &Request { address, ..from(0) }, &Caller::Anonymous).unwrap();
    for number in 0..50u32 {
        let four = Ipv4Addr::from_bits(0x0a00_0000 + number);
        assert_eq!(side(four.into()), side(four.to_ipv6_mapped().into()), "{four}");
        let six = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, u16::try_from(number).unwrap(), host, 0, 0, host]);
        assert_eq!(side(six(1)), side(six(0xffff)));
    }
}
