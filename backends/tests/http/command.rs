//! The program itself, as a process.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::stage::{client, folder};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backends"));
    command.env_remove("RUST_LOG").env_remove("LOG_FORMAT").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A started process, killed when the test ends early.
struct Process {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// The first line of the log that holds `words`.
    fn line_with(&mut self, words: &str) -> String {
        let mut line = String::new();
        while self.log.read_line(&mut line).unwrap() > 0 {
            if line.contains(words) {
                return line;
            }
            line.clear();
        }
        panic!("the log ended without {words:?}");
    }

    fn stop(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn list_names_each_service_with_its_port() {
    let output = program().arg("list").output().unwrap();
    let listing = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for line in [
        "auth      7200",
        "auth-v2   7210",
        "monolith  7000",
        "pipeline  7202",
        "standby   7290",
        "vault     7206",
        "email     7301",
        "execution 7305",
    ] {
        assert!(listing.lines().any(|listed| listed.starts_with(line)), "{listing}");
    }
}

#[tokio::test]
async fn a_process_answers_where_its_log_says_and_ends_on_either_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = folder();
        let mut command = program();
        command.args(["run", "auth", "standby", "--listen", "auth=127.0.0.1:0", "--listen", "standby=127.0.0.1:0"]);
        command.args(["--log-format", "json"]).arg("--data-dir").arg(folder.path());
        let mut process = Process::start(&mut command);
        let line: Value = serde_json::from_str(&process.line_with("listening")).unwrap();
        let addresses = line["message"].as_str().unwrap().strip_prefix("listening ").unwrap();
        for (part, name) in addresses.split(' ').zip(["auth=", "standby="]) {
            let url = format!("http://{}/livez", part.strip_prefix(name).unwrap());
            assert_eq!(client().get(url).send().await.unwrap().status().as_u16(), 200);
        }
        assert_eq!(process.stop(signal).code(), Some(0));
    }
}

#[test]
fn the_data_folder_comes_from_the_environment_too() {
    let folder = folder();
    let mut command = program();
    command.args(["run", "monolith", "--listen", "monolith=127.0.0.1:0"]).env("BACKENDS_DATA_DIR", folder.path());
    let mut process = Process::start(&mut command);
    process.line_with("listening monolith=127.0.0.1:");
    assert!(folder.path().join("monolith.db").exists());
    assert_eq!(process.stop(Signal::TERM).code(), Some(0));
}

#[test]
fn two_processes_may_open_one_database_at_the_same_time() {
    let folder = folder();
    let start = |name: &str| {
        let mut command = program();
        command.args(["run", name, "--listen", &format!("{name}=127.0.0.1:0"), "--data-dir"]).arg(folder.path());
        Process::start(&mut command)
    };
    let mut processes: Vec<_> = ["auth", "auth-v2", "auth", "auth-v2"].into_iter().map(start).collect();
    for process in &mut processes {
        process.line_with("listening auth");
    }
}

#[test]
fn wrong_arguments_are_refused_with_what_is_wrong() {
    for (arguments, words) in [
        (vec!["run"], "<NAME>"),
        (vec!["run", "authority"], "authority"),
        (vec!["run", "auth", "auth"], "auth is named twice"),
        (vec!["run", "auth", "--listen", "monolith=127.0.0.1:0"], "--listen names monolith, which is not to run"),
        (
            vec!["run", "auth", "--listen", "auth=127.0.0.1:0", "--listen", "auth=127.0.0.1:0"],
            "--listen names auth twice",
        ),
        (vec!["run", "auth", "--listen", "auth=localhost"], "is not an address"),
        (vec!["run", "auth", "--listen", "127.0.0.1:0"], "write NAME=ADDRESS"),
        (vec!["run", "vault", "--gateway-jwks", "here"], "--gateway-jwks"),
        (vec!["run", "ai"], "WEBHOOK_SECRET"),
        (vec!["run", "ai", "--webhook-secret", "secret"], "WEBHOOK_SECRET"),
        (vec!["run", "sms", "--webhook-secret", "whsec_AAAA"], "SMS_URL"),
        (vec!["run", "ai", "--consume", "ai=rabbitmq:texts"], "AMQP_URL"),
        (vec!["run", "ai", "--consume", "email=rabbitmq:mails"], "--consume names email"),
        (vec!["run", "ai", "--consume", "auth=rabbitmq:mails"], "there is no worker"),
        (vec!["run", "ai", "--consume", "ai=carrier-pigeon:texts"], "carrier-pigeon"),
        (vec!["run", "email", "--webhook-secret", "whsec_AAAA", "--smtp-url", "mail:secret"], "SMTP_URL"),
    ] {
        let mut process = Process::start(program().args(&arguments));
        let mut said = String::new();
        process.log.read_to_string(&mut said).unwrap();
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(!process.child.wait().unwrap().success());
    }
}
