//! Who may open a channel, and for how long it stays open.

use e2e::{Request, Stack, application, eventually_within, queue, route};
use futures::future::join_all;
use gateway_config::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::client::End;
use super::{
    BOTH, Client, DEADLINE, Heard, Kind, Topics, bearer, by_token, channel, feed, feeding, member, now_seconds, said,
    shop, token, unique,
};

/// JSON that nobody signed, in the form of a token's.
fn invented(claims: &Value) -> String {
    let unsigned = token(claims.clone());
    let (said, _) = unsigned.rsplit_once('.').unwrap();
    format!("{said}.AAAA")
}

async fn expect(stack: &Stack, kind: Kind, request: &Request, status: u16, code: &str) {
    let refused = Client::try_open(kind, stack.gateway(0), request).await.expect_err("it is refused");
    assert_eq!((refused.status, refused.code()), (status, Some(code)), "{kind:?} {refused}");
}

async fn following() -> (Topics, String, Stack) {
    let (topics, topic) = (Topics::redis(), unique("saved"));
    let stack = feeding(&topics, &topic).await;
    (topics, topic, stack)
}

/// Such a client stands for whoever is of an application: by key, or by a token that is bound to it.
fn of_shop(path: &str, claims: Value) -> Request {
    let mut all = json!({"sub": "ann", "azp": "web"});
    let Value::Object(claims) = claims else { panic!("{claims}") };
    all.as_object_mut().unwrap().extend(claims);
    bearer(path, all)
}

#[tokio::test]
async fn who_shows_no_good_token_is_refused_before_the_stream_begins() {
    let (_topics, _, stack) = following().await;
    let forged = Request::get("/feed").header("Authorization", &format!("Bearer {}", invented(&json!({"rooms": [7]}))));
    for kind in BOTH {
        expect(&stack, kind, &Request::get("/feed"), 401, "credentials_missing").await;
        expect(&stack, kind, &forged, 401, "credentials_invalid").await;
        let late = bearer("/feed", json!({"rooms": [7], "exp": now_seconds() - 10}));
        expect(&stack, kind, &late, 401, "token_expired").await;
        // The token is good, and names nothing.
        for nothing in [json!({}), json!({"rooms": []}), json!({"rooms": {"7": true}}), json!({"rooms": null})] {
            expect(&stack, kind, &bearer("/feed", nothing), 403, "scope_missing").await;
        }
    }
    let posted = Request::post("/feed", "{}").header("Authorization", &format!("Bearer {}", token(json!({}))));
    let refused = stack.gateway(0).send(&posted).await.expect_status(405);
    assert_eq!(refused.header("allow"), Some("GET"));
}

/// With a key alone there are no claims, whatever stands in other headers.
#[tokio::test]
async fn claims_are_only_those_of_the_token_that_was_verified() {
    let (topics, topic, stack) = following().await;
    let keyed = channel("keyed", json!({"/room_id": "{claims/rooms}"}));
    stack.put(&[keyed.set("access", json!({"anyOf": ["api_key", "jwt"]}))]).await;
    let key = stack.key_of("shop").await;
    let claims = json!({"rooms": [7]});
    for kind in BOTH {
        let by_key = || Request::get("/keyed").api_key(&key);
        expect(&stack, kind, &by_key(), 403, "scope_missing").await;
        for line in ["Foo", "Basic", "JWT", "DPoP", "Bearer2"] {
            let line = format!("{line} {}", invented(&claims));
            expect(&stack, kind, &by_key().header("Authorization", &line), 403, "scope_missing").await;
        }
        let forged = by_key().header("Authorization", &format!("Bearer {}", invented(&claims)));
        expect(&stack, kind, &forged, 401, "credentials_invalid").await;
        let both = of_shop("/keyed", claims.clone()).api_key(&key);
        let mut client = Client::eventually_open(kind, stack.gateway(0), &both).await;
        topics.say(&topic, &[said(8, "no"), said(7, "yes")]).await;
        assert_eq!(client.message().await, said(7, "yes"));
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let (_topics, _, stack) = following().await;
    // Both must be open before it is over.
    let over = now_seconds() + 5;
    let request = bearer("/feed", json!({"sub": "ann", "rooms": [7], "exp": over}));
    let clients = join_all(BOTH.map(|kind| Client::eventually_open(kind, stack.gateway(0), &request))).await;
    for (mut client, expected) in clients.into_iter().zip([End::Cut, End::Code(1008, "access revoked".to_owned())]) {
        assert_eq!(client.end().await, expected);
        assert!(SystemClock.now().micros() / 1_000_000 >= over, "it ended before its time");
    }
    for kind in BOTH {
        expect(&stack, kind, &request, 401, "token_expired").await;
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_access_of_its_application_and_others_live_on() {
    let (topics, topic, stack) = following().await;
    stack.put(&[channel("of-shop", json!({"/to": "{subject}"}))]).await;
    for kind in BOTH {
        stack.put(&[shop()]).await;
        let mut closed = Client::eventually_open(kind, stack.gateway(0), &of_shop("/of-shop", json!({}))).await;
        let mut other = Client::eventually_open(kind, stack.gateway(0), &member(json!([7]))).await;
        stack.put(&[shop().set("isActive", false)]).await;
        let end = timeout(DEADLINE, closed.end()).await.unwrap();
        assert!(matches!(end, End::Cut | End::Code(1008, _)), "{kind:?} {end:?}");
        topics.say(&topic, &[said(7, "still here")]).await;
        assert_eq!(other.message().await, said(7, "still here"));
    }
}

/// What an operator changes of a channel counts for those who listen already, too.
#[tokio::test]
async fn a_stream_that_would_show_something_else_by_now_ends() {
    let (_topics, _, stack) = following().await;
    let narrower = channel("feed", json!({"/room_id": "{claims/rooms}", "/to": "{subject}"})).set("access", by_token());
    let elsewhere = queue("saved").set("broker", "redis").set("destination", json!({"stream": unique("other")}));
    for change in [narrower, elsewhere, feed().set("isActive", false)] {
        let request = member(json!([7]));
        let clients = join_all(BOTH.map(|kind| Client::eventually_open(kind, stack.gateway(0), &request))).await;
        stack.put(&[application("unrelated"), change]).await;
        for mut client in clients {
            let end = client.end().await;
            assert!(matches!(end, End::Cut | End::Code(1008, _)), "{end:?}");
        }
        stack.put(&[feed()]).await;
    }
}

#[tokio::test]
async fn what_could_show_everything_to_everybody_is_refused_by_the_admin_api() {
    let (_topics, _, stack) = following().await;
    let work = queue("work").set("broker", "rabbitmq").set("destination", json!({"exchange": "", "routingKey": "w"}));
    stack.put(&[work]).await;
    let by_subject = json!({"/to": "{subject}"});
    let to = |queue: &str, filter: &Value| json!({"channel": {"queue": queue, "filter": filter}});
    let no_filter = json!({"channel": {"queue": "saved"}});
    for (target, path) in [
        (to("saved", &json!({})), "routes/bad/target/channel/filter"),
        (to("saved", &json!({"/room_id": "{room}"})), "routes/bad/target/channel/filter"),
        (to("saved", &json!({"/room_id": "{ghost}"})), "routes/bad/target/channel/filter/room_id"),
        (to("work", &by_subject), "routes/bad/target/channel/queue"),
        (to("ghost", &by_subject), "routes/bad/target/channel/queue"),
        (no_filter, "routes/bad/target"),
    ] {
        let bad = route("bad").pattern("/bad/{room}").set("target", target);
        let refused = stack.admin().put(&bad.path(), &bad.json()).await.expect_status(422);
        let body = refused.json();
        let problems = body["problems"].as_array().unwrap_or_else(|| panic!("{refused}"));
        let paths: Vec<&str> = problems.iter().map(|problem| problem["path"].as_str().unwrap()).collect();
        assert!(paths.iter().any(|found| found.starts_with(path)), "{path}: {refused}");
    }
    // Nor can the queue go away from under a channel.
    let plain = queue("saved").set("broker", "rabbitmq").set("destination", json!({"exchange": "", "routingKey": "w"}));
    let refused = stack.admin().put(&plain.path(), &plain.json()).await.expect_status(422);
    assert!(refused.text().contains("routes/feed/target/channel/queue"), "{refused}");
}

#[tokio::test]
async fn while_the_broker_is_away_nobody_is_told_that_they_listen() {
    let port = e2e::postgres::free_port();
    for (name, url, broker, destination) in [
        ("AMQP_URL", "amqp", "rabbitmq", json!({"exchange": "chat", "routingKey": "x"})),
        ("REDIS_URL", "redis", "redis", json!({"stream": "x"})),
        ("KAFKA_BROKERS", "", "kafka", json!({"topic": "x"})),
    ] {
        let url =
            if url.is_empty() { format!("127.0.0.1:{port}") } else { format!("{url}://u:canary@127.0.0.1:{port}") };
        let stack = Stack::builder().setting(name, &url).start().await;
        let saved = queue("saved").set("broker", broker).set("destination", destination);
        let of_shop = channel("feed", json!({"/a": "{application}"})).set("access", json!({"anyOf": ["api_key"]}));
        stack.put(&[saved, of_shop, shop().set("jwtClients", json!([]))]).await;
        let request = Request::get("/feed").api_key(&stack.key_of("shop").await);
        for kind in BOTH {
            expect(&stack, kind, &request, 503, "queue_unavailable").await;
        }
        let told = async || {
            let log = format!("{:?}", stack.gateway(0).process().lines());
            assert!(!log.contains("canary"), "{log}");
            if log.contains("have no messages for now") { Ok(()) } else { Err("not told yet") }
        };
        eventually_within(DEADLINE, "the log to tell", told).await;
    }
}

#[tokio::test]
async fn only_those_who_are_let_in_by_the_route_listen() {
    let (topics, topic, stack) = following().await;
    stack.put(&[channel("of-shop", json!({"/application": "{application}"}))]).await;
    // Of no application that may use the queue.
    let stranger = bearer("/of-shop", json!({"sub": "ann"}));
    stack.put(&[application("other").entry(json!({"endpointPath": "/{*rest}", "allowedMethods": ["*"]}))]).await;
    let other = stack.key_of("other").await;
    for kind in BOTH {
        expect(&stack, kind, &stranger, 403, "service_not_allowed").await;
        expect(&stack, kind, &Request::get("/of-shop").api_key(&other), 403, "service_not_allowed").await;
        let mut client = Client::eventually_open(kind, stack.gateway(0), &of_shop("/of-shop", json!({}))).await;
        topics.say(&topic, &[json!({"application": "other"}), json!({"application": "shop"})]).await;
        let Heard::Message { data, .. } = client.next().await else { panic!("no message") };
        assert_eq!(data, json!({"application": "shop"}));
    }
}
