//! Which version of a service takes a request: pinned, weighted, sticky, current.

use std::collections::BTreeMap;

use e2e::{Backend, Entity, Request, Stack, proof, route, service};
use serde_json::json;

struct Versions {
    stack: Stack,
    one: Backend,
    two: Backend,
}

/// Two backends, and the service `shop` on `/shop/{*rest}` as `describe` wants it.
async fn versions(describe: impl Fn(Entity, &Backend, &Backend) -> Entity) -> Versions {
    let (one, two) = (Backend::saying("one"), Backend::saying("two"));
    let stack = Stack::start().await;
    stack
        .put(&[
            describe(service("shop"), &one, &two),
            route("shop").pattern("/shop/{*rest}").to_service("shop").public(),
            route("pinned").pattern("/api/{version}/{*rest}").to_service("shop").public(),
        ])
        .await;
    Versions { stack, one, two }
}

impl Versions {
    /// How often each backend answered so many requests.
    async fn share(&self, count: usize, request: impl Fn(usize) -> Request) -> BTreeMap<String, usize> {
        let mut share = BTreeMap::new();
        let mut connection = self.stack.gateway(0).connect().await;
        for number in 0..count {
            let answer = connection.send(&request(number)).await.unwrap().expect_status(200);
            *share.entry(answer.text()).or_default() += 1;
        }
        share
    }
}

fn shop(_: usize) -> Request {
    Request::get("/shop/")
}

#[tokio::test]
async fn the_path_pins_a_version_before_the_header_does() {
    let both = versions(|shop, one, two| shop.version("v1", one.url(), 50).version("v2", two.url(), 50)).await;
    let gateway = both.stack.gateway(0);
    for (request, expected) in [
        (Request::get("/api/v1/x"), "one"),
        (Request::get("/api/v2/x"), "two"),
        (Request::get("/shop/x").header("X-API-Version", "v1"), "one"),
        (Request::get("/shop/x").header("X-API-Version", "v2"), "two"),
        (Request::get("/api/v1/x").header("X-API-Version", "v2"), "one"),
    ] {
        for _ in 0..10 {
            assert_eq!(gateway.send(&request).await.expect_status(200).text(), expected, "{request:?}");
        }
    }
}

#[tokio::test]
async fn a_version_that_nobody_serves_is_unknown() {
    let both = versions(|shop, one, two| {
        let versions = json!([
            {"version": "v1", "url": one.url(), "weight": 50},
            {"version": "v2", "url": two.url(), "weight": 50, "isActive": false},
        ]);
        shop.set("versions", versions)
    })
    .await;
    for path in ["/api/v2/x", "/api/v3/x"] {
        let answer = both.stack.gateway(0).get(path).await;
        assert_eq!((answer.status, answer.code()), (404, Some("unknown_version")), "{path}");
    }
    assert_eq!(both.two.count(), 0);
}

#[tokio::test]
async fn a_service_without_versions_ignores_pins() {
    let both = versions(|shop, one, _| shop.url(one.url())).await;
    both.stack.gateway(0).get("/api/v9/x").await.expect_status(200);
    let pinned = Request::get("/shop/x").header("X-API-Version", "v9");
    both.stack.gateway(0).send(&pinned).await.expect_status(200);
    assert_eq!(both.two.count(), 0);
}

#[tokio::test]
async fn weights_share_the_requests() {
    let both = versions(|shop, one, two| shop.version("v1", one.url(), 90).version("v2", two.url(), 10)).await;
    let count = proof::count(2_000, 50_000);
    let share = both.share(count, shop).await;
    // Six standard deviations: one run in half a billion fails by chance.
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are small")]
    let (found, expected) = (share["two"] as f64, count as f64 * 0.1);
    assert!((found - expected).abs() < 6.0 * (expected * 0.9).sqrt(), "{share:?}");
}

#[tokio::test]
async fn without_weights_the_current_version_serves() {
    let both = versions(|shop, one, two| {
        shop.version("v1", one.url(), 0).version("v2", two.url(), 0).set("currentVersion", "v2")
    })
    .await;
    assert_eq!(both.share(50, shop).await, BTreeMap::from([("two".to_owned(), 50)]));
}

#[tokio::test]
async fn a_canary_shares_the_requests_that_are_pinned_to_its_api_version() {
    let both =
        versions(|shop, one, two| shop.version("v1", one.url(), 50).canary("v1-next", "v1", two.url(), 50)).await;
    let share = both.share(200, |_| Request::get("/api/v1/x")).await;
    assert!(share["one"] > 40 && share["two"] > 40, "{share:?}");
    assert_eq!(both.stack.gateway(0).get("/api/v1-next/x").await.code(), Some("unknown_version"));
}

#[tokio::test]
async fn a_sticky_caller_stays_and_a_raised_weight_only_moves_callers_towards_it() {
    let weights = |one: u16, two: u16| {
        move |shop: Entity, first: &Backend, second: &Backend| {
            shop.version("v1", first.url(), one).version("v2", second.url(), two).set("stickyOn", "header:X-User")
        }
    };
    let both = versions(weights(80, 20)).await;
    let sides = async |repeat: usize| {
        let mut sides = BTreeMap::new();
        for _ in 0..repeat {
            for user in 0..100 {
                let request = Request::get("/shop/").header("X-User", &format!("user-{user}"));
                let side = both.stack.gateway(0).send(&request).await.expect_status(200).text();
                let before = sides.insert(user, side.clone());
                assert!(before.is_none_or(|before| before == side), "user {user} moved to {side}");
            }
        }
        sides
    };
    let before = sides(3).await;
    let on_two = before.values().filter(|side| *side == "two").count();
    assert!((3..50).contains(&on_two), "{on_two} of 100 on the canary of 20 %");

    both.stack.put(&[weights(50, 50)(service("shop"), &both.one, &both.two)]).await;
    let after = sides(1).await;
    for (user, side) in &before {
        assert!(side != "two" || after[user] == "two", "user {user} moved away from the version that gained");
    }
    let now_on_two = after.values().filter(|side| *side == "two").count();
    assert!(now_on_two > on_two, "{on_two} before, {now_on_two} after");
}
