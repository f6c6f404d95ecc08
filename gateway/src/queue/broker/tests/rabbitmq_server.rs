//! A RabbitMQ of a test's own, to be killed and started again.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

pub(super) struct RabbitMqServer {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl RabbitMqServer {
    /// Begins to start; whoever connects waits for it.
    pub(super) fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { dir: tempfile::tempdir().unwrap(), port, child: None };
        server.start_again();
        server
    }

    pub(super) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    pub(super) fn start_again(&mut self) {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/rabbitmq-server"));
        command.arg(self.dir.path()).arg(self.port.to_string());
        let child = command.process_group(0).stdin(Stdio::null()).spawn();
        self.child = Some(child.expect("RabbitMQ can be started: see scripts/prerequisites"));
    }

    /// As by a power cut.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
        }
    }
}

impl Drop for RabbitMqServer {
    fn drop(&mut self) {
        self.kill();
    }
}
