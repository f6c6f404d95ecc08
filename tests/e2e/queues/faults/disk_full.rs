//! A spool that is full: by its setting, or because the disk is.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::network::{Network, Weather};
use e2e::stack::Gateway;
use e2e::{Stack, proof};

use super::{Place, crowd, spool_is_empty, unique};

/// Fills the spool until clients are refused, and empties it; again and again.
async fn nothing_that_was_accepted_is_lost(place: &Place, stack: &Stack, network: &Network, full: impl Fn()) {
    let (orders, rounds) = (proof::count(600, 10_000), proof::count(2, 10));
    let crowd = crowd(stack, orders).padding(20_000).start();
    for round in 1..=rounds {
        crowd.wait_taken(orders * round / (rounds + 1)).await;
        network.turn(Weather::Down);
        // So many fit in each time.
        crowd.wait_taken(crowd.taken() + 20).await;
        // Each of them a clear 503: the crowd looks at it.
        crowd.wait_refused(crowd.refused() + 50).await;
        full();
        network.turn(Weather::Fair);
        spool_is_empty(stack).await;
    }
    let told = crowd.over().await;
    spool_is_empty(stack).await;
    let tally = told.check(&place.received(&told.ids()).await);
    assert_eq!(tally.accepted, orders);
}

#[tokio::test]
async fn a_spool_that_holds_as_much_as_it_may_refuses_clearly_and_loses_nothing() {
    let place = Place::redis();
    let (network, url) = Network::before(&place.url()).await;
    let stack = place.ordering(Stack::builder().setting("GATEWAY_SPOOL_MAX_MIB", "1"), &url, "spool").await;
    nothing_that_was_accepted_is_lost(&place, &stack, &network, || {}).await;
}

/// A small disk of its own for the spool, where tests may mount one.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut command = Command::new("mount");
        let mounted = command.args(["-t", "tmpfs", "-o", "size=1m", "gatehouse-test"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            other => {
                eprintln!("SKIPPED: no disk could be mounted: {other:?}");
                None
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the gateway may still have files on it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn spool_of(gateway: &Gateway) -> PathBuf {
    gateway.data().join("spool")
}

#[tokio::test]
async fn a_full_disk_refuses_clearly_and_loses_nothing() {
    let place = Place::redis();
    let (network, url) = Network::before(&place.url()).await;
    let mut stack = place.ordering(Stack::builder(), &url, "spool").await;
    stack.gateway(0).terminate().await;
    std::fs::remove_dir_all(spool_of(stack.gateway(0))).unwrap();
    let Some(_disk) = Disk::mount(&spool_of(stack.gateway(0))) else { return };
    stack.gateway_mut(0).start_again().await;
    stack.gateway(0).wait_ready().await;
    let fill = || {
        // The last bytes, in which no order had room.
        let rest = std::fs::write(spool_of(stack.gateway(0)).join(unique()), vec![0; 1 << 20]);
        assert!(rest.is_err(), "the disk is full");
    };
    nothing_that_was_accepted_is_lost(&place, &stack, &network, fill).await;
}

/// It may have died in the middle of a message.
#[tokio::test]
async fn a_gateway_killed_on_a_full_disk_starts_again_and_publishes_what_it_had_accepted() {
    let place = Place::redis();
    let (network, url) = Network::before(&place.url()).await;
    let mut stack = place.ordering(Stack::builder(), &url, "spool").await;
    stack.gateway(0).terminate().await;
    std::fs::remove_dir_all(spool_of(stack.gateway(0))).unwrap();
    let Some(_disk) = Disk::mount(&spool_of(stack.gateway(0))) else { return };
    network.turn(Weather::Down);
    stack.gateway_mut(0).start_again().await;
    stack.gateway(0).wait_ready().await;
    let crowd = crowd(&stack, 600).padding(20_000).may_break().start();
    crowd.wait_refused(50).await;
    stack.gateway(0).process().kill().await;
    tear(&spool_of(stack.gateway(0)));
    stack.gateway_mut(0).start_again().await;
    crowd.wait_refused(crowd.refused() + 50).await;
    network.turn(Weather::Fair);
    let told = crowd.over().await;
    spool_is_empty(&stack).await;
    let tally = told.check(&place.received(&told.ids()).await);
    assert_eq!(tally.accepted, 600);
}

/// Leaves a torn message at the end of the spool, and not a byte of the disk.
fn tear(spool: &Path) {
    let folders =
        |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let queues = folders(&folders(spool).into_iter().find(|node| node.is_dir()).expect("a node spools"));
    let queue = queues.into_iter().find(|queue| queue.is_dir()).expect("a queue is spooled");
    let mut logs = folders(&queue);
    logs.retain(|log| {
        log.extension().is_some_and(|extension| extension == "log") && log.metadata().unwrap().len() > 3000
    });
    logs.sort();
    let last = logs.last().expect("messages are spooled");
    let begin = std::fs::read(last).unwrap();
    // As much of a message as there is room for; it is longer than this.
    let mut torn = std::fs::OpenOptions::new().append(true).open(last).unwrap();
    let _ = torn.write_all(&begin[..begin.len().min(3000)]);
    let rest = std::fs::write(queue.join(unique()), vec![0; 1 << 20]);
    assert!(rest.is_err(), "the disk is full");
}
