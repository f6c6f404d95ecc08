//! Messages that are claimed ahead of their push and settled together: how many are pushed at the same time, and what becomes of them
//! when a gateway drains.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use super::*;

const CONCURRENCY: u32 = 3;

/// Answers 204 over connections that are kept, as long as its gate is open.
struct Crowd {
    url: String,
    seen: Arc<Seen>,
    gate: watch::Sender<bool>,
}

#[derive(Default)]
struct Seen {
    ids: Mutex<Vec<String>>,
    connections: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Crowd {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/work", listener.local_addr().unwrap());
        let (seen, gate) = (Arc::<Seen>::default(), watch::Sender::new(true));
        let (of_all, open) = (seen.clone(), gate.subscribe());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                of_all.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(converse(stream, of_all.clone(), open.clone()));
            }
        });
        Self { url, seen, gate }
    }

    fn count(&self) -> usize {
        self.seen.ids.lock().len()
    }

    fn at_once(&self) -> usize {
        self.seen.at_once.load(Ordering::SeqCst)
    }

    /// In the order of their names.
    fn ids(&self) -> Vec<String> {
        let mut ids = self.seen.ids.lock().clone();
        ids.sort_unstable();
        ids
    }
}

async fn converse(mut stream: TcpStream, seen: Arc<Seen>, mut open: watch::Receiver<bool>) {
    let mut bytes = Vec::new();
    loop {
        while !is_whole(&bytes) {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        bytes.clear();
        let at_once = seen.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let id = text.lines().find_map(|line| line.strip_prefix("webhook-id: ")).unwrap_or_default();
        seen.ids.lock().push(id.trim().to_owned());
        // Others get their turn while this one is under way.
        tokio::task::yield_now().await;
        let is_open = open.wait_for(|open| *open).await.is_ok();
        seen.at_once.fetch_sub(1, Ordering::SeqCst);
        if !is_open || stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
            return;
        }
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

async fn eventually(what: &str, done: impl AsyncFn() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect(what);
}

impl Bench {
    async fn crowded(crowd: &Crowd) -> Self {
        Self::new(&crowd.url, |queue| queue.concurrency = CONCURRENCY).await
    }

    /// How many are claimed now.
    async fn claimed(&self) -> u64 {
        self.store.queue_depth("q", self.clock.now()).await.unwrap().claimed
    }

    /// Keeps the queue full until more is claimed than may be pushed. Answers the ids.
    async fn until_claimed_ahead(&self) -> Vec<String> {
        let mut ids = Vec::new();
        let filling = async {
            while self.claimed().await <= u64::from(CONCURRENCY) {
                let room = usize::try_from(1000_u64.saturating_sub(self.depth().await.0)).unwrap();
                ids.extend(self.publish_many(room).await);
            }
        };
        tokio::time::timeout(PATIENCE, filling).await.expect("messages are claimed ahead");
        ids
    }
}

#[tokio::test]
async fn two_gateways_that_claim_ahead_push_no_more_at_once_than_the_queue_says_and_keep_their_connections() {
    let crowd = Crowd::start().await;
    let bench = Bench::crowded(&crowd).await;
    let (one, other) = (bench.deliver(PATIENCE), bench.deliver(PATIENCE));
    let mut ids = bench.until_claimed_ahead().await;
    ids.extend(bench.publish_many(500).await);
    // They come to share: the second one asks again for its part, and the first one gives it up.
    eventually("everything is delivered and settled", async || {
        bench.accepted.notify_one();
        bench.depth().await == (0, 0, 0)
    })
    .await;
    ids.sort_unstable();
    assert_eq!(crowd.ids(), ids, "each came, and once");
    assert_eq!(crowd.seen.most_at_once.load(Ordering::SeqCst), usize::try_from(CONCURRENCY).unwrap());
    let connections = crowd.seen.connections.load(Ordering::SeqCst);
    assert!(connections * 20 < ids.len(), "{connections} connections for {} messages", ids.len());
    one.drain().await;
    other.drain().await;
}

#[tokio::test]
async fn a_gateway_that_drains_gives_back_what_it_has_not_begun_and_ends_what_it_has() {
    let crowd = Crowd::start().await;
    let bench = Bench::crowded(&crowd).await;
    let first = bench.deliver(PATIENCE);
    let mut ids = bench.until_claimed_ahead().await;
    crowd.gate.send_replace(false);
    ids.extend(bench.publish_many(100).await);
    let begun = u64::from(CONCURRENCY);
    eventually("as many are under way as may be", async || crowd.at_once() == 3 && bench.claimed().await > begun).await;
    let pushed = crowd.count();
    first.drain.cancel();
    eventually("the rest is given back", async || bench.claimed().await == begun).await;
    assert_eq!((crowd.at_once(), crowd.count()), (3, pushed), "nothing was begun, nothing broken off");
    crowd.gate.send_replace(true);
    first.drain().await;
    assert_eq!(bench.claimed().await, 0);

    let second = bench.deliver(PATIENCE);
    bench.until("the rest is delivered", |depth| depth == (0, 0, 0)).await;
    ids.sort_unstable();
    assert_eq!(crowd.ids(), ids, "each came, and once");
    second.drain().await;
}
