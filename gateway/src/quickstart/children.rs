//! The quickstart's child processes: started, listened to until they say where they listen, stopped together.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::select_all;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(10);

/// A program beside this one, and how it is started.
pub(super) struct Spec {
    name: &'static str,
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
}

impl Spec {
    /// The program beside this one, or `launcher`'s subcommand of that name.
    pub(super) fn program(name: &'static str, launcher: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(launcher) = launcher {
            return Ok(Self { name, path: launcher.to_owned(), args: vec![name.into()], env: Vec::new() });
        }
        let this = std::env::current_exe().context("could not find the path of this program")?;
        let path = this.with_file_name(name);
        if !path.exists() {
            bail!("there is no program {}: build it first (make run does)", path.display());
        }
        Ok(Self { name, path, args: Vec::new(), env: Vec::new() })
    }

    pub(super) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(super) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }
}

pub(super) struct Children {
    log_dir: PathBuf,
    running: Vec<(&'static str, Child)>,
}

impl Children {
    pub(super) fn new(log_dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(log_dir).with_context(|| format!("could not make {}", log_dir.display()))?;
        Ok(Self { log_dir: log_dir.to_owned(), running: Vec::new() })
    }

    pub(super) fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// Starts the program and waits until it says where it listens.
    pub(super) async fn start(&mut self, spec: anyhow::Result<Spec>) -> anyhow::Result<Vec<(String, SocketAddr)>> {
        let spec = spec?;
        let log = self.log_dir.join(format!("{}.log", spec.name));
        let mut child = Command::new(&spec.path)
            .args(&spec.args)
            .envs(spec.env)
            .env("LOG_FORMAT", "pretty")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {}", spec.path.display()))?;
        let stderr = child.stderr.take().context("the child has no stderr")?;
        self.running.push((spec.name, child));
        let (said, listening) = tokio::sync::oneshot::channel();
        tokio::spawn(keep_log(stderr, File::create(&log)?, said));
        match timeout(START, listening).await {
            Ok(Ok(listening)) => Ok(listening),
            Ok(Err(_)) => bail!("{} ended at once: {}", spec.name, last_line(&log)),
            Err(_) => bail!("{} did not begin to listen; see {}", spec.name, log.display()),
        }
    }

    /// The name of the first child that ends.
    pub(super) async fn first_to_end(&mut self) -> &'static str {
        let ends = self.running.iter_mut().map(|(name, child)| {
            Box::pin(async move {
                let _ = child.wait().await;
                *name
            })
        });
        select_all(ends).await.0
    }

    /// Asks all to stop, the gateway first, and waits.
    pub(super) async fn stop(mut self) {
        for (_, child) in self.running.iter().rev() {
            let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for (_, child) in &mut self.running {
            let _ = timeout(STOP, child.wait()).await;
        }
    }
}

/// Copies the child's log to a file, and tells once where it listens.
async fn keep_log(stderr: ChildStderr, mut log: File, said: tokio::sync::oneshot::Sender<Vec<(String, SocketAddr)>>) {
    let mut said = Some(said);
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let _ = writeln!(log, "{line}");
        if let Some(listening) = listening(&line)
            && let Some(said) = said.take()
        {
            let _ = said.send(listening);
        }
    }
}

/// `… listening name=address name=address`
fn listening(line: &str) -> Option<Vec<(String, SocketAddr)>> {
    let (_, pairs) = line.split_once("listening ")?;
    let pair = |pair: &str| {
        let (name, address) = pair.split_once('=')?;
        Some((name.to_owned(), address.parse().ok()?))
    };
    pairs.split_whitespace().map(pair).collect()
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_line_that_says_them() {
        let line = "2026-01-01T00:00:00Z  INFO gateway::server: listening traffic=127.0.0.1:1 ops=[::1]:2";
        let found = listening(line).unwrap();
        assert_eq!(
            found,
            [("traffic".to_owned(), "127.0.0.1:1".parse().unwrap()), ("ops".to_owned(), "[::1]:2".parse().unwrap())]
        );
        assert!(listening("warning: listening on all addresses").is_none());
    }
}
