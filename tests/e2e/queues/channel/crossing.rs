//! Many on one topic: workers beside clients, clients of different speed, and all of them leaving.

use std::collections::BTreeSet;

use e2e::{Exit, Request, Signal, Stack, eventually_within, rabbitmq, redis};
use serde_json::{Value, json};

use super::client::End;
use super::{
    BOTH, Client, DEADLINE, Events, Heard, Socket, Topics, feeding, feeding_on, member, said, texts_until, token,
    unique,
};

const MESSAGES: usize = 40;

async fn publish(stack: &Stack, number: usize) -> String {
    let request = Request::post("/saved", said(7, &number.to_string()).to_string())
        .header("Content-Type", "application/json")
        .header("Authorization", &format!("Bearer {}", token(json!({"sub": "ann"}))));
    let sending = async || stack.gateway(0).send(&request).await.with_status(202);
    let taken = eventually_within(DEADLINE, "a message to be taken", sending).await;
    taken.json()["taskId"].as_str().unwrap().to_owned()
}

/// Clients listen before anything was ever published: on RabbitMQ there is then no queue for workers yet, and every message reaches
/// somebody all the same.
async fn both_get_all(topics: Topics, topic: &str) {
    let stack = feeding(&topics, topic).await;
    let mut clients = Vec::new();
    for kind in BOTH {
        clients.push(Client::eventually_open(kind, stack.gateway(0), &member(json!([7]))).await);
    }
    let mut taken = BTreeSet::new();
    for number in 0..MESSAGES {
        taken.insert(publish(&stack, number).await);
    }
    let received = match &topics {
        Topics::RabbitMq { url, .. } => rabbitmq::received(url, "saved", &taken).await,
        Topics::Redis { url, .. } => redis::received(url, topic, &taken).await,
        Topics::Kafka(kafka) => kafka.received(topic, &taken).await,
    };
    assert_eq!(received.len(), MESSAGES);
    for client in &mut clients {
        let mut seen = BTreeSet::new();
        for _ in 0..MESSAGES {
            seen.insert(client.message().await["id"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen, taken);
    }
}

/// On a server of its own: the queue's name is the workers' queue's, too.
#[tokio::test]
async fn on_rabbitmq_workers_lose_nothing_to_clients() {
    both_get_all(Topics::own_rabbitmq().await, &unique("saved")).await;
}

#[tokio::test]
async fn on_redis_workers_lose_nothing_to_clients() {
    both_get_all(Topics::redis(), &unique("saved")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_kafka_workers_lose_nothing_to_clients() {
    both_get_all(Topics::kafka(&["saved"]).await, "saved").await;
}

/// More than sockets hold, and much more than a gateway keeps for the slow.
fn flood() -> Vec<Value> {
    let filling = "x".repeat(64 << 10);
    (0..900).map(|number| json!({"room_id": 7, "text": number.to_string(), "filling": filling})).collect()
}

#[tokio::test]
async fn a_slow_client_hears_what_it_missed_and_the_others_miss_nothing() {
    let (topics, topic) = (Topics::redis(), unique("saved"));
    let stack = feeding(&topics, &topic).await;
    let mut slow = Client::eventually_open(Events, stack.gateway(0), &member(json!([7]))).await;
    let mut slow_socket = Client::eventually_open(Socket, stack.gateway(0), &member(json!([7]))).await;
    let mut quick = Client::eventually_open(Events, stack.gateway(0), &member(json!([7, 8]))).await;
    let flood = flood();
    for part in flood.chunks(20) {
        topics.say(&topic, part).await;
        let last = part.last().unwrap()["text"].as_str().unwrap();
        // It keeps up, or this panics.
        assert_eq!(texts_until(&mut quick, last).await.len(), part.len());
    }
    topics.say(&topic, &[said(8, "over")]).await;
    assert_eq!(quick.message().await, said(8, "over"));

    let (mut seen, mut missed, mut next) = (0, 0, 0);
    while next < flood.len() {
        match slow.next().await {
            Heard::Message { data, .. } => {
                assert_eq!(data["text"], json!(next.to_string()), "in order, and nothing missed in silence");
                (seen, next) = (seen + 1, next + 1);
            }
            Heard::Missed(Some(count)) => {
                let count = usize::try_from(count).unwrap();
                (missed, next) = (missed + count, next + count);
            }
            other => panic!("{other:?} after {seen}"),
        }
    }
    assert_eq!(seen + missed, flood.len());
    assert!(missed > 100 && seen > 100, "{seen} seen, {missed} missed");

    let mut seen = 0;
    let end = loop {
        match slow_socket.next().await {
            Heard::Message { .. } => seen += 1,
            Heard::End(end) => break end,
            Heard::Missed(_) => panic!("there is no such message"),
        }
    };
    let End::Code(1001, why) = &end else { panic!("{end:?} after {seen}") };
    assert!(why.starts_with("too slow: ") && seen < flood.len(), "{why} after {seen}");
}

#[tokio::test]
async fn a_gateway_that_stops_ends_its_streams_and_waits_for_none() {
    let (topics, topic) = (Topics::redis(), unique("saved"));
    let builder = Stack::builder().setting("GATEWAY_DRAIN_TIMEOUT_SECONDS", "600");
    let stack = feeding_on(builder, &topics, &topic).await;
    let mut events = Client::eventually_open(Events, stack.gateway(0), &member(json!([7]))).await;
    let mut socket = Client::eventually_open(Socket, stack.gateway(0), &member(json!([7]))).await;
    // And one that reads nothing, with its connection full.
    let _stuck = Client::eventually_open(Events, stack.gateway(0), &member(json!([8]))).await;
    let filling = json!({"room_id": 8, "filling": "x".repeat(1 << 20)});
    for _ in 0..20 {
        topics.say(&topic, std::slice::from_ref(&filling)).await;
    }
    topics.say(&topic, &[said(7, "last")]).await;
    for client in [&mut events, &mut socket] {
        assert_eq!(client.message().await, said(7, "last"));
    }
    stack.gateway(0).process().signal(Signal::TERM);
    assert_eq!(events.end().await, End::Whole);
    assert_eq!(socket.end().await, End::Code(1001, "the gateway stops".to_owned()));
    drop((events, socket));
    assert_eq!(stack.gateway(0).process().wait_exit().await, Exit::Code(0));
}

/// Commands that block for something new, on a server that nobody else uses.
async fn readers(url: &str) -> usize {
    let mut connection = ::redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let clients: String = ::redis::cmd("CLIENT").arg("LIST").query_async(&mut connection).await.unwrap();
    clients.lines().filter(|line| line.contains("cmd=xread")).count()
}

#[tokio::test]
async fn on_redis_all_clients_share_one_reader_which_ends_with_the_last() {
    let (topics, topic) = (Topics::own_redis().await, unique("saved"));
    let Topics::Redis { url, .. } = &topics else { unreachable!() };
    let stack = feeding(&topics, &topic).await;
    assert_eq!(readers(url).await, 0);
    let mut clients = Vec::new();
    for room in 0..6 {
        let kind = BOTH[room % 2];
        clients.push(Client::eventually_open(kind, stack.gateway(0), &member(json!([room]))).await);
    }
    let count = async |wanted| match readers(url).await {
        found if found == wanted => Ok(()),
        found => Err(format!("{found} readers")),
    };
    eventually_within(DEADLINE, "one reader", || count(1)).await;
    clients.truncate(1);
    topics.say(&topic, &[said(0, "still here")]).await;
    assert_eq!(clients[0].message().await, said(0, "still here"));
    clients.clear();
    eventually_within(DEADLINE, "no reader", || count(0)).await;
}

#[tokio::test]
async fn on_rabbitmq_the_queue_of_the_clients_goes_with_the_last() {
    let (topics, topic) = (Topics::rabbitmq().await, unique("saved"));
    let stack = feeding(&topics, &topic).await;
    let first = Client::eventually_open(Events, stack.gateway(0), &member(json!([7]))).await;
    let second = Client::eventually_open(Socket, stack.gateway(0), &member(json!([7]))).await;
    assert!(topics.reaches_somebody(&topic).await);
    drop(first);
    assert!(topics.reaches_somebody(&topic).await);
    drop(second);
    let gone = async || if topics.reaches_somebody(&topic).await { Err("it is there") } else { Ok(()) };
    eventually_within(DEADLINE, "the queue to be gone", gone).await;
}
