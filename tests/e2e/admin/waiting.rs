//! `?wait=` never lies: 200 once every live gateway serves the write and none is silent, else 202 and who is missing.

use e2e::{Backend, Signal, Stack, eventually, route, service};
use serde_json::Value;

fn states(nodes: &Value) -> Vec<String> {
    let items = nodes["items"].as_array().or_else(|| nodes.as_array()).expect("a list of nodes");
    let mut states: Vec<_> = items.iter().map(|node| node["state"].as_str().unwrap_or("none").to_owned()).collect();
    states.sort();
    states
}

#[tokio::test]
async fn a_stopped_gateway_turns_an_awaited_write_into_202_that_names_it() {
    let backend = Backend::saying("hello");
    let stack = Stack::builder().gateways(2).start().await;
    stack.put(&[service("one").url(backend.url())]).await;
    let node = stack.gateway(1).ops("/status").await.json()["nodeId"].clone();
    stack.gateway(1).process().signal(Signal::STOP);
    let change = route("one").pattern("/one").to_service("one").public();
    let answer = stack.admin().put(&format!("{}?wait=1s", change.path()), &change.json()).await.expect_status(202);
    let waiting = answer.json()["waitingFor"].clone();
    let waiting = waiting.as_array().unwrap_or_else(|| panic!("no waitingFor in {answer}"));
    assert_eq!(waiting.len(), 1, "{answer}");
    assert_eq!(waiting[0]["node"], node, "{answer}");
    assert_eq!(waiting[0]["generation"], 1, "{answer}");
    // It was written all the same, and the gateway that runs serves it.
    assert!(answer.header("x-config-generation").is_some(), "{answer}");
    eventually("the route", async || stack.gateway(0).get("/one").await.with_status(200)).await;

    eventually("the stopped gateway to count as silent", async || {
        let nodes = stack.admin().get("/admin/nodes").await.json();
        if states(&nodes) == ["live", "silent"] { Ok(()) } else { Err(nodes) }
    })
    .await;
    let change = change.set("priority", 1);
    let answer = stack.admin().put(&format!("{}?wait=300ms", change.path()), &change.json()).await.expect_status(202);
    assert_eq!(answer.json()["waitingFor"][0]["state"], "silent", "{answer}");

    stack.gateway(1).process().signal(Signal::CONT);
    let change = change.set("priority", 2);
    let answer = stack.admin().put(&format!("{}?wait=10s", change.path()), &change.json()).await;
    eventually("both to be live again", async || {
        let nodes = stack.admin().get("/admin/nodes").await.json();
        if states(&nodes) == ["live", "live"] { Ok(()) } else { Err(format!("{nodes} after {answer}")) }
    })
    .await;
}

#[tokio::test]
async fn nodes_tell_what_they_serve_and_that_they_left() {
    let backend = Backend::saying("hello");
    let stack = Stack::builder().gateways(2).start().await;
    stack.put(&[service("one").url(backend.url())]).await;
    let nodes = stack.admin().get("/admin/nodes").await.expect_status(200).json();
    assert_eq!(states(&nodes), ["live", "live"]);
    let items = nodes["items"].as_array().or_else(|| nodes.as_array()).unwrap();
    let digests: Vec<_> = items.iter().map(|node| node["digest"].clone()).collect();
    assert!(digests[0].is_string() && digests[0] == digests[1], "{nodes}");
    stack.gateway(1).terminate().await;
    eventually("one to have left", async || {
        let nodes = stack.admin().get("/admin/nodes").await.json();
        if states(&nodes).contains(&"left".to_owned()) { Ok(()) } else { Err(nodes) }
    })
    .await;
}

#[tokio::test]
async fn without_gateways_there_is_nobody_to_wait_for() {
    let stack = Stack::builder().gateways(0).start().await;
    // Longer than the client waits.
    let answer = stack.admin().put("/admin/routing/services/one?wait=60s", &service("one").json()).await;
    assert_eq!((answer.status, answer.header("x-config-applied")), (201, Some("0/0")), "{answer}");
}

#[tokio::test]
async fn a_wait_that_is_no_time_is_refused_and_nothing_written() {
    let stack = Stack::builder().gateways(0).start().await;
    for wait in ["soon", "-1s", "1e9s", "99999999999999999999s"] {
        let answer =
            stack.admin().put(&format!("/admin/routing/services/one?wait={wait}"), &service("one").json()).await;
        assert!([400, 422].contains(&answer.status), "{wait}: {answer}");
    }
    stack.admin().get("/admin/routing/services/one").await.expect_status(404);
}
