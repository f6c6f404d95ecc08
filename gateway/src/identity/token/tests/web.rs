//! An HTTP server that answers as it is told and remembers what it was asked.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

#[derive(Debug)]
pub(super) struct Web {
    pub(super) url: String,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    answer: Mutex<(u16, String)>,
    /// Head and body of each request.
    requests: Mutex<Vec<String>>,
    /// A permit for each answer.
    gate: Semaphore,
}

impl Web {
    pub(super) async fn start(answer: impl ToString) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/it", listener.local_addr().unwrap());
        let state = Arc::new(State {
            answer: Mutex::new((200, answer.to_string())),
            requests: Mutex::default(),
            gate: Semaphore::new(1_000_000),
        });
        let serving = tokio::spawn({
            let state = state.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, state.clone()));
                }
            }
        });
        Self { url, state, serving }
    }

    #[expect(clippy::needless_pass_by_value, reason = "the body is written out where it is given")]
    pub(super) fn answer(&self, status: u16, body: impl ToString) {
        *self.state.answer.lock() = (status, body.to_string());
    }

    /// No answer from now on, until [`Web::resume`].
    pub(super) fn pause(&self) {
        self.state.gate.forget_permits(usize::MAX);
    }

    pub(super) fn resume(&self) {
        self.state.gate.add_permits(1_000_000);
    }

    pub(super) fn hits(&self) -> usize {
        self.state.requests.lock().len()
    }

    pub(super) fn last(&self) -> String {
        self.state.requests.lock().last().cloned().unwrap_or_default()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            break;
        }
    }
    state.requests.lock().push(String::from_utf8(request).unwrap());
    state.gate.acquire().await.unwrap().forget();
    let (status, body) = state.answer.lock().clone();
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}
