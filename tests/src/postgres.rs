//! A Postgres cluster of a test's own, for tests that kill it, stop it and bring it back. Tests that only need a database share
//! the run's cluster: see `database`.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rustix::process::{Pid, Signal, getuid, kill_process};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::eventually::eventually;
use crate::process::Process;

/// A running cluster; gone on drop, with all that is in it.
#[derive(Debug)]
pub struct PostgresCluster {
    // Before the folder: the server must end before its files go.
    server: Mutex<Option<Process>>,
    folder: TempDir,
    owner: Option<(u32, u32)>,
    programs: PathBuf,
    port: u16,
}

impl PostgresCluster {
    /// Creates and starts a cluster on a free port.
    pub async fn start() -> Self {
        let folder = TempDir::with_prefix("gatehouse-postgres-").expect("a temporary folder can be made");
        let owner = owner();
        if let Some((user, group)) = owner {
            chown(folder.path(), Some(user), Some(group)).expect("root may give a folder away");
        }
        let cluster = Self { server: Mutex::default(), folder, owner, programs: programs(), port: free_port() };
        cluster.create().await;
        cluster.start_again().await;
        cluster
    }

    /// The URL of a database in this cluster.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://gateway@127.0.0.1:{}/{database}", self.port)
    }

    /// Kills the server and everything that belongs to it, as a power cut would.
    pub async fn stop_hard(&self) {
        let server = self.server.lock().unwrap().take().expect("the cluster runs");
        let children = children_of(server.pid());
        server.signal(Signal::KILL);
        send_all(&children, Signal::KILL);
        server.wait_exit().await;
        eventually("the end of Postgres' processes", async || {
            let left: Vec<_> = children.iter().filter(|child| belongs_to_postgres(**child)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("left: {left:?}")) }
        })
        .await;
    }

    /// Starts the server where it was, on the same port, and waits until it takes connections.
    pub async fn start_again(&self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.folder.path().join("data")).args(["-p", &self.port.to_string()]);
        let sockets = format!("unix_socket_directories={}", self.folder.path().display());
        // Killed processes lose nothing that the operating system has: only a power cut would need fsync.
        for option in ["listen_addresses=127.0.0.1", "max_connections=200", "fsync=off", &sockets] {
            command.args(["-c", option]);
        }
        let server = Process::start("postgres", command);
        eventually("Postgres to take connections", async || {
            assert!(server.is_running(), "Postgres did not start: {:?}", server.lines());
            let mut connection = PgConnection::connect(&self.url("postgres")).await?;
            sqlx::query("SELECT 1").execute(&mut connection).await
        })
        .await;
        *self.server.lock().unwrap() = Some(server);
    }

    /// Stops every process of the server in its tracks (SIGSTOP): connections stay open and nothing answers.
    pub fn freeze(&self) {
        // The parent first, so that it makes no child that would be missed.
        let server = self.server_pid();
        send_all(&[server], Signal::STOP);
        send_all(&children_of(server), Signal::STOP);
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        let server = self.server_pid();
        send_all(&children_of(server), Signal::CONT);
        send_all(&[server], Signal::CONT);
    }

    fn server_pid(&self) -> u32 {
        self.server.lock().unwrap().as_ref().expect("the cluster runs").pid()
    }

    async fn create(&self) {
        let mut command = self.command("initdb");
        command.arg("-D").arg(self.folder.path().join("data"));
        command.args(["-U", "gateway", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        let process = Process::start("initdb", command);
        let exit = process.wait_exit().await;
        assert_eq!(exit, crate::Exit::Code(0), "initdb: {:?}", process.lines());
    }

    /// One of Postgres' programs, as a user that is not root: Postgres refuses to be.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path());
        if let Some((user, group)) = self.owner {
            command.gid(group).uid(user);
        }
        command
    }
}

impl Drop for PostgresCluster {
    fn drop(&mut self) {
        // Children outlive a killed parent for a moment, for ever when frozen, and write into a folder that should be gone.
        if let Some(server) = self.server.get_mut().unwrap().take() {
            server.signal(Signal::STOP);
            send_all(&children_of(server.pid()), Signal::KILL);
            drop(server);
        }
    }
}

/// Whom to run as: the user `postgres` where the test is root, else the test's own.
fn owner() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("there is an /etc/passwd");
    let line = users.lines().find_map(|line| line.strip_prefix("postgres:")).expect("there is a user postgres");
    let mut ids = line.split(':').skip(1).map_while(|field| field.parse().ok());
    Some((ids.next().expect("a user has an id"), ids.next().expect("a user has a group")))
}

/// The folder of the newest Postgres of Debian's, or else of the one on `PATH`.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    folders.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    folders.extend(std::env::split_paths(&path));
    let found = folders.into_iter().find(|folder| folder.join("initdb").is_file());
    found.expect("Postgres is installed: run scripts/prerequisites test")
}

fn version(folder: &Path) -> u32 {
    folder.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse().ok()).unwrap_or_default()
}

/// A port that nobody listens on, below those that the system hands out by itself and those of `tests/with-servers`: while its owner is
/// down, nobody else's connection or listener takes it. It is this process's until it ends: other tests choose theirs at the same time.
pub fn free_port() -> u16 {
    let folder = std::env::temp_dir().join(format!("gatehouse-test-ports-{}", getuid().as_raw()));
    std::fs::create_dir_all(&folder).expect("there is room for locks");
    loop {
        let roll = RandomState::new().build_hasher().finish();
        let port = 10_000 + u16::try_from(roll % 10_000).unwrap_or_default();
        let Ok(lock) = File::create(folder.join(port.to_string())) else { continue };
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            // Open for as long as the process lives.
            std::mem::forget(lock);
            return port;
        }
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("there is a /proc").filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, above)| above == parent)).collect()
}

fn belongs_to_postgres(pid: u32) -> bool {
    stat(pid).is_some_and(|(name, _)| name == "postgres")
}

/// A living process's name and its parent.
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z").then(|| (before.split_once('(').map_or("", |(_, name)| name).to_owned(), parent))
}

fn send_all(pids: &[u32], signal: Signal) {
    for pid in pids.iter().filter_map(|&pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        // It may have ended by itself meanwhile.
        let _ = kill_process(pid, signal);
    }
}
