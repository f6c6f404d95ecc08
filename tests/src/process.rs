//! A child process under test: its log read line by line, its addresses taken from its `listening …` line, signals, and a sure
//! end: killed and reaped on drop, its log printed when the test failed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use tokio::sync::watch;

use crate::eventually::DEADLINE;

pub use rustix::process::Signal;

/// The harness's binary around the product's own `run` functions. Cargo builds it together with the tests and lays it one
/// folder above them, so a test never meets a stale build.
pub fn stack_binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    folder.join("stack")
}

/// One line of a log.
#[derive(Clone, Debug)]
pub struct Line {
    pub text: String,
    /// Where the line is JSON.
    pub json: Option<Value>,
}

impl Line {
    fn new(text: String) -> Self {
        let json = serde_json::from_str(&text).ok().filter(Value::is_object);
        Self { text, json }
    }

    /// A field of a JSON line.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let json = self.json.as_ref()?;
        json.get(name).or_else(|| json.get("fields")?.get(name))
    }

    /// The message of a JSON line, or the whole line of another.
    pub fn message(&self) -> &str {
        self.field("message").and_then(Value::as_str).unwrap_or(&self.text)
    }

    pub fn is_level(&self, level: &str) -> bool {
        self.field("level").and_then(Value::as_str).is_some_and(|found| found.eq_ignore_ascii_case(level))
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Killed(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match status.code() {
            Some(code) => Self::Code(code),
            None => Self::Killed(status.signal().unwrap_or_default()),
        }
    }
}

/// A started child. Dropping it kills it and waits for its end.
pub struct Process {
    name: String,
    pid: u32,
    /// Names the process itself, so that a signal never reaches another that got its number.
    handle: OwnedFd,
    log: Arc<Log>,
    output: Arc<Mutex<Vec<u8>>>,
    exit: watch::Receiver<Option<Exit>>,
    readers: watch::Receiver<usize>,
}

#[derive(Debug)]
struct Log {
    lines: Mutex<Vec<Line>>,
    length: watch::Sender<usize>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("name", &self.name).field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl Process {
    /// `stack PART…` with none of the surrounding settings, and its log as JSON. `environment` comes on top.
    pub fn stack(name: &str, arguments: &[String], environment: &[(&str, String)]) -> Self {
        let mut command = Command::new(stack_binary());
        command.args(arguments);
        let ours = [
            "GATEWAY_",
            "ADMIN_",
            "DATABASE_",
            "DATA_DIR",
            "REDIS_",
            "AMQP_",
            "KAFKA_",
            "RUST_LOG",
            "LOG_",
            "BACKENDS_",
            "WEBHOOK_",
            "WORKER_",
            "SMTP_",
            "MAIL_",
            "SMS_",
            "AUTH_",
            "RESET_",
        ];
        for (key, _) in std::env::vars_os() {
            if ours.iter().any(|prefix| key.to_string_lossy().starts_with(prefix)) {
                command.env_remove(key);
            }
        }
        command.env("LOG_FORMAT", "json");
        command.envs(environment.iter().map(|(key, value)| (key, value)));
        Self::start(name, command)
    }

    /// Starts any command; `name` stands before its log.
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("could not start {name} ({command:?}): {error}"));
        let pid = child.id();
        let handle = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a child has a pid");
        let handle = pidfd_open(handle, PidfdFlags::empty()).expect("a child that was not reaped can be opened");

        let log = Arc::new(Log { lines: Mutex::default(), length: watch::Sender::new(0) });
        let output = Arc::new(Mutex::new(Vec::new()));
        let (reading, readers) = watch::channel(2);
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (theirs, done) = (Arc::clone(&log), reading.clone());
        std::thread::spawn(move || {
            read_lines(stderr, &theirs);
            done.send_modify(|count| *count -= 1);
        });
        let mut stdout = child.stdout.take().expect("stdout is piped");
        let theirs = Arc::clone(&output);
        std::thread::spawn(move || {
            read_bytes(&mut stdout, &theirs);
            reading.send_modify(|count| *count -= 1);
        });
        let (ended, exit) = watch::channel(None);
        std::thread::spawn(move || {
            let status = child.wait().expect("a child can be waited for");
            let _ = ended.send(Some(status.into()));
        });
        Self { name: name.to_owned(), pid, handle, log, output, exit, readers }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The log so far.
    pub fn lines(&self) -> Vec<Line> {
        self.log.lines.lock().unwrap().clone()
    }

    /// What the command answered on its standard output so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// The first line of the log, past or to come, that `wanted` accepts.
    pub async fn wait_for_line(&self, what: &str, wanted: impl Fn(&Line) -> bool) -> Line {
        self.wait_for_line_after(0, what, wanted).await
    }

    /// As [`Self::wait_for_line`], among the lines behind the first `seen`.
    pub async fn wait_for_line_after(&self, seen: usize, what: &str, wanted: impl Fn(&Line) -> bool) -> Line {
        let mut length = self.log.length.subscribe();
        let mut readers = self.readers.clone();
        let mut next = seen;
        let search = async {
            loop {
                length.mark_unchanged();
                let over = *readers.borrow_and_update() == 0;
                {
                    let lines = self.log.lines.lock().unwrap();
                    if let Some(line) = lines.iter().skip(next).find(|line| wanted(line)) {
                        return Some(line.clone());
                    }
                    next = next.max(lines.len());
                }
                if over {
                    return None;
                }
                tokio::select! {
                    _ = length.changed() => {}
                    _ = readers.changed() => {}
                }
            }
        };
        let Ok(found) = tokio::time::timeout(DEADLINE, search).await else {
            panic!("{} did not log within {DEADLINE:?}: {what}\n{}", self.name, self.log.tail());
        };
        found.unwrap_or_else(|| panic!("{} ended without a line: {what}\n{}", self.name, self.log.tail()))
    }

    /// The addresses of the process's `listening NAME=ADDRESS …` line.
    pub async fn wait_listening(&self) -> BTreeMap<String, SocketAddr> {
        let line = self.wait_for_line("listening …", |line| line.message().starts_with("listening ")).await;
        let words = line.message().split_whitespace().skip(1);
        let addresses = words.filter_map(|word| {
            let (name, address) = word.split_once('=')?;
            Some((name.to_owned(), address.parse().ok()?))
        });
        addresses.collect()
    }

    pub fn signal(&self, signal: Signal) {
        if self.is_running() {
            let _ = pidfd_send_signal(&self.handle, signal);
        }
    }

    pub fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Waits for the end of the process and of its log.
    pub async fn wait_exit(&self) -> Exit {
        self.wait_exit_within(DEADLINE).await
    }

    pub async fn wait_exit_within(&self, limit: Duration) -> Exit {
        let (mut exit, mut readers) = (self.exit.clone(), self.readers.clone());
        let ended = tokio::time::timeout(limit, exit.wait_for(Option::is_some)).await;
        let Ok(ended) = ended else { panic!("{} did not end within {limit:?}", self.name) };
        let ended = ended.expect("the waiting thread tells the end").expect("it ended");
        // A grandchild may hold the pipes open: the log then is as complete as it gets.
        let _ = tokio::time::timeout(Duration::from_secs(2), readers.wait_for(|count| *count == 0)).await;
        ended
    }

    /// Kills the process (`kill -9`) and waits for its end.
    pub async fn kill(&self) {
        self.signal(Signal::KILL);
        self.wait_exit().await;
    }

    /// Its resident memory.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid);
        let status = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("could not read {path}: {error}"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has a VmRSS");
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("VmRSS is a number") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        while self.is_running() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if std::thread::panicking() {
            eprintln!("=== log of {} (pid {}, {:?})\n{}===", self.name, self.pid, *self.exit.borrow(), self.log.tail());
        }
    }
}

impl Log {
    fn push(&self, text: String) {
        let mut lines = self.lines.lock().unwrap();
        lines.push(Line::new(text));
        let length = lines.len();
        drop(lines);
        self.length.send_replace(length);
    }

    /// The last lines, for a person to read.
    fn tail(&self) -> String {
        let lines = self.lines.lock().unwrap();
        let first = lines.len().saturating_sub(200);
        lines.iter().skip(first).flat_map(|line| [line.text.as_str(), "\n"]).collect()
    }
}

fn read_lines(mut stderr: impl BufRead, log: &Log) {
    let mut line = Vec::new();
    while stderr.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        log.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}

fn read_bytes(stdout: &mut impl Read, output: &Mutex<Vec<u8>>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stdout.read(&mut bytes) {
        output.lock().unwrap().extend_from_slice(bytes.get(..count).unwrap_or_default());
    }
}
