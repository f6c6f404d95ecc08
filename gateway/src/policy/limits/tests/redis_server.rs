//! A Redis of a test's own, to be stopped, frozen and started again.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(super) struct RedisServer {
    dir: TempDir,
    socket: String,
    child: Option<Child>,
}

impl RedisServer {
    /// On a socket in a folder of its own: a port could be anybody's by the time that it is bound.
    pub(super) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let socket = dir.path().join("redis.sock").display().to_string();
        let mut server = Self { dir, socket, child: None };
        server.start_again();
        server
    }

    pub(super) fn url(&self) -> String {
        format!("unix://{}", self.socket)
    }

    pub(super) fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", &self.socket, "--dir"]);
        command.arg(self.dir.path()).stdout(Stdio::null());
        let child = command.spawn().expect("redis-server can be started: see scripts/prerequisites");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(Path::new(&self.socket)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Takes connections and answers nothing, as behind a broken network.
    pub(super) fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    pub(super) fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().expect("it runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("it is ours");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
