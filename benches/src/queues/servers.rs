//! Brokers of a run's own, on ports and in folders of their own, killed with it.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::process::{Process, free_address};

/// RabbitMQ takes some ten seconds to start, on a busy machine more.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(20);

/// That can be killed and started again.
pub(super) trait Server {
    fn kill(&mut self);

    /// Takes messages again when this returns.
    fn start_again(&mut self) -> anyhow::Result<()>;
}

pub(super) struct Redis {
    address: SocketAddr,
    is_synced: bool,
    process: Option<Process>,
    // Declared last: the process ends before its folder goes.
    folder: TempDir,
}

impl Redis {
    /// `is_synced`: each write is on disk before it is answered.
    pub(super) fn start(is_synced: bool) -> anyhow::Result<Self> {
        let mut server = Self { address: free_address()?, is_synced, process: None, folder: tempfile::tempdir()? };
        server.start_again()?;
        Ok(server)
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

impl Server for Redis {
    fn kill(&mut self) {
        self.process = None;
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.address.port().to_string(), "--save", ""]);
        command.args(["--appendonly", if self.is_synced { "yes" } else { "no" }, "--appendfsync", "always"]);
        command.arg("--dir").arg(self.folder.path());
        let mut process = Process::start("redis", command, self.folder.path())?;
        process.wait_accepting(self.address)?;
        self.process = Some(process);
        Ok(())
    }
}

/// As the tests have it: one scheduler. Quorum queues sync what they take.
pub(super) struct RabbitMq {
    port: u16,
    child: Option<Child>,
    folder: TempDir,
}

impl RabbitMq {
    pub(super) fn start() -> anyhow::Result<Self> {
        let mut server = Self { port: free_address()?.port(), child: None, folder: tempfile::tempdir()? };
        server.start_again()?;
        Ok(server)
    }

    pub(super) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }
}

impl Server for RabbitMq {
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its port mapper, which would outlive it, is in the group too.
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
        }
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/rabbitmq-server");
        let mut command = Command::new(&program);
        // What was published lies in its log's memory for long after it was purged, and at its limit it takes nothing.
        let more = "vm_memory_high_watermark.absolute = 4GB";
        command.arg(self.folder.path()).arg(self.port.to_string()).arg(more).process_group(0).stdin(Stdio::null());
        self.child = Some(command.spawn().with_context(|| format!("could not start {}", program.display()))?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (start, url) = (Instant::now(), self.url());
        runtime.block_on(async {
            loop {
                match lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await {
                    Ok(connection) => return Ok(connection.close(200, "ready".into()).await?),
                    Err(error) if start.elapsed() > PATIENCE => bail!("RabbitMQ does not start: {error}"),
                    Err(_) => tokio::time::sleep(LOOK).await,
                }
            }
        })
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
    }
}
