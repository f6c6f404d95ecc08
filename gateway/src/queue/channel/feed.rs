//! Feeds: one consumer of a topic in this gateway, however many clients listen. It begins with the first of them and ends with the last.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use gateway_config::snapshot::CompiledQueue;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::message::Shown;
use super::ring::{Reader, Ring};
use crate::queue::Queues;
use crate::queue::broker::Source;

/// For one attempt to follow.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(in crate::queue) struct Feeds(Mutex<HashMap<String, Weak<Feed>>>);

/// Runs as long as somebody holds it.
#[derive(Debug)]
pub(super) struct Feed {
    ring: Arc<Ring>,
    state: watch::Receiver<State>,
    consumer: AbortHandle,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The first attempt is under way.
    Opening,
    Following,
    Away(String),
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.consumer.abort();
    }
}

impl Feed {
    /// Reads everything that comes to the topic from now on, which is seen here; otherwise why that is not so.
    pub(super) async fn listen(&self, patience: Duration) -> Result<Reader, String> {
        let mut state = self.state.clone();
        let _ = timeout(patience, state.wait_for(|state| *state == State::Following)).await;
        match &*self.state.borrow() {
            State::Following => Ok(self.ring.reader()),
            State::Opening => Err("still connecting".to_owned()),
            State::Away(why) => Err(why.clone()),
        }
    }
}

impl Feeds {
    /// What feeds the channels of a queue.
    pub(super) fn of(&self, queues: &Arc<Queues>, queue: &Arc<CompiledQueue>, control: &Handle) -> Arc<Feed> {
        let key = key(queue);
        let mut feeds = self.0.lock();
        if let Some(feed) = feeds.get(&key).and_then(Weak::upgrade) {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let (ring, (told, state)) = (Arc::new(Ring::new()), watch::channel(State::Opening));
        let consuming = Consuming { queues: queues.clone(), queue: queue.clone(), ring: ring.clone(), state: told };
        let consumer = control.spawn(consuming.run()).abort_handle();
        let feed = Arc::new(Feed { ring, state, consumer });
        feeds.insert(key, Arc::downgrade(&feed));
        feed
    }
}

/// What makes it another topic.
fn key(queue: &CompiledQueue) -> String {
    let source = &queue.source;
    let destination = serde_json::to_string(&source.destination).unwrap_or_default();
    format!("{:?} {} {destination}", source.broker, source.connection.as_deref().unwrap_or_default())
}

struct Consuming {
    queues: Arc<Queues>,
    queue: Arc<CompiledQueue>,
    ring: Arc<Ring>,
    state: watch::Sender<State>,
}

impl Consuming {
    async fn run(self) {
        let (mut pause, mut has_followed) = (SHORTEST_PAUSE, false);
        loop {
            let why = match timeout(FOLLOW_PATIENCE, self.queues.follow(&self.queue)).await {
                Ok(Ok(mut source)) => {
                    if has_followed {
                        // Sources that keep their place don't end when the broker goes away for a while.
                        self.ring.gap();
                    }
                    (pause, has_followed) = (SHORTEST_PAUSE, true);
                    self.state.send_replace(State::Following);
                    self.pass_on(&mut *source).await
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            self.is_away(why);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Until it breaks; answers why.
    async fn pass_on(&self, source: &mut dyn Source) -> String {
        loop {
            match source.next().await {
                Ok(message) => {
                    if let Some(shown) = Shown::of(&message) {
                        self.ring.show(shown);
                    }
                }
                Err(why) => return why,
            }
        }
    }

    fn is_away(&self, why: String) {
        let now = State::Away(why);
        let before = self.state.send_replace(now.clone());
        // What lasts is told once.
        if let State::Away(why) = &now
            && before != now
        {
            let name = self.queue.name();
            tracing::warn!(queue = name, why, "the channels of queue {name} have no messages for now");
        }
    }
}
