//! Whoever follows a task live. Reports that come to this gateway are told at once; for those that come to others, one look in the
//! database finds the changes of all tasks that are followed here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gateway_config::model::{Task, TaskStatus};
use gateway_config::store::Store;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::TaskId;

const LOOK: Duration = Duration::from_millis(500);
/// Tasks that may be followed here at the same time.
const MOST: usize = 20_000;

type Seen = Option<Arc<Task>>;

#[derive(Debug, Default)]
pub(super) struct Followers {
    by_id: Mutex<HashMap<String, watch::Sender<Seen>>>,
}

/// Follows one task until it is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    followers: Arc<Followers>,
    id: String,
    seen: Option<watch::Receiver<Seen>>,
}

impl Followers {
    /// `None`: too many are followed.
    pub(super) fn follow(self: &Arc<Self>, id: &TaskId) -> Option<Follower> {
        let id = id.to_string();
        let mut by_id = self.by_id.lock();
        if by_id.len() >= MOST && !by_id.contains_key(&id) {
            return None;
        }
        let seen = by_id.entry(id.clone()).or_insert_with(|| watch::Sender::new(None)).subscribe();
        Some(Follower { followers: self.clone(), id, seen: Some(seen) })
    }

    /// A task is as far as this now. What is known already is told to nobody.
    pub(super) fn tell(&self, task: &Task) {
        let by_id = self.by_id.lock();
        let Some(told) = by_id.get(&task.id) else { return };
        told.send_if_modified(|seen| {
            let is_news = seen.as_ref().is_none_or(|seen| rank(seen.status) < rank(task.status));
            if is_news {
                *seen = Some(Arc::new(task.clone()));
            }
            is_news
        });
    }

    pub(super) async fn look_forever(self: Arc<Self>, store: Arc<dyn Store>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let ids: Vec<String> = self.by_id.lock().keys().cloned().collect();
            if ids.is_empty() {
                continue;
            }
            // While the database is away nothing can change there.
            for task in store.tasks(&ids).await.unwrap_or_default() {
                self.tell(&task);
            }
        }
    }
}

impl Follower {
    /// What is known; waits for the next news after that with [`Self::changed`].
    pub(super) fn seen(&mut self) -> Seen {
        self.seen.as_mut().and_then(|seen| seen.borrow_and_update().clone())
    }

    pub(super) async fn changed(&mut self) {
        let Some(seen) = &mut self.seen else { return };
        if seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut by_id = self.followers.by_id.lock();
        self.seen = None;
        if by_id.get(&self.id).is_some_and(|told| told.receiver_count() == 0) {
            by_id.remove(&self.id);
        }
    }
}

/// How far it is. Events are numbered by it, for clients that come back.
pub(super) fn rank(status: TaskStatus) -> u8 {
    match status {
        TaskStatus::Queued => 1,
        TaskStatus::Running => 2,
        TaskStatus::Succeeded | TaskStatus::Failed => 3,
    }
}
