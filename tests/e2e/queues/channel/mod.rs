//! Channels: messages of a topic on their way back to clients, through real brokers.

mod access;
mod chat;
mod client;
mod crossing;
mod documented;
mod outage;
mod topics;

use e2e::stack::StackBuilder;
use e2e::{Entity, Request, Stack, application, issuer, queue, route};
use gateway_config::clock::{Clock, SystemClock, new_id};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::DEADLINE;
use client::{Client, Heard, Kind, Kind::Events, Kind::Socket};
use topics::Topics;

const JWT_SECRET: &str = "a-shared-secret-of-forty-characters-0123";
const BOTH: [Kind; 2] = [Events, Socket];

/// A topic's name that no other test has.
fn unique(what: &str) -> String {
    format!("{what}-{}", new_id())
}

fn now_seconds() -> i64 {
    SystemClock.now().micros() / 1_000_000
}

/// A token of the issuer `corp` that says this.
fn token(claims: Value) -> String {
    let mut all = json!({"iss": "https://id.example", "aud": "gatehouse", "exp": now_seconds() + 600});
    let Value::Object(claims) = claims else { panic!("claims are an object: {claims}") };
    all.as_object_mut().unwrap().extend(claims);
    encode(&Header::new(Algorithm::HS256), &all, &EncodingKey::from_secret(JWT_SECRET.as_bytes())).unwrap()
}

fn bearer(path: &str, claims: Value) -> Request {
    Request::get(path).header("Authorization", &format!("Bearer {}", token(claims)))
}

/// Asks for the rooms that its token names.
fn member(rooms: impl Into<Value>) -> Request {
    let rooms: Value = rooms.into();
    bearer("/feed", json!({"sub": "ann", "rooms": rooms}))
}

/// Whoever has a token, of whatever application.
fn by_token() -> Value {
    json!({"anyOf": ["jwt"], "applicationRequired": false})
}

fn feed() -> Entity {
    channel("feed", json!({"/room_id": "{claims/rooms}"})).set("access", by_token())
}

fn channel(name: &str, filter: impl Into<Value>) -> Entity {
    let filter: Value = filter.into();
    route(name).pattern(&format!("/{name}")).set("target", json!({"channel": {"queue": "saved", "filter": filter}}))
}

/// The application of tokens whose client is `web`.
fn shop() -> Entity {
    application("shop")
        .allowed(&["saved"])
        .entry(json!({"endpointPath": "/{*rest}", "allowedMethods": ["*"], "allowedVersions": ["*"]}))
        .set("jwtClients", json!([{"issuer": "corp", "clientId": "web"}]))
}

/// A gateway whose queue `saved` is this topic, behind `GET /feed` as a channel and behind `POST /saved` for those with a token.
async fn feeding(topics: &Topics, topic: &str) -> Stack {
    feeding_on(Stack::builder(), topics, topic).await
}

async fn feeding_on(builder: StackBuilder, topics: &Topics, topic: &str) -> Stack {
    let (name, url) = topics.setting();
    let stack = builder.setting(name, &url).setting("GATEWAY_SECRET_CORP", JWT_SECRET).start().await;
    let corp = issuer("corp")
        .set("issuer", "https://id.example")
        .set("algorithms", json!(["HS256"]))
        .set("secret", "env:GATEWAY_SECRET_CORP")
        .set("audiences", json!(["gatehouse"]))
        .set("leewaySeconds", 0);
    let saving = route("saving").pattern("/saved").to_queue("saved").set("access", by_token());
    stack.put(&[corp, topics.queue("saved", topic), feed(), saving, shop()]).await;
    stack
}

impl Topics {
    fn queue(&self, name: &str, topic: &str) -> Entity {
        let destination = self.destination(topic);
        queue(name).set("broker", self.broker()).set("destination", destination).set("confirmTimeoutMs", 20_000)
    }
}

fn said(room: impl Into<Value>, text: &str) -> Value {
    json!({"room_id": room.into(), "text": text})
}

/// The texts that a client hears up to this one.
async fn texts_until(client: &mut Client, last: &str) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        match client.next().await {
            Heard::Message { data, .. } => texts.push(data["text"].as_str().unwrap().to_owned()),
            other => panic!("{other:?} after {texts:?}"),
        }
    }
    texts
}
