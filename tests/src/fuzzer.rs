//! schemathesis, in the virtual environment that `scripts/prerequisites` makes in `tests/fuzz`: it reads a description of an API and
//! asks the API all that the description allows, and much that it forbids.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Exit, Process};

/// For one run.
const DEADLINE: Duration = Duration::from_hours(2);

/// A run of the fuzzer.
#[derive(Debug)]
pub struct Fuzzer {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: TempDir,
}

impl Fuzzer {
    /// Against the API that listens there.
    pub fn new(address: SocketAddr) -> Self {
        let folder = TempDir::with_prefix("gatehouse-fuzz-").expect("a temporary folder can be made");
        std::fs::copy(home().join(SETTINGS), folder.path().join(SETTINGS))
            .expect("the fuzzer's settings can be copied");
        let arguments = vec!["run".to_owned(), format!("http://{address}/openapi.json")];
        Self { arguments, environment: Vec::new(), folder }
    }

    /// Names that stand in the API, as one of the lists that the settings know.
    pub fn list(self, name: &str, values: &[String]) -> Self {
        let lines: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
        std::fs::write(self.folder.path().join(format!("{name}.dict")), lines.join("\n"))
            .expect("a temporary file can be written");
        self
    }

    /// What the settings ask the environment for.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn argument(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Runs it to its end; panics with its report when it found something.
    pub async fn run(self) {
        let mut command = program("schemathesis");
        command.arg("--config-file").arg(self.folder.path().join(SETTINGS)).args(&self.arguments);
        command.envs(self.environment.clone()).current_dir(self.folder.path());
        let process = Process::start("the fuzzer", command);
        let exit = process.wait_exit_within(DEADLINE).await;
        assert_eq!(exit, Exit::Code(0), "the fuzzer found something:\n{}", process.output());
    }
}

const SETTINGS: &str = "schemathesis.toml";

/// A Python program of the virtual environment.
pub fn program(name: &str) -> Command {
    let program = home().join("venv/bin").join(name);
    assert!(program.exists(), "{name} is not installed: run scripts/prerequisites test");
    let mut command = Command::new(program);
    command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env("NO_COLOR", "1").env("COLUMNS", "200");
    command
}

/// The folder of everything about fuzzing that is no Rust.
fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}
