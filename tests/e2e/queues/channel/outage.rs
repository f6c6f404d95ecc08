//! Brokers that go away and come back: the stream goes on.

use e2e::eventually_within;
use e2e::network::{Network, Weather};
use serde_json::json;

use super::{BOTH, Client, DEADLINE, Events, Heard, Socket, Topics, feeding, member, said, texts_until, unique};

/// Up to the first message after the outage. Whoever cares may hear that something may be missing.
async fn first_after(client: &mut Client) -> (String, bool) {
    let mut is_told = false;
    loop {
        match client.next().await {
            Heard::Message { data, .. } => return (data["text"].as_str().unwrap().to_owned(), is_told),
            Heard::Missed(None) => is_told = true,
            other => panic!("{other:?}"),
        }
    }
}

/// What came while nobody followed is lost to clients: RabbitMQ keeps it for workers only.
#[tokio::test]
async fn a_rabbitmq_that_is_killed_and_comes_back_ends_no_stream() {
    let mut topics = Topics::own_rabbitmq().await;
    let topic = unique("saved");
    let stack = feeding(&topics, &topic).await;
    let mut clients = Vec::new();
    for kind in BOTH {
        clients.push(Client::eventually_open(kind, stack.gateway(0), &member(json!([7]))).await);
    }
    topics.say(&topic, &[said(7, "before")]).await;
    for client in &mut clients {
        assert_eq!(client.message().await, said(7, "before"));
    }
    let Topics::RabbitMq { server: Some(server), .. } = &mut topics else { unreachable!() };
    server.kill();
    server.start_again().await;
    // Somebody who comes now is let in once messages come again.
    let mut late = Client::eventually_open(Events, stack.gateway(0), &member(json!([7]))).await;
    topics.say(&topic, &[said(7, "after")]).await;
    assert_eq!(late.message().await, said(7, "after"));
    let [events, socket] = clients.as_mut_slice() else { unreachable!() };
    assert_eq!(first_after(events).await, ("after".to_owned(), true));
    assert_eq!(first_after(socket).await, ("after".to_owned(), false));
}

/// The server is well, and nobody says that the way to it is not.
#[tokio::test]
async fn a_way_to_rabbitmq_that_carries_nothing_is_left_for_another() {
    let (direct, topic) = (Topics::rabbitmq().await, unique("saved"));
    let Topics::RabbitMq { url, exchange, .. } = &direct else { unreachable!() };
    let (network, through) = Network::before(url).await;
    let stack = feeding(&Topics::RabbitMq { url: through, exchange: exchange.clone(), server: None }, &topic).await;
    let mut client = Client::eventually_open(Socket, stack.gateway(0), &member(json!([7]))).await;
    network.turn(Weather::Frozen);
    let noticed = async || {
        let lines = stack.gateway(0).process().lines();
        if lines.iter().any(|line| line.text.contains("rabbitmq is away")) { Ok(()) } else { Err("not yet") }
    };
    eventually_within(DEADLINE, "the cut to be noticed", noticed).await;
    network.turn(Weather::Fair);
    // In once messages come again.
    let mut late = Client::eventually_open(Events, stack.gateway(0), &member(json!([7]))).await;
    direct.say(&topic, &[said(7, "after")]).await;
    for client in [&mut late, &mut client] {
        loop {
            match client.next().await {
                Heard::Message { data, .. } if data == said(7, "after") => break,
                // On a busy machine the new way may be given up once more, and with it what was said meanwhile.
                Heard::Missed(None) => direct.say(&topic, &[said(7, "after")]).await,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_redis_that_is_killed_and_comes_back_costs_clients_nothing() {
    let mut topics = Topics::own_redis().await;
    let topic = unique("saved");
    let stack = feeding(&topics, &topic).await;
    let mut events = Client::eventually_open(Events, stack.gateway(0), &member(json!([7]))).await;
    let mut socket = Client::eventually_open(Socket, stack.gateway(0), &member(json!([7]))).await;
    for round in 0..3 {
        let texts: Vec<String> = (0..9).map(|number| format!("{round}.{number}")).collect();
        let all: Vec<_> = texts.iter().map(|text| said(7, text)).collect();
        topics.say(&topic, &all[..5]).await;
        let Topics::Redis { server: Some(server), .. } = &mut topics else { unreachable!() };
        server.kill().await;
        server.start_again().await;
        // At once, before the gateway is back.
        topics.say(&topic, &all[5..]).await;
        for client in [&mut events, &mut socket] {
            assert_eq!(texts_until(client, texts.last().unwrap()).await, texts);
        }
    }
}

/// Redis is well all the while, and others write on.
#[tokio::test]
async fn what_comes_while_the_way_to_redis_is_cut_is_seen_afterwards() {
    let (direct, topic) = (Topics::redis(), unique("saved"));
    let Topics::Redis { url, .. } = &direct else { unreachable!() };
    let (network, through) = Network::before(url).await;
    let stack = feeding(&Topics::Redis { url: through, server: None }, &topic).await;
    let mut client = Client::eventually_open(Events, stack.gateway(0), &member(json!([7]))).await;
    for weather in [Weather::Down, Weather::Frozen, Weather::Mute] {
        direct.say(&topic, &[said(7, "before")]).await;
        assert_eq!(client.message().await, said(7, "before"));
        network.turn(weather);
        let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        direct.say(&topic, &texts.iter().map(|text| said(7, text)).collect::<Vec<_>>()).await;
        network.turn(Weather::Fair);
        assert_eq!(texts_until(&mut client, "99").await, texts, "{weather:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_goes_away_and_comes_back_costs_clients_nothing() {
    let topics = Topics::kafka(&["saved"]).await;
    let stack = feeding(&topics, "saved").await;
    let Topics::Kafka(kafka) = &topics else { unreachable!() };
    let mut events = Client::eventually_open(Events, stack.gateway(0), &member(json!([7]))).await;
    let mut socket = Client::eventually_open(Socket, stack.gateway(0), &member(json!([7]))).await;
    for round in 0..3 {
        let texts: Vec<String> = (0..6).map(|number| format!("{round}.{number}")).collect();
        let all: Vec<_> = texts.iter().map(|text| said(7, text)).collect();
        topics.say("saved", &all[..3]).await;
        kafka.tell(|cluster| cluster.broker_down(-1).unwrap()).await;
        kafka.tell(|cluster| cluster.broker_up(-1).unwrap()).await;
        topics.say("saved", &all[3..]).await;
        for client in [&mut events, &mut socket] {
            assert_eq!(texts_until(client, texts.last().unwrap()).await, texts);
        }
    }
}
