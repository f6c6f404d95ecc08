//! What holds for all services alike.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use backends::{
    server::{Plan, Server},
    services::Name,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::yield_now,
    time::timeout,
};

use crate::stage::{Stage, answer, folder, refusal};

const PATIENCE: Duration = Duration::from_secs(30);
const JWKS: &str = "http://127.0.0.1:1/";

#[tokio::test]
async fn all_services_run_in_one_process_and_say_that_they_live() {
    let folder = folder();
    let stage = Stage::open(&Name::ALL, folder.path()).await;
    for name in Name::ALL {
        let (status, body) = answer(stage.get(name, "/livez")).await;
        assert_eq!((status.as_u16(), body["status"].as_str()), (200, Some("ok")), "{name}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_in_the_shape_of_all_errors() {
    let folder = folder();
    let stage = Stage::open(&Name::ALL, folder.path()).await;
    for (name, path) in [(Name::Auth, "/auth/me"), (Name::Monolith, "/orders/1"), (Name::Pipeline, "/jobs/1")] {
        let message = refusal(stage.get(name, "/nowhere"), 404).await;
        assert!(message.contains("/nowhere"), "{message}");
        let message = refusal(stage.post(name, path), 405).await;
        assert!(message.contains("POST"), "{message}");
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_broken_or_not_json_are_refused() {
    let folder = folder();
    let stage = Stage::open(&Name::ALL, folder.path()).await;
    for (name, path) in [(Name::Auth, "/auth/login"), (Name::Monolith, "/orders"), (Name::Pipeline, "/jobs")] {
        let send = |kind: &'static str, body: String| stage.post(name, path).header("content-type", kind).body(body);
        refusal(send("application/json", format!("\"{}\"", "x".repeat(64 * 1024))), 413).await;
        refusal(send("application/json", "{".to_owned()), 400).await;
        refusal(send("text/plain", "{}".to_owned()), 415).await;
    }
    refusal(stage.post(Name::Standby, "/").body("x".repeat(64 * 1024 + 1)), 413).await;
}

#[tokio::test]
async fn a_request_in_flight_is_answered_after_the_call_to_stop() {
    let folder = folder();
    let stage = Stage::open(&[Name::Pipeline], folder.path()).await;
    let (_, address) = stage.server.addresses()[0];
    let mut caller = TcpStream::connect(address).await.unwrap();
    let head = "POST /jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 17\r\nexpect: 100-continue\r\n\r\n";
    caller.write_all(head.as_bytes()).await.unwrap();
    // The service asks for the body: it has begun.
    let mut go_on = [0; 25];
    timeout(PATIENCE, caller.read_exact(&mut go_on)).await.unwrap().unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    let stopping = tokio::spawn(stage.server.stop());
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    caller.write_all(br#"{"kind":"report"}"#).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, caller.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_service_and_nothing_is_touched() {
    let folder = folder();
    let data_dir = folder.path().join("data");
    let taken = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = taken.local_addr().unwrap();
    let plan = Plan::new(&data_dir, JWKS.parse().unwrap()).with(Name::Monolith, Some(address));
    let failure = format!("{:#}", Server::start(plan).await.unwrap_err());
    assert!(failure.starts_with(&format!("could not listen on {address} for monolith: ")), "{failure}");
    assert!(!data_dir.exists());
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_made_is_named() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let failure =
        Server::start(Plan::new(&file, JWKS.parse().unwrap()).with(Name::Auth, Some(any_port))).await.unwrap_err();
    let failure = format!("{failure:#}");
    assert!(failure.starts_with("could not start auth: could not create the folder"), "{failure}");
}
