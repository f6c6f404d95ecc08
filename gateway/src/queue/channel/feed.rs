//! Feeds: one consumer of a topic in this gateway, however many clients listen. It begins with the first of them and ends with the last.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use gateway_config::snapshot::CompiledQueue;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

use super::message::Shown;
use crate::queue::Queues;
use crate::queue::broker::Source;

/// Messages that a slow client may be behind.
const BEHIND: usize = 1024;
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(in crate::queue) struct Feeds(Mutex<HashMap<String, Weak<Feed>>>);

/// Runs as long as somebody holds it.
#[derive(Debug)]
pub(super) struct Feed {
    messages: broadcast::Sender<Arc<Shown>>,
    consumer: AbortHandle,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.consumer.abort();
    }
}

impl Feeds {
    /// Listens to a queue's topic from now on.
    pub(super) fn listen(
        &self,
        queues: &Arc<Queues>,
        queue: &Arc<CompiledQueue>,
        control: &Handle,
    ) -> (Arc<Feed>, broadcast::Receiver<Arc<Shown>>) {
        let key = key(queue);
        let mut feeds = self.0.lock();
        if let Some(feed) = feeds.get(&key).and_then(Weak::upgrade) {
            let messages = feed.messages.subscribe();
            return (feed, messages);
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let (sender, messages) = broadcast::channel(BEHIND);
        let consuming = consume(queues.clone(), queue.clone(), sender.clone());
        let consumer = control.spawn(consuming).abort_handle();
        let feed = Arc::new(Feed { messages: sender, consumer });
        feeds.insert(key, Arc::downgrade(&feed));
        (feed, messages)
    }
}

/// What makes it another topic.
fn key(queue: &CompiledQueue) -> String {
    let source = &queue.source;
    let destination = serde_json::to_string(&source.destination).unwrap_or_default();
    format!("{:?} {} {destination}", source.broker, source.connection.as_deref().unwrap_or_default())
}

async fn consume(queues: Arc<Queues>, queue: Arc<CompiledQueue>, messages: broadcast::Sender<Arc<Shown>>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match queues.follow(&queue).await {
            Ok(mut source) => {
                pause = SHORTEST_PAUSE;
                let why = drain(&mut *source, &messages).await;
                tracing::info!(
                    queue = queue.name(),
                    why,
                    "the feed of queue {} was cut; following it again",
                    queue.name()
                );
            }
            Err(error) => tracing::warn!(queue = queue.name(), %error, "could not follow queue {}", queue.name()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Until it breaks; answers why.
async fn drain(source: &mut dyn Source, messages: &broadcast::Sender<Arc<Shown>>) -> String {
    loop {
        match source.next().await {
            Ok(message) => {
                if let Some(shown) = Shown::of(&message) {
                    // Nobody may be listening at this moment.
                    let _ = messages.send(Arc::new(shown));
                }
            }
            Err(why) => return why,
        }
    }
}
