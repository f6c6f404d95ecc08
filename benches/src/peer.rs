//! The proxies that are held side by side, each with one worker, in front of the same origin.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::policy::Credential;
use crate::process::{Process, beside, free_address};
use crate::stack::Stack;
use crate::tokens::Signing;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PeerName {
    Bare,
    /// Bare Pingora with the requests of `gateway-hs256`: what they cost who does not look at their tokens
    BareTokens,
    Nginx,
    /// Its route asks for nothing
    Gateway,
    /// A key that was verified before
    GatewayKey,
    /// A token that was verified before
    GatewayJwt,
    /// Another token each time, signed with HS256
    GatewayHs256,
    GatewayRs256,
    GatewayEs256,
}

impl PeerName {
    /// What its requests carry, where they must carry something.
    #[must_use]
    pub fn credential(self) -> Option<Credential> {
        match self {
            Self::Bare | Self::BareTokens | Self::Nginx | Self::Gateway => None,
            Self::GatewayKey => Some(Credential::Key),
            Self::GatewayJwt => Some(Credential::Jwt),
            Self::GatewayHs256 => Some(Credential::Fresh(Signing::Hs256)),
            Self::GatewayRs256 => Some(Credential::Fresh(Signing::Rs256)),
            Self::GatewayEs256 => Some(Credential::Fresh(Signing::Es256)),
        }
    }

    /// What it may cost of bare Pingora's CPU, where that is promised.
    #[must_use]
    pub fn limit(self) -> Option<f64> {
        match self {
            Self::Gateway => Some(1.05),
            Self::GatewayKey | Self::GatewayJwt => Some(1.10),
            Self::GatewayHs256 => Some(1.15),
            Self::Bare | Self::BareTokens | Self::Nginx | Self::GatewayRs256 | Self::GatewayEs256 => None,
        }
    }
}

#[derive(Debug)]
pub struct Peer {
    pub name: String,
    pub address: SocketAddr,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Alone(Process, #[expect(dead_code, reason = "the folder goes when the peer does")] TempDir),
    Gatehouse(Box<Stack>),
}

impl Peer {
    /// A peer that lets everybody in. `None` with a line that says why, when it is not installed.
    pub fn start(name: PeerName, origin: SocketAddr) -> anyhow::Result<Option<Self>> {
        let label = format!("{name:?}").to_lowercase();
        if name == PeerName::Gateway {
            let stack = Stack::start(None, origin, 0, 0)?;
            stack.serve_everything_from(origin)?;
            return Ok(Some(Self::of_stack(label, stack)));
        }
        let (address, folder) = (free_address()?, tempfile::tempdir()?);
        let command = match name {
            PeerName::Nginx => match nginx(address, origin, folder.path())? {
                Some(command) => command,
                None => return Ok(None),
            },
            _ => {
                let mut command = Command::new(beside("bare")?);
                command.args(["--listen", &address.to_string(), "--upstream", &origin.to_string(), "--threads", "1"]);
                command
            }
        };
        let mut process = Process::start(&label, command, folder.path())?;
        process.wait_accepting(address)?;
        Ok(Some(Self { name: label, address, running: Running::Alone(process, folder) }))
    }

    #[must_use]
    pub fn of_stack(name: String, stack: Stack) -> Self {
        Self { name, address: stack.traffic, running: Running::Gatehouse(Box::new(stack)) }
    }

    #[must_use]
    pub fn process(&self) -> &Process {
        match &self.running {
            Running::Alone(process, _) => process,
            Running::Gatehouse(stack) => &stack.gateway,
        }
    }
}

/// One process, one worker, no access log, connections to the origin kept open.
fn nginx(address: SocketAddr, origin: SocketAddr, folder: &Path) -> anyhow::Result<Option<Command>> {
    if Command::new("nginx").arg("-v").output().is_err() {
        println!("nginx is not installed and left out: apt-get install nginx");
        return Ok(None);
    }
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {folder}/{kind};\n"))
        .concat();
    let configuration = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 100000000;\n{temporary}\
         \x20 upstream origin {{ server {origin}; keepalive 128; keepalive_requests 100000000; }}\n\
         \x20 server {{\n    listen {address};\n    location / {{\n      proxy_pass http://origin;\n\
         \x20     proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      proxy_set_header Host $host;\n\
         \x20   }}\n  }}\n}}\n"
    );
    let path = format!("{folder}/nginx.conf");
    std::fs::write(&path, configuration)?;
    let mut command = Command::new("nginx");
    command.args(["-c", &path, "-e", &format!("{folder}/error.log")]);
    Ok(Some(command))
}
