//! Services and workers of `backends`, as a process with a data folder of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tempfile::TempDir;

use crate::process::Process;

/// Killed on drop.
#[derive(Debug)]
pub struct Workers {
    process: Process,
    addresses: BTreeMap<String, SocketAddr>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    data: TempDir,
}

impl Workers {
    /// Runs these, on free ports where they listen, with these further arguments and variables; ready when they listen.
    pub async fn start(names: &[&str], arguments: &[String], environment: &[(&str, String)]) -> Self {
        let data = TempDir::with_prefix("gatehouse-workers-").unwrap();
        let mut all: Vec<String> = ["backends", "run"].iter().chain(names).map(|&word| word.to_owned()).collect();
        all.extend(arguments.iter().cloned());
        let mut environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        environment.push(("BACKENDS_DATA_DIR".to_owned(), data.path().display().to_string()));
        // Its secrets come when its queues are there.
        let secrets = data.path().join("secrets");
        environment.push(("WEBHOOK_SECRET".to_owned(), format!("file:{}", secrets.display())));
        let process = launch(&all, &environment);
        let addresses = process.wait_listening().await;
        Self { process, addresses, arguments: all, environment, data }
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn address(&self, name: &str) -> SocketAddr {
        *self.addresses.get(name).unwrap_or_else(|| panic!("{name} does not listen: {:?}", self.addresses))
    }

    pub fn url(&self, name: &str, path: &str) -> String {
        format!("http://{}{path}", self.address(name))
    }

    /// The secrets with which pushes are signed.
    pub fn trust(&self, secrets: &[String]) {
        std::fs::write(self.data.path().join("secrets"), secrets.join("\n")).unwrap();
    }

    pub async fn kill(&self) {
        self.process.kill().await;
    }

    /// With the same data and on the same ports, after a kill.
    pub async fn start_again(&mut self) {
        let mut arguments = self.arguments.clone();
        for word in &mut arguments {
            if let Some((name, address)) = word.split_once('=').and_then(|(name, _)| self.addresses.get_key_value(name))
            {
                *word = format!("{name}={address}");
            }
        }
        self.process = launch(&arguments, &self.environment);
        self.process.wait_listening().await;
    }
}

fn launch(arguments: &[String], environment: &[(String, String)]) -> Process {
    let environment: Vec<(&str, String)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    Process::stack("backends", arguments, &environment)
}
