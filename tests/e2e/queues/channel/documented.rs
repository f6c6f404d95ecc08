//! The client that docs/queues.md shows for server-sent events does what it says.

use std::process::Command;

use e2e::{Process, eventually_within};
use serde_json::json;

use super::{DEADLINE, Topics, feeding, said, token, unique};

const DOCUMENT: &str = include_str!("../../../../docs/queues.md");

#[tokio::test]
async fn the_documented_client_of_events_prints_what_comes() {
    let (topics, topic) = (Topics::redis(), unique("saved"));
    let stack = feeding(&topics, &topic).await;
    let program = DOCUMENT.split("\n```javascript\n").nth(1).unwrap().split("\n```").next().unwrap();
    let mut command = Command::new("node");
    command.args(["--input-type=module", "--eval", program]);
    command.env("FEED", stack.gateway(0).url("/feed")).env("TOKEN", token(json!({"sub": "ann", "rooms": [7]})));
    let client = Process::start("client", command);
    let printed = async || {
        topics.say(&topic, &[said(8, "no"), said(7, "grüß")]).await;
        let output = client.output();
        assert!(!output.contains("no"), "{output}");
        if output.contains("{ room_id: 7, text: 'grüß' }") { Ok(()) } else { Err(output) }
    };
    eventually_within(DEADLINE, "the message to be printed", printed).await;
}
