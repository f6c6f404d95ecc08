//! Everything on this machine for a first look: the binaries beside this one as its children, a demo configuration, and lines
//! to try. When it ends, they end.

mod children;
mod demo;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::QuickstartSettings;
use children::{Children, Spec};

pub(crate) fn run(settings: &QuickstartSettings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut children = Children::new(&settings.data_dir.join("logs"))?;
        let outcome = tokio::select! {
            outcome = start(settings, &mut children) => outcome,
            () = stop_signal() => Ok(()),
        };
        let outcome = match outcome {
            Ok(()) => tokio::select! {
                name = children.first_to_end() => Err(anyhow::anyhow!("{name} ended; its log says why")),
                () = stop_signal() => Ok(()),
            },
            failed => failed,
        };
        let logs = children.log_dir().display().to_string();
        children.stop().await;
        outcome.with_context(|| format!("the quickstart could not go on; the logs are in {logs}"))
    })
}

async fn start(settings: &QuickstartSettings, children: &mut Children) -> anyhow::Result<()> {
    let data_dir = fs::canonicalize(&settings.data_dir)?;
    let database = format!("sqlite://{}", data_dir.join("gateway.db").display());
    let launcher = settings.launcher.as_deref();
    let token = kept_secret(&data_dir.join("admin-token"), demo::SHORTEST_TOKEN)?;
    let password = kept_secret(&data_dir.join("admin-password"), demo::SHORTEST_PASSWORD)?;
    println!("Gatehouse quickstart: starting the demo backends, the admin API and the gateway …");

    let admin_spec = Spec::program("admin-api", launcher)?
        .args(["serve", "--listen", &settings.admin_listen.to_string(), "--database-url", &database])
        .args(["--data-dir", &data_dir.display().to_string()])
        .env("ADMIN_TOKEN", &token)
        .env("ADMIN_EMAIL", demo::ADMIN)
        .env("ADMIN_PASSWORD", &password);
    let admin = children.start(Ok(admin_spec)).await?;
    let admin = address(&admin, "admin")?;
    demo::wait_ready(&format!("http://{admin}/readyz")).await.context("the admin API did not become ready")?;

    let gateway_spec = Spec::program("gateway", launcher)?
        .args(["serve", "--listen", &settings.listen.to_string(), "--listen-tls", &settings.listen_tls.to_string()])
        .args(["--ops-listen", &settings.ops_listen.to_string(), "--database-url", &database])
        .args(["--data-dir", &data_dir.display().to_string(), "--admin-listen", &admin.to_string()]);
    let gateway = children.start(Ok(gateway_spec)).await?;
    let (traffic, ops) = (address(&gateway, "traffic")?, address(&gateway, "ops")?);

    // After the gateway: one of them asks it for its keys.
    let backends = children.start(backends(settings, &data_dir, traffic)).await?;
    let seeded = demo::seed(admin, &token, &backends).await.context("could not write the demo configuration")?;
    if let Some(secret) = demo::webhook_secret(admin, &token).await.context("could not ask for a secret")? {
        // Where the worker looks for it when it is needed first.
        let file = secret_file(&data_dir);
        if fs::read_to_string(&file).ok().is_none_or(|kept| kept.trim() != secret) {
            let _ = fs::remove_file(&file);
            keep_secret(&file, &secret)?;
        }
    }
    let key =
        demo::key(admin, &token, &data_dir.join("demo-key")).await.context("could not make the demo's API key")?;
    demo::wait_ready(&format!("http://{ops}/readyz")).await.context("the gateway did not become ready")?;

    let vault = address(&backends, "vault")?;
    let (token_file, password_file) = (data_dir.join("admin-token"), data_dir.join("admin-password"));
    let sends_mails = std::env::var("SMTP_URL").is_ok_and(|url| !url.is_empty());
    let outbox = (!sends_mails).then(|| data_dir.join("backends").join("outbox"));
    let places = demo::Places { traffic, admin, ops, vault, token_file, password_file, key, outbox };
    let mut out = std::io::stdout();
    out.write_all(demo::welcome(&places, seeded, children.log_dir()).as_bytes())?;
    out.flush()?;
    Ok(())
}

fn backends(settings: &QuickstartSettings, data_dir: &Path, traffic: SocketAddr) -> anyhow::Result<Spec> {
    let mut spec = Spec::program("backends", settings.launcher.as_deref())?
        .args(["run"])
        .args(demo::BACKENDS.iter().map(|(name, _)| *name))
        .env("BACKENDS_DATA_DIR", data_dir.join("backends"))
        .env("WEBHOOK_SECRET", format!("file:{}", secret_file(data_dir).display()))
        .env("GATEWAY_JWKS_URL", format!("http://{}/.well-known/gateway/jwks.json", reachable(traffic)));
    if settings.free_ports {
        for (name, _) in demo::BACKENDS {
            spec = spec.args(["--listen", &format!("{name}=127.0.0.1:0")]);
        }
    }
    Ok(spec)
}

fn secret_file(data_dir: &Path) -> PathBuf {
    data_dir.join("mails-webhook-secret")
}

fn address(listening: &[(String, SocketAddr)], name: &str) -> anyhow::Result<SocketAddr> {
    let found = listening.iter().find(|(it, _)| it == name).map(|(_, address)| *address);
    found.with_context(|| format!("it did not say where it listens for {name}"))
}

/// That of an earlier start, or a new one that only this user can read.
fn kept_secret(path: &Path, shortest: usize) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Ok(secret) if secret.trim().len() >= shortest => return Ok(secret.trim().to_owned()),
        Ok(_) => bail!("{} holds less than {shortest} characters; delete it", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
    }
    let secret: String = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
    keep_secret(path, &secret)?;
    Ok(secret)
}

/// Where only this user can read it.
fn keep_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}").with_context(|| format!("could not write {}", path.display()))
}

/// Whoever listens on all addresses is reached on this one.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())) } else { address }
}

async fn stop_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
