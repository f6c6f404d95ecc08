//! The newest messages of a topic, for any number of readers. Old ones make room for new ones, whoever has not read them yet: what is
//! kept is bounded by number and by size, and a reader that is too slow hears how many it missed.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::message::Shown;

/// How far a reader may be behind.
const MOST: usize = 1024;
/// Of messages as they are shown. Taken apart, so that filters can look into them, they are some times as large.
const MOST_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Ring {
    kept: Mutex<Kept>,
    /// The number of the last entry.
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the first that is kept.
    first: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Clone, Debug)]
enum Entry {
    Shown(Arc<Shown>),
    /// Here something may be missing that the broker did not keep.
    Gap,
}

/// What a reader finds next.
#[derive(Clone, Debug)]
pub(super) enum Read {
    Shown(Arc<Shown>),
    /// So many made room for others; `None`: nobody knows how many, if any.
    Missed(Option<u64>),
}

#[derive(Debug)]
pub(super) struct Reader {
    ring: Arc<Ring>,
    next: u64,
    last: watch::Receiver<u64>,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self { kept: Mutex::default(), last: watch::Sender::new(0) }
    }

    pub(super) fn show(&self, shown: Shown) {
        self.add(Entry::Shown(Arc::new(shown)));
    }

    pub(super) fn gap(&self) {
        self.add(Entry::Gap);
    }

    fn add(&self, entry: Entry) {
        let end = {
            let mut kept = self.kept.lock();
            kept.bytes += entry.bytes();
            kept.entries.push_back(entry);
            // The newest is kept however large it is.
            while kept.entries.len() > MOST || (kept.bytes > MOST_BYTES && kept.entries.len() > 1) {
                let bytes = kept.entries.pop_front().map_or(0, |entry| entry.bytes());
                kept.bytes -= bytes;
                kept.first += 1;
            }
            kept.end()
        };
        self.last.send_replace(end);
    }

    /// Reads what comes from now on.
    pub(super) fn reader(self: &Arc<Self>) -> Reader {
        let last = self.last.subscribe();
        let next = self.kept.lock().end();
        Reader { ring: self.clone(), next, last }
    }
}

impl Kept {
    /// Behind the last.
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Shown(shown) => shown.text.len(),
            Self::Gap => 0,
        }
    }
}

impl Reader {
    /// May be dropped and called again.
    pub(super) async fn next(&mut self) -> Read {
        loop {
            // Before it looks, or what comes in between would wake nobody.
            self.last.borrow_and_update();
            if let Some(read) = self.read() {
                // On a busy topic there is always a next one: others on the thread have their turns.
                tokio::task::consume_budget().await;
                return read;
            }
            if self.last.changed().await.is_err() {
                // It lives as long as this reader holds it.
                std::future::pending::<()>().await;
            }
        }
    }

    fn read(&mut self) -> Option<Read> {
        let kept = self.ring.kept.lock();
        if let Some(missed @ 1..) = kept.first.checked_sub(self.next) {
            self.next = kept.first;
            return Some(Read::Missed(Some(missed)));
        }
        let at = usize::try_from(self.next - kept.first).ok()?;
        let entry = kept.entries.get(at)?.clone();
        self.next += 1;
        Some(match entry {
            Entry::Shown(shown) => Read::Shown(shown),
            Entry::Gap => Read::Missed(None),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(number: usize, bytes: usize) -> Shown {
        Shown::of(format!("{{\"n\": {number}, \"text\": \"{}\"}}", "x".repeat(bytes)).as_bytes()).unwrap()
    }

    async fn number(reader: &mut Reader) -> u64 {
        match reader.next().await {
            Read::Shown(shown) => shown.data()["n"].as_u64().unwrap(),
            Read::Missed(missed) => panic!("{missed:?} missed"),
        }
    }

    #[tokio::test]
    async fn everybody_reads_what_comes_from_their_beginning_on_in_order() {
        let ring = Arc::new(Ring::new());
        ring.show(shown(0, 0));
        let mut early = ring.reader();
        ring.show(shown(1, 0));
        let mut late = ring.reader();
        ring.show(shown(2, 0));
        assert_eq!((number(&mut early).await, number(&mut early).await), (1, 2));
        assert_eq!(number(&mut late).await, 2);
        let waiting = tokio::spawn(async move { number(&mut late).await });
        tokio::task::yield_now().await;
        ring.show(shown(3, 0));
        assert_eq!(waiting.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn who_is_too_slow_hears_how_many_it_missed_and_goes_on_with_the_oldest_kept() {
        let ring = Arc::new(Ring::new());
        let mut reader = ring.reader();
        for n in 0..MOST + 10 {
            ring.show(shown(n, 0));
        }
        assert!(matches!(reader.next().await, Read::Missed(Some(10))));
        assert_eq!(number(&mut reader).await, 10);
    }

    #[tokio::test]
    async fn large_messages_are_bounded_by_their_size_and_the_newest_is_there() {
        let ring = Arc::new(Ring::new());
        let mut reader = ring.reader();
        for n in 0..9 {
            ring.show(shown(n, MOST_BYTES / 4));
        }
        assert!(ring.kept.lock().bytes <= MOST_BYTES);
        assert!(matches!(reader.next().await, Read::Missed(Some(6))));
        assert_eq!(number(&mut reader).await, 6);
        ring.show(shown(9, MOST_BYTES * 2));
        assert!(matches!(reader.next().await, Read::Missed(Some(2))));
        assert_eq!(number(&mut reader).await, 9);
    }

    #[tokio::test]
    async fn a_gap_is_read_in_its_place() {
        let ring = Arc::new(Ring::new());
        let mut reader = ring.reader();
        ring.gap();
        ring.show(shown(1, 0));
        assert!(matches!(reader.next().await, Read::Missed(None)));
        assert_eq!(number(&mut reader).await, 1);
    }
}
