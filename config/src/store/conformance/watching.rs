//! Checks of the watch.

use std::time::{Duration, Instant};

use crate::store::{Result, Store};

use super::{Subject, commit, sample};

/// Far below the poll that covers lost notices, so that a wake-up within it comes from a notice.
const SOON: Duration = Duration::from_secs(2);

pub(super) async fn a_commit_wakes_the_watch_of_another_handle(subject: &dyn Subject) -> Result<()> {
    let (writer, reader) = (subject.open().await, subject.open().await);
    let mut watch = reader.watch().await?;
    // The first answer says that the watch stands.
    watch.changed().await?;
    for name in ["a", "b", "c"] {
        let seen = reader.head().await?.generation;
        let begun = Instant::now();
        let (committed, woken) = tokio::join!(commit_one(&*writer, name), watch.changed());
        committed?;
        woken?;
        // A hint may come early, never too late.
        while reader.head().await?.generation == seen {
            watch.changed().await?;
        }
        assert!(begun.elapsed() < SOON, "woken after {:?}", begun.elapsed());
    }
    Ok(())
}

async fn commit_one(store: &dyn Store, name: &str) -> Result<u64> {
    commit(store, &[sample::route(name)?], &[]).await
}
