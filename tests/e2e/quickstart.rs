//! The quickstart: what it prints works, line by line, and it ends with everything that it started.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use e2e::process::stack_binary;
use e2e::{Exit, Process, Signal, eventually};
use tempfile::TempDir;

struct Quickstart {
    process: Process,
    data: TempDir,
}

impl Quickstart {
    async fn start() -> Self {
        let data = TempDir::with_prefix("gatehouse-quickstart-").unwrap();
        let started = Self { process: launch(&data), data };
        started.wait_up().await;
        started
    }

    async fn wait_up(&self) {
        eventually("the quickstart to be up", async || {
            assert!(self.process.is_running(), "it ended: {:?}", self.process.lines());
            if self.process.output().contains("Stop with") { Ok(()) } else { Err(self.process.output()) }
        })
        .await;
    }

    /// Runs the printed command below the comment that begins like this; the `nth` of several.
    async fn try_line(&self, comment: &str, nth: usize) -> String {
        let output = self.process.output();
        let behind =
            output.split(&format!("# {comment}")).nth(1).unwrap_or_else(|| panic!("no {comment:?} in {output}"));
        let commands: Vec<_> = behind.lines().skip(1).take_while(|line| !line.is_empty()).collect();
        let command = commands.get(nth).unwrap_or_else(|| panic!("no command {nth} below {comment:?}: {commands:?}"));
        let mut shell = Command::new("sh");
        shell.args(["-c", command]);
        let tried = Process::start("curl", shell);
        assert_eq!(tried.wait_exit().await, Exit::Code(0), "{command}: {:?}", tried.lines());
        tried.output()
    }
}

fn launch(data: &TempDir) -> Process {
    let any = "127.0.0.1:0";
    let mut arguments = vec!["gateway".to_owned(), "quickstart".to_owned(), "--free-ports".to_owned()];
    for flag in ["--listen", "--listen-tls", "--ops-listen", "--admin-listen"] {
        arguments.extend([flag.to_owned(), any.to_owned()]);
    }
    arguments.extend(["--data-dir".to_owned(), data.path().display().to_string()]);
    arguments.extend(["--launcher".to_owned(), stack_binary().display().to_string()]);
    Process::stack("quickstart", &arguments, &[])
}

#[tokio::test]
async fn every_line_that_the_quickstart_prints_shows_what_it_says() {
    let demo = Quickstart::start().await;
    let orders = demo.try_line("routing", 0).await;
    assert!(orders.starts_with('{') || orders.starts_with('['), "{orders}");
    let rewritten = demo.try_line("rewriting", 0).await;
    assert!(rewritten.contains("\"version\":\"v"), "{rewritten}");
    let canary = demo.try_line("a canary", 0).await;
    assert!(canary.contains("\"version\":\"v1\""), "{canary}");
    let fallback = demo.try_line("a fallback", 0).await;
    assert!(fallback.starts_with('{') && !fallback.contains("statusCode"), "{fallback}");
    let seen = demo.try_line("what a backend learns", 0).await;
    assert!(seen.to_lowercase().contains("x-forwarded-for") && !seen.contains("forged"), "{seen}");
    let changed = demo.try_line("a change going live", 0).await;
    assert!(changed.contains(" 200") && changed.to_lowercase().contains("x-config-applied: 1/1"), "{changed}");
    for _ in 0..10 {
        let after = demo.try_line("a change going live", 1).await;
        assert!(after.contains("\"version\":\"v2\""), "{after}");
    }
    let session = demo.try_line("logging in", 0).await;
    assert!(session.contains("\"accessToken\":\"gaa_"), "{session}");
    let mode = std::fs::metadata(demo.data.path().join("admin-password")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let why = demo.try_line("why does a request", 0).await;
    assert!(why.contains("\"outcome\":\"forward\"") && why.contains("\"trail\""), "{why}");
    let denied = demo.try_line("deny by default", 0).await;
    assert!(denied.contains(" 401 ") && denied.contains("credentials_missing"), "{denied}");
    let known = demo.try_line("with the demo's API key", 0).await;
    assert!(known.contains(" 200 ") && known.contains("\"application\":\"demo\""), "{known}");
    assert!(known.to_lowercase().contains("x-ratelimit-remaining: 29"), "{known}");
    let around = demo.try_line("around the gateway", 0).await;
    assert!(!around.contains("\"application\":\"demo\""), "{around}");
    let me = demo.try_line("what may this key do", 0).await;
    assert!(me.contains("\"application\":\"demo\"") && me.contains("\"remaining\""), "{me}");
    let followed = demo.try_line("a queue", 0).await;
    assert!(followed.contains("\"status\":\"succeeded\"") && followed.contains("writtenTo"), "{followed}");
    let outbox: Vec<_> = std::fs::read_dir(demo.data.path().join("backends/outbox")).unwrap().collect();
    let [Ok(mail)] = outbox.as_slice() else { panic!("one mail is in {outbox:?}") };
    let mail = std::fs::read_to_string(mail.path()).unwrap();
    assert!(mail.contains("To: ann@example.com") && mail.contains("Through a queue"), "{mail}");
    // In order, or its children would outlive it.
    demo.process.signal(Signal::TERM);
    assert_eq!(demo.process.wait_exit().await, Exit::Code(0));
}

#[tokio::test]
async fn the_quickstart_ends_with_its_children_and_keeps_what_was_changed() {
    let mut demo = Quickstart::start().await;
    demo.try_line("a change going live", 0).await;
    let children = children_of(demo.process.pid());
    assert_eq!(children.len(), 3, "backends, admin API, gateway");
    demo.process.signal(Signal::INT);
    assert_eq!(demo.process.wait_exit().await, Exit::Code(0));
    for child in children {
        assert!(!std::path::Path::new(&format!("/proc/{child}")).exists(), "{child} outlived the quickstart");
    }
    let place = demo.data;
    demo = Quickstart { process: launch(&place), data: place };
    demo.wait_up().await;
    assert!(demo.process.output().contains("the configuration of an earlier start"), "{}", demo.process.output());
    let session = demo.try_line("logging in", 0).await;
    assert!(session.contains("\"accessToken\":\"gaa_"), "the password of the first start is still good: {session}");
    demo.process.signal(Signal::TERM);
    assert_eq!(demo.process.wait_exit().await, Exit::Code(0));
}

fn children_of(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(path).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}
