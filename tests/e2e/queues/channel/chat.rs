//! A chat: producers write to one topic through the gateway, a service of their own saves what they wrote and tells it on another, and
//! from there it comes back to whoever is in the room.

use std::sync::Arc;

use e2e::{Request, Stack, eventually_within, route};
use serde_json::{Value, json};

use super::{BOTH, Client, DEADLINE, Heard, Topics, bearer, by_token, feeding, member, said, token, unique};

/// Saves each message and tells it, with all that it was told itself: it knows no better.
async fn save(topics: Arc<Topics>, posted: &str, saved: &str) {
    let (mut hearing, saved) = (topics.hear(posted).await, saved.to_owned());
    tokio::spawn(async move {
        while let Some(event) = hearing.recv().await {
            let mut message = event["data"].clone();
            message["saved"] = json!(true);
            message["source"] = event;
            topics.say(&saved, &[message]).await;
        }
    });
}

async fn post(stack: &Stack, room: Value, text: &str) {
    let request = Request::post("/messages", said(room, text).to_string())
        .header("Content-Type", "application/json")
        .header("Authorization", &format!("Bearer {}", token(json!({"sub": "ann"}))));
    let sending = async || stack.gateway(0).send(&request).await.with_status(202);
    eventually_within(DEADLINE, "a message to be taken", sending).await;
}

async fn chats(topics: Topics, posted: &str, saved: &str) {
    let topics = Arc::new(topics);
    let stack = feeding(&topics, saved).await;
    let posting = route("messages").pattern("/messages").to_queue("posted").set("access", by_token());
    stack.put(&[topics.queue("posted", posted), posting]).await;
    save(topics.clone(), posted, saved).await;
    let mut ann = Vec::new();
    let mut bob = Vec::new();
    for kind in BOTH {
        ann.push(Client::eventually_open(kind, stack.gateway(0), &member(json!([7, "lobby"]))).await);
        bob.push(Client::eventually_open(kind, stack.gateway(0), &member(json!("8"))).await);
    }
    let rooms = [json!(7), json!("8"), json!("lobby"), json!(9), json!(8), json!("7")];
    for (number, room) in rooms.into_iter().enumerate() {
        post(&stack, room, &number.to_string()).await;
    }
    for (clients, expected) in [(&mut ann, ["0", "2", "5"].as_slice()), (&mut bob, &["1", "4"])] {
        for client in clients {
            for text in expected {
                let message = client.message().await;
                assert_eq!((&message["text"], &message["saved"]), (&json!(text), &json!(true)));
                // It carries the whole event, and yet not what is the worker's alone.
                assert_eq!(message["source"]["data"]["text"], json!(text));
                let shown = message.to_string();
                assert!(!shown.contains("tasktoken") && !shown.contains("statusurl"), "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn over_rabbitmq_everybody_sees_their_rooms_and_no_others() {
    chats(Topics::rabbitmq().await, &unique("posted"), &unique("saved")).await;
}

#[tokio::test]
async fn over_redis_everybody_sees_their_rooms_and_no_others() {
    chats(Topics::redis(), &unique("posted"), &unique("saved")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_kafka_everybody_sees_their_rooms_and_no_others() {
    chats(Topics::kafka(&["posted", "saved"]).await, "posted", "saved").await;
}

/// What is published on the very queue is an event, whose id a client may keep.
#[tokio::test]
async fn events_are_shown_with_their_ids_and_without_what_is_the_workers_or_the_senders() {
    let (topics, topic) = (Topics::redis(), unique("saved"));
    let stack = feeding(&topics, &topic).await;
    for kind in BOTH {
        let mut client = Client::eventually_open(kind, stack.gateway(0), &member(json!([7]))).await;
        let request = Request::post("/saved", said(7, "hi").to_string())
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", &unique("canary"))
            .header("Authorization", &format!("Bearer {}", token(json!({"sub": "ann"}))));
        let task = stack.gateway(0).send(&request).await.expect_status(202).json()["taskId"].clone();
        let Heard::Message { id, data } = client.next().await else { panic!("no message") };
        assert_eq!((&data["id"], &data["data"]), (&task, &said(7, "hi")));
        if kind == super::Events {
            assert_eq!(id.as_deref(), task.as_str());
        }
        let shown = data.to_string();
        for hidden in ["tasktoken", "statusurl", "idempotencykey", "canary"] {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
    }
}

/// Of a Redis stream that somebody else writes in their own way.
#[tokio::test]
async fn entries_of_another_make_are_shown_as_objects() {
    let (topics, topic) = (Topics::redis(), unique("saved"));
    let stack = feeding(&topics, &topic).await;
    let mut client = Client::eventually_open(super::Events, stack.gateway(0), &member(json!([7]))).await;
    let Topics::Redis { url, .. } = &topics else { unreachable!() };
    let mut connection = redis::Client::open(url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut adding = redis::cmd("XADD");
    adding.arg(&topic).arg("*").arg(&["room_id", "7", "text", "hi", "tasktoken", "canary"]);
    adding.query_async::<String>(&mut connection).await.unwrap();
    assert_eq!(client.message().await, json!({"room_id": "7", "text": "hi"}));
}

/// A filter that looks at several things, one of them in the path.
#[tokio::test]
async fn a_room_may_be_chosen_by_the_path_among_those_of_the_token() {
    let (topics, topic) = (Topics::redis(), unique("saved"));
    let stack = feeding(&topics, &topic).await;
    let filter = json!({"/room_id": "{room}", "/member": "{claims/member/of}"});
    let target = json!({"channel": {"queue": "saved", "filter": filter}});
    stack.put(&[route("room").pattern("/rooms/{room}").set("target", target).set("access", by_token())]).await;
    let request = bearer("/rooms/7", json!({"sub": "ann", "member": {"of": ["a", "b"]}}));
    let mut client = Client::eventually_open(super::Events, stack.gateway(0), &request).await;
    let all = [(7, "a"), (8, "a"), (7, "c"), (7, "b")].map(|(room, member)| json!({"room_id": room, "member": member}));
    topics.say(&topic, &all).await;
    assert_eq!(client.message().await, all[0]);
    assert_eq!(client.message().await, all[3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_begins_when_it_is_opened() {
    for topics in [Topics::redis(), Topics::kafka(&["saved"]).await] {
        let topic = if topics.broker() == "kafka" { "saved".to_owned() } else { unique("saved") };
        let stack = feeding(&topics, &topic).await;
        topics.say(&topic, &[said(7, "before")]).await;
        for kind in BOTH {
            let mut client = Client::eventually_open(kind, stack.gateway(0), &member(json!([7]))).await;
            topics.say(&topic, &[said(7, "after")]).await;
            assert_eq!(client.message().await, said(7, "after"), "{kind:?} on {}", topics.broker());
        }
    }
}
