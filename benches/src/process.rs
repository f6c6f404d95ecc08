//! A process under measurement: started with its log in a file, its CPU time and memory read from `/proc`, killed on drop.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Longer than a release binary takes to start with a large configuration.
const DEADLINE: Duration = Duration::from_mins(1);

/// `USER_HZ`: the unit of `/proc/PID/stat`, the same on every Linux that we run on.
const TICKS_PER_SECOND: u64 = 100;

#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn start(name: &str, mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("could not start {}", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits until somebody takes connections at `address`.
    pub fn wait_accepting(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        self.poll(&format!("connections at {address}"), |_| TcpStream::connect(address).ok().map(drop))
    }

    /// The address behind `NAME=` in the process's `listening …` line.
    pub fn wait_listening(&mut self, name: &str) -> anyhow::Result<SocketAddr> {
        let marker = format!("{name}=");
        self.poll("its listening line", |log| {
            let line = log.lines().find(|line| line.contains("listening "))?;
            let address = line.split(&marker).nth(1)?;
            address.split(|letter: char| letter.is_whitespace() || letter == '"').next()?.parse().ok()
        })
    }

    fn poll<T>(&mut self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> anyhow::Result<T> {
        let start = Instant::now();
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(found) = look(&log) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before {what}:\n{log}", self.name);
            }
            if start.elapsed() > DEADLINE {
                bail!("{} does not give {what} within {DEADLINE:?}:\n{log}", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// User and system time of all its threads so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu(&self.child.id().to_string())
    }

    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        resident_bytes(&self.child.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of all threads of the process of this id, or `self`.
pub fn cpu(process: &str) -> anyhow::Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    // The name may hold blanks and brackets; the fields behind its last bracket begin with the third.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok());
    let (user, system) = ticks().zip(ticks()).with_context(|| format!("{path} holds no times"))?;
    Ok(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

/// Of the process of this id, or `self`.
pub fn resident_bytes(process: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("there is no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// An address that was free a moment ago, for peers that can't take port 0.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A binary that lies beside this one.
pub fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.is_file() {
        bail!("{} is missing: cargo build --release -p gateway -p admin-api -p benches", path.display());
    }
    Ok(path)
}
