use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn egress(ours: Vec<SocketAddr>) -> Egress {
    // As `gateway::run` does before all else.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Egress::new(ours)
}

/// Answers every connection with `answer`, and counts them.
async fn server(answer: Vec<u8>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    (port, connections)
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn a_plain_answer_is_fetched_by_name_and_by_address() {
    let (port, connections) = server(ok(b"{}")).await;
    let client = egress(vec![]);
    assert_eq!(client.get(&format!("http://127.0.0.1:{port}/keys")).await.unwrap(), "{}");
    assert_eq!(client.get(&format!("http://localhost:{port}/keys")).await.unwrap(), "{}");
    assert_eq!(client.post_form(&format!("http://localhost:{port}/"), String::new(), None).await.unwrap(), "{}");
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn our_own_ports_are_not_reached_by_any_name() {
    let (port, connections) = server(ok(b"{}")).await;
    for bound in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"), format!("[::]:{port}")] {
        let client = egress(vec![bound.parse().unwrap()]);
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1", "0"] {
            let error = client.get(&format!("http://{host}:{port}/status")).await.unwrap_err();
            let is_refused = error.to_string().contains("will not fetch") || host == "localhost";
            assert!(is_refused, "{bound} {host}: {error}");
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn link_local_addresses_are_refused_without_a_connection() {
    let client = egress(vec![]);
    for host in ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0xa9fea9fe", "0.0.0.0", "[::]"] {
        let error = client.get(&format!("http://{host}/latest/meta-data")).await.unwrap_err();
        assert!(matches!(error, EgressError::Forbidden { .. }), "{host}: {error}");
    }
}

#[test]
fn what_a_name_resolves_to_is_filtered() {
    let guard = Guard::new(vec![]);
    let addresses = |list: &[&str]| list.iter().map(|it| it.parse().unwrap()).collect();
    let good = allowed(&guard, Reach::Any, addresses(&["169.254.169.254:80", "10.0.0.1:80", "[fe80::1]:80"]));
    assert_eq!(good.ok().unwrap().collect::<Vec<_>>(), ["10.0.0.1:80".parse().unwrap()]);
    let error = allowed(&guard, Reach::Any, addresses(&["169.254.169.254:80"])).err().unwrap();
    assert!(error.to_string().contains("link-local"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_an_error_and_is_not_followed() {
    let (secret, reached) = server(ok(b"secret")).await;
    let location = format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{secret}/\r\ncontent-length: 0\r\n\r\n");
    let (port, _) = server(location.into_bytes()).await;
    let error = egress(vec![]).get(&format!("http://127.0.0.1:{port}/")).await.unwrap_err();
    assert!(matches!(error, EgressError::Status(StatusCode::FOUND)), "{error}");
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_at_one_mebibyte() {
    let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    answer.resize(answer.len() + MAX_BODY_BYTES, b' ');
    let (port, _) = server(answer.clone()).await;
    let client = egress(vec![]);
    assert_eq!(client.get(&format!("http://127.0.0.1:{port}/")).await.unwrap().len(), MAX_BODY_BYTES);
    answer.push(b' ');
    let (port, _) = server(answer).await;
    let error = client.get(&format!("http://127.0.0.1:{port}/")).await.unwrap_err();
    assert!(matches!(error, EgressError::TooLarge), "{error}");
}

#[tokio::test]
async fn only_http_urls_are_fetched_and_errors_do_not_repeat_a_query() {
    let client = egress(vec![]);
    for url in ["file:///etc/passwd", "ftp://host/", "keys", "", "http://", "unix:/run/x"] {
        assert!(matches!(client.get(url).await, Err(EgressError::Url)), "{url}");
    }
    let refused = client.get("gopher://host/?secret=hunter2").await.unwrap_err();
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?secret=hunter2", listener.local_addr().unwrap());
    drop(listener);
    let refused = client.get(&url).await.unwrap_err();
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
}

#[tokio::test]
async fn a_post_answers_with_whatever_status_and_follows_no_redirect() {
    let (elsewhere, visits) = server(ok(b"")).await;
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:{elsewhere}/\r\nretry-after: 7\r\nconnection: close\r\n\r\n"
    );
    let (port, connections) = server(redirect.into_bytes()).await;
    let client = egress(vec![]);
    let url = format!("http://localhost:{port}/");
    let to = |reach| Post {
        url: &url,
        headers: http::HeaderMap::new(),
        body: Bytes::from_static(b"x"),
        timeout: TIMEOUT,
        reach,
    };
    let answer = client.post(to(Reach::Any)).await.unwrap();
    assert_eq!((answer.status, answer.retry_after_seconds), (StatusCode::TEMPORARY_REDIRECT, Some(7)));
    // The same host again, for a client: its name leads to a private address.
    let refused = client.post(to(Reach::Public)).await.unwrap_err();
    assert!(refused.to_string().contains("private") || matches!(refused, EgressError::Failed(_)), "{refused}");
    assert_eq!((connections.load(Ordering::SeqCst), visits.load(Ordering::SeqCst)), (1, 0));
}
