//! How long a target and how large headers may be.

use gateway_config::snapshot::{BodyFacts, Caller, Code, RequestFacts, decide, match_request};
use serde_json::json;

use super::scene::{defaults, plain_service, route, verdict, world};
use crate::world::Request;

#[test]
fn a_target_is_too_long_from_the_first_byte_over_the_limit() {
    let open = route(json!({"access": {"anyOf": ["public"]}}));
    let snapshot = world(&[plain_service(), open, defaults(json!({"maxUriBytes": 300}))]);
    let request = Request::get("/x");
    let code = |target_bytes: usize| {
        let facts = RequestFacts { target_bytes, ..request.facts() };
        let matched = match_request(&snapshot, &facts);
        matched.found.as_ref().err().map(|refusal| refusal.code)
    };
    assert_eq!(code(300), None);
    assert_eq!(code(301), Some(Code::UriTooLong));
    let facts = RequestFacts { target_bytes: 301, ..request.facts() };
    let decision = decide(&snapshot, &match_request(&snapshot, &facts), &Caller::Anonymous, &BodyFacts::default());
    assert!(decision.route.is_none());
}

#[test]
fn headers_are_too_large_from_the_first_byte_over_the_limit() {
    let open = route(json!({"access": {"anyOf": ["public"]}}));
    let snapshot = world(&[plain_service(), open, defaults(json!({"maxHeaderBytes": 1024}))]);
    // Each line counts as it is sent: its name, a colon and a space, its value, and the end of the line.
    let sized = |bytes: usize| {
        let first = Request::get("/x").header("x-a", &"v".repeat(93));
        first.header("x-a", &"v".repeat(bytes - 100 - "x-a".len() - 4))
    };
    assert_eq!(verdict(&snapshot, &sized(1024), &Caller::Anonymous).err(), None);
    assert_eq!(verdict(&snapshot, &sized(1025), &Caller::Anonymous).err(), Some(Code::HeadersTooLarge));
}

#[test]
fn what_is_too_large_is_refused_wherever_it_goes_and_counted_by_the_fleets_limits() {
    let limits = json!([{"requests": 1, "perSeconds": 1, "by": "ip"}]);
    let snapshot = world(&[plain_service(), defaults(json!({"maxHeaderBytes": 1024, "limits": limits}))]);
    let request = Request::get("/nothing").header("x-a", &"v".repeat(2000));
    assert_eq!(verdict(&snapshot, &request, &Caller::Anonymous), Err(Code::HeadersTooLarge));
    assert_eq!(match_request(&snapshot, &request.facts()).counters.len(), 1);
}
