//! The process: it says where it listens, keeps nobody waiting at its end, and lives without its database.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;

use gateway_config::clock::{Clock, SystemClock, new_id};
use gateway_config::model::{FORMAT_VERSION, Node};
use gateway_config::store;

use crate::client::{MASTER_KEY, TOKEN};

/// `admin-api serve` as a process of its own.
pub(crate) struct Served {
    process: Process,
    pub(crate) address: SocketAddr,
    /// Kept open: a process that can't write its log any more is another test.
    _log: BufReader<ChildStderr>,
}

/// Gone with the test, however that ends.
struct Process(Child);

impl Served {
    pub(crate) fn start(dir: &Path, database: &str) -> Self {
        Self::start_with(dir, database, &[])
    }

    pub(crate) fn start_with(dir: &Path, database: &str, environment: &[(&str, &str)]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_admin-api"))
            .args(["serve", "--listen", "127.0.0.1:0", "--database-url", database])
            .current_dir(dir)
            .env_clear()
            .envs([("ADMIN_TOKEN", TOKEN), ("GATEWAY_MASTER_KEY", MASTER_KEY), ("LOG_FORMAT", "json")])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut process = Process(child);
        let mut log = BufReader::new(process.0.stderr.take().unwrap());
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended: {said}");
            said.push_str(&line);
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(address) = line["message"].as_str().unwrap().strip_prefix("listening admin=") {
                return Self { process, address: address.parse().unwrap(), _log: log };
            }
        }
    }

    /// The status and the body.
    pub(crate) fn send(&self, request: &str, body: &str) -> (u16, String) {
        exchange(self.address, request, body)
    }

    fn signal(&self) {
        let id = self.process.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Ends it, and answers what it wrote to its standard output.
    pub(crate) fn end(mut self) -> String {
        self.signal();
        assert_eq!(self.exit_code(), Some(0));
        let mut said = String::new();
        self.process.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.process.0.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn exchange(address: SocketAddr, request: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// A write that the server has begun: it asked for the body, which is `{}` and still to be sent.
fn begin(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "PUT /admin/routing/services/monolith HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
         content-length: 2\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_who_waits_for_nodes_is_answered_the_idle_leave_and_what_began_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("gateway.db").display());
    let mut served = Served::start(dir.path(), &url);
    let store = store::open(&url).await.unwrap();
    let node = Node {
        id: new_id(),
        version: "0".to_owned(),
        format: FORMAT_VERSION,
        address: String::new(),
        generation: 0,
        digest: String::new(),
        degraded: Vec::new(),
        last_seen: SystemClock.now(),
        has_left: false,
    };
    store.report_node(&node).await.unwrap();
    let address = served.address;
    let waiting = thread::spawn(move || {
        exchange(address, "PUT /admin/routing/services/auth?wait=60s", r#"{"defaultUrl": "http://a:1"}"#)
    });
    while store.head().await.unwrap().generation < 1 {
        tokio::task::yield_now().await;
    }
    let mut idle = TcpStream::connect(served.address).unwrap();
    let mut begun = begin(served.address);
    served.signal();
    // Whoever is left at the end is cut off: had anybody been waited for, what began would not be answered.
    let (status, body) = waiting.join().unwrap();
    assert_eq!(status, 202, "{body}");
    assert!(body.contains(&node.id.to_string()), "{body}");
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    begun.write_all(b"{}").unwrap();
    let mut answer = String::new();
    begun.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(served.exit_code(), Some(0));
}

#[test]
fn without_its_database_it_serves_503_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut served = Served::start(dir.path(), &format!("postgres://gateway@{closed}/gateway"));
    assert_eq!(served.send("GET /livez", "").0, 200);
    let (status, body) = served.send("GET /readyz", "");
    assert!(status == 503 && body.contains("database_unavailable"), "{status} {body}");
    served.signal();
    assert_eq!(served.exit_code(), Some(0));
}
