//! How handshakes end: agreed, refused with a word, or cut. None of it disturbs anybody else.

use std::net::SocketAddr;
use std::time::Duration;

use e2e::http2::PREFACE;
use e2e::wire::WireError;
use e2e::{Backend, Connection, Failure, Request, TlsClient, eventually, raw_request};
use rustls::version::{TLS12, TLS13};
use tokio::time::timeout;

use super::{DEADLINE, HOST, Secure};

/// Reads until the gateway ends the connection; tells what came.
async fn read_to_end(connection: &mut Connection) -> Vec<u8> {
    let mut all = Vec::new();
    let end = async {
        while let Ok(bytes) = connection.wire().read_some().await {
            if bytes.is_empty() {
                break;
            }
            all.extend_from_slice(&bytes);
        }
    };
    timeout(DEADLINE, end).await.expect("the connection is ended");
    all
}

async fn assert_serves(secure: &Secure, client: &TlsClient) {
    let mut connection = client.connect(secure.stack.gateway(0).tls_address(), HOST).await.unwrap();
    connection.send(&Request::get("/")).await.unwrap().expect_status(200);
}

#[tokio::test]
async fn versions_and_protocols_are_agreed_upon() {
    let backend = Backend::saying("hello");
    let secure = Secure::with_host(&backend, &[]).await;
    let (address, client) = (secure.stack.gateway(0).tls_address(), secure.authority.client());
    for version in [&TLS12, &TLS13] {
        for (offered, expected) in [
            (&["h2", "http/1.1"][..], Some("h2")),
            (&["http/1.1", "h2"], Some("h2")),
            (&["http/1.1"], Some("http/1.1")),
            (&[], None),
        ] {
            let client = client.clone().version(version).offering(offered);
            let stream = client.shake_hands(address, HOST).await.unwrap();
            let (_, session) = stream.get_ref();
            assert_eq!(session.alpn_protocol(), expected.map(str::as_bytes), "{offered:?}");
            assert_eq!(session.protocol_version(), Some(version.version));
        }
        assert_serves(&secure, &client.clone().version(version)).await;
    }
    let refused = client.offering(&["spdy/3"]).shake_hands(address, HOST).await.unwrap_err();
    assert_eq!(refused.to_string(), "received fatal alert: NoApplicationProtocol");
}

#[tokio::test]
async fn plain_http_on_the_port_for_tls_is_told_so() {
    let backend = Backend::saying("hello");
    let secure = Secure::with_host(&backend, &[]).await;
    let address = secure.stack.gateway(0).tls_address();
    let long = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 20000\r\n\r\n{}", "a".repeat(20_000));
    for sent in ["GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n", &long, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = raw_request(address, sent.as_bytes()).await.expect("an answer").expect_status(400);
        assert_eq!(answer.code(), Some("bad_request"), "{answer}");
        assert_eq!(answer.json()["message"], "plain HTTP was spoken on a port for HTTPS");
    }
    assert_eq!(backend.count(), 0);
    assert_serves(&secure, &secure.authority.client()).await;
}

#[tokio::test]
async fn tls_on_the_plain_port_and_noise_on_either_disturb_nobody() {
    let backend = Backend::saying("hello");
    let secure = Secure::with_host(&backend, &[]).await;
    let (gateway, client) = (secure.stack.gateway(0), secure.authority.client());
    client.shake_hands(gateway.address(), HOST).await.expect_err("the plain port speaks no TLS");

    let hello = [&[22, 3, 1, 0, 5, 1, 0, 0, 1][..], &[0; 64]].concat();
    let claimed = [22, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff];
    let alert = [21, 3, 3, 0, 2, 2, 40];
    let long = vec![0xff; 100_000];
    let noises = [&[0; 100][..], &long, &hello, &claimed, &alert, &[0x80, 0x2e, 1, 0, 2], b"\r\n\r\n"];
    for noise in noises {
        make_noise(gateway.tls_address(), noise).await;
    }
    let loud = |line: &e2e::process::Line| line.is_level("error") || line.is_level("warn");
    let lines: Vec<_> = gateway.process().lines().into_iter().filter(loud).map(|line| line.text).collect();
    assert_eq!(lines, Vec::<String>::new(), "what strangers send is no operator's business");
    until_counted(&secure, "broken", 7.0).await;

    for noise in noises {
        make_noise(gateway.address(), noise).await;
    }
    assert_serves(&secure, &client).await;
    assert_eq!(backend.count(), 1);
}

/// Sends these bytes, and waits until the connection is over.
async fn make_noise(address: SocketAddr, noise: &[u8]) {
    let mut connection = Connection::open(address).await.unwrap();
    // Whoever is refused at once need not get through with all of it.
    let _ = connection.wire().write(noise).await;
    connection.wire().close().await;
    read_to_end(&mut connection).await;
}

#[tokio::test]
async fn a_handshake_that_hangs_or_trickles_is_cut_and_others_are_served_meanwhile() {
    let backend = Backend::saying("hello");
    let settings = [("GATEWAY_HEADER_TIMEOUT_SECONDS", "1"), ("GATEWAY_KEEPALIVE_SECONDS", "600")];
    let secure = Secure::with_host(&backend, &settings).await;
    let address = secure.stack.gateway(0).tls_address();
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(Connection::open(address).await.unwrap());
    }
    let mut half = Connection::open(address).await.unwrap();
    half.wire().write(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await.unwrap();
    assert_serves(&secure, &secure.authority.client()).await;

    // A record of 512 bytes, one by one.
    let mut trickling = Connection::open(address).await.unwrap();
    let trickle = async {
        let wire = trickling.wire();
        for byte in [22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3].into_iter().chain([0; 400]) {
            if wire.write(&[byte]).await.is_err() {
                return;
            }
            match timeout(Duration::from_millis(100), wire.read_some()).await {
                Ok(Ok(bytes)) if !bytes.is_empty() => panic!("an answer to half a handshake: {bytes:?}"),
                Ok(_) => return,
                Err(_) => {}
            }
        }
        panic!("it got through");
    };
    trickle.await;
    for connection in silent.iter_mut().chain([&mut half]) {
        assert_eq!(read_to_end(connection).await, Vec::<u8>::new());
    }
    // Nor may the first request come in drops behind the handshake.
    let mut slow = secure.authority.client().connect(address, HOST).await.unwrap();
    slow.wire().write(b"GET / HT").await.unwrap();
    let cut = timeout(DEADLINE, slow.read_answer("GET")).await.expect("it is cut");
    let is_cut = matches!(cut, Err(Failure::NoAnswer { error: WireError::Closed | WireError::Io(_), .. }));
    assert!(is_cut, "{cut:?}");
    // Nor what HTTP/2 begins with, where it was agreed upon.
    let client = secure.authority.client().offering(&["h2"]);
    let mut slow = client.connect(address, HOST).await.unwrap();
    slow.wire().write(&PREFACE[..23]).await.unwrap();
    assert_eq!(read_to_end(&mut slow).await, Vec::<u8>::new());
    until_counted(&secure, "too_slow", 52.0).await;
}

/// A handshake counts when it is over, which its client may see first.
async fn until_counted(secure: &Secure, result: &str, expected: f64) {
    let label = format!("result=\"{result}\"");
    eventually("handshakes to be counted", async || {
        let count = secure.stack.gateway(0).metric("gatehouse_tls_handshakes_total", &[&label]).await;
        if count == Some(expected) { Ok(()) } else { Err(format!("{count:?}")) }
    })
    .await;
}
