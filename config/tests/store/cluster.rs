//! A Postgres cluster of a test's own, to be stopped in its tracks, killed and brought back.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

#[derive(Debug)]
pub(crate) struct Cluster {
    server: Option<Child>,
    folder: TempDir,
    owner: Option<(u32, u32)>,
    port: u16,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::with_prefix_in("gatehouse-store-postgres-", "/tmp").unwrap();
        let owner = rustix::process::geteuid().is_root().then(owner);
        if let Some((user, group)) = owner {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let port = free_port();
        let mut cluster = Self { server: None, folder, owner, port };
        let mut initdb = cluster.command("initdb");
        initdb.args(["-U", "gateway", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        assert!(initdb.status().unwrap().success(), "initdb failed");
        cluster.start_again().await;
        cluster
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://gateway@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) async fn start_again(&mut self) {
        let mut server = self.command("postgres");
        server.args([
            "-p",
            &self.port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ]);
        self.server = Some(server.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = PgConnection::connect(&self.url()).await {
            assert!(Instant::now() < deadline, "Postgres did not start: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends every process of the server at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        let children = self.children();
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            signal(&children, Signal::KILL);
            server.wait().unwrap();
        }
    }

    /// Connections stay open, new ones are taken by the kernel, and nothing answers.
    pub(crate) fn freeze(&self) {
        signal(&self.postmaster(), Signal::STOP);
        signal(&self.children(), Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        signal(&self.children(), Signal::CONT);
        signal(&self.postmaster(), Signal::CONT);
    }

    fn postmaster(&self) -> Vec<u32> {
        self.server.iter().map(Child::id).collect()
    }

    fn children(&self) -> Vec<u32> {
        let Some(parent) = self.server.as_ref().map(Child::id) else { return Vec::new() };
        std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
            .map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
            .unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(programs().join(program));
        command.current_dir(self.folder.path()).arg("-D").arg(self.folder.path().join("data"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((user, group)) = self.owner {
            command.gid(group).uid(user);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(pids: &[u32], signal: Signal) {
    for pid in pids {
        // One that has ended meanwhile is none to signal.
        if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
            kill_process(pid, signal).ok();
        }
    }
}

/// Postgres refuses to run as root, so a test that is root runs it as `postgres`.
fn owner() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("there is a user postgres");
    let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
    (ids[0], ids[1])
}

/// The folder of the newest Postgres of Debian's, or else of the one on `PATH`.
fn programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = installed.map(|version| version.path().join("bin")).max();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    newest.into_iter().chain(std::env::split_paths(&on_path)).find(|folder| folder.join("initdb").is_file()).unwrap()
}

/// Below the ports that the system hands out by itself: while the server is down, nobody else takes it.
fn free_port() -> u16 {
    loop {
        let roll = RandomState::new().build_hasher().finish();
        let port = 10_000 + u16::try_from(roll % 20_000).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
