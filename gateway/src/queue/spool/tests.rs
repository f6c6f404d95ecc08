use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use async_trait::async_trait;
use gateway_config::clock::new_id;
use gateway_config::master_key::MasterKey;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::log::Log;
use super::*;
use crate::queue::task::TaskKeys;

fn keys() -> TaskKeys {
    TaskKeys::of(&MasterKey::of("a text of more than 32 characters, I think").unwrap())
}

fn record(queue: Id<Queue>, text: &str) -> Record {
    let id = keys().fresh(Id::new(new_id()), queue);
    Record { id, key: text.len().is_multiple_of(2).then(|| text.to_owned()), event: Bytes::from(text.to_owned()) }
}

fn framed(record: &Record) -> Vec<u8> {
    let mut frames = Vec::new();
    frame::encode(record, &mut frames).unwrap();
    frames
}

fn all(log: &Log) -> Vec<Record> {
    log.reader().read(log.start(), usize::MAX, usize::MAX).unwrap().into_iter().map(|entry| entry.record).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    found.sort();
    found
}

#[test]
fn a_log_cut_at_any_byte_keeps_every_whole_message_and_takes_more() {
    let queue = Id::new(new_id());
    let records: Vec<Record> = ["one", "four", "a longer third"].iter().map(|text| record(queue, text)).collect();
    let frames: Vec<Vec<u8>> = records.iter().map(framed).collect();
    let whole = frames.concat();
    for length in 0..=whole.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(format!("{:020}.log", 0)), &whole[..length]).unwrap();
        let (mut log, troubles) = Log::open(dir.path()).unwrap();
        let mut expected = Vec::new();
        let mut end = 0;
        for (record, frame) in records.iter().zip(&frames) {
            end += frame.len();
            if end <= length {
                expected.push(record.clone());
            }
        }
        let is_torn = !(0..=3).any(|count| frames[..count].iter().map(Vec::len).sum::<usize>() == length);
        assert_eq!(troubles.len(), usize::from(is_torn), "{length}");
        assert_eq!((all(&log), log.waiting()), (expected.clone(), expected.len() as u64), "{length}");
        let more = record(queue, "more");
        log.append(&framed(&more), 1).unwrap();
        expected.push(more);
        assert_eq!(all(&log), expected, "{length}");
        assert_eq!(all(&Log::open(dir.path()).unwrap().0), expected, "{length}");
    }
}

#[test]
fn an_altered_byte_is_never_published() {
    let queue = Id::new(new_id());
    let frame = framed(&record(queue, "one"));
    for at in 0..frame.len() {
        let dir = tempfile::tempdir().unwrap();
        let mut altered = frame.clone();
        altered[at] ^= 0x40;
        fs::write(dir.path().join(format!("{:020}.log", 0)), &altered).unwrap();
        let (log, troubles) = Log::open(dir.path()).unwrap();
        assert_eq!((all(&log), troubles.len()), (Vec::new(), 1), "byte {at}");
    }
}

#[test]
fn what_was_published_is_not_read_again_and_its_segments_go() {
    let (dir, queue) = (tempfile::tempdir().unwrap(), Id::new(new_id()));
    let (mut log, _) = Log::open(dir.path()).unwrap();
    let records: Vec<Record> = (0..5).map(|number| record(queue, &"x".repeat(number))).collect();
    for record in &records {
        log.append(&framed(record), 1).unwrap();
    }
    let read = log.reader().read(log.start(), 3, usize::MAX).unwrap();
    let bytes = read.iter().map(|entry| entry.bytes).sum();
    log.advance(read[2].next, 3, bytes).unwrap();
    assert_eq!(all(&log), records[3..]);
    let (mut log, _) = Log::open(dir.path()).unwrap();
    assert_eq!((all(&log), log.waiting()), (records[3..].to_vec(), 2));
    let rest = log.reader().read(log.start(), usize::MAX, usize::MAX).unwrap();
    log.advance(rest[1].next, 2, rest.iter().map(|entry| entry.bytes).sum()).unwrap();
    let more = record(queue, "more");
    log.append(&framed(&more), 1).unwrap();
    assert_eq!(all(&log), [more]);
    assert_eq!(segments(dir.path()).len(), 1, "the others went");
}

#[test]
fn a_full_disk_costs_the_messages_it_refused_and_no_other() {
    let (dir, queue) = (tempfile::tempdir().unwrap(), Id::new(new_id()));
    let (mut log, _) = Log::open(dir.path()).unwrap();
    // Whatever is written there ends in "no space left on device".
    std::os::unix::fs::symlink("/dev/full", dir.path().join(format!("{:020}.log", 0))).unwrap();
    let error = log.append(&framed(&record(queue, "lost")), 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!((log.waiting(), log.bytes()), (0, 0));
    let kept = record(queue, "kept");
    log.append(&framed(&kept), 1).unwrap();
    assert_eq!(log.waiting(), 1);
}

#[test]
fn a_full_disk_gets_room_by_what_is_published_though_no_cursor_can_be_written() {
    let (dir, queue) = (tempfile::tempdir().unwrap(), Id::new(new_id()));
    let (mut log, _) = Log::open(dir.path()).unwrap();
    let records = [record(queue, "one"), record(queue, "two")];
    for record in &records {
        log.append(&framed(record), 1).unwrap();
    }
    let read = log.reader().read(log.start(), 2, usize::MAX).unwrap();
    log.advance(read[0].next, 1, read[0].bytes).unwrap();
    let cursor = fs::read(dir.path().join("cursor")).unwrap();
    // Nothing can be renamed onto a folder.
    fs::remove_file(dir.path().join("cursor")).unwrap();
    fs::create_dir(dir.path().join("cursor")).unwrap();
    log.advance(read[1].next, 1, read[1].bytes).unwrap_err();
    assert_eq!(segments(dir.path()), Vec::<PathBuf>::new());
    // As a crash leaves it: the cursor is in a segment that is gone.
    fs::remove_dir(dir.path().join("cursor")).unwrap();
    fs::write(dir.path().join("cursor"), cursor).unwrap();
    let (mut log, _) = Log::open(dir.path()).unwrap();
    assert_eq!((all(&log), log.waiting()), (Vec::new(), 0));
    let more = record(queue, "more");
    log.append(&framed(&more), 1).unwrap();
    assert_eq!(all(&log), std::slice::from_ref(&more));
    assert_eq!(all(&Log::open(dir.path()).unwrap().0), [more]);
}

/// What comes after a restart, or after a write that failed, goes into another segment.
#[test]
fn a_full_disk_gets_room_by_what_is_published_from_before_the_last_segment() {
    let (dir, queue) = (tempfile::tempdir().unwrap(), Id::new(new_id()));
    let (mut log, _) = Log::open(dir.path()).unwrap();
    log.append(&framed(&record(queue, "kept")), 1).unwrap();
    let (mut log, _) = Log::open(dir.path()).unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join(format!("{:020}.log", 1))).unwrap();
    log.append(&framed(&record(queue, "lost")), 1).unwrap_err();
    let read = log.reader().read(log.start(), 2, usize::MAX).unwrap();
    log.advance(read[0].next, 1, read[0].bytes).unwrap();
    assert_eq!(segments(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_torn_end_that_cannot_be_kept_aside_stays_where_it_is() {
    let (dir, queue) = (tempfile::tempdir().unwrap(), Id::new(new_id()));
    let one = record(queue, "one");
    let torn = [framed(&one), framed(&one)[..20].to_vec()].concat();
    let path = dir.path().join(format!("{:020}.log", 0));
    fs::write(&path, &torn).unwrap();
    std::os::unix::fs::symlink("/dev/full", path.with_extension("torn")).unwrap();
    let (mut log, troubles) = Log::open(dir.path()).unwrap();
    assert_eq!((all(&log), troubles.len()), (vec![one.clone()], 1));
    assert_eq!(fs::read(&path).unwrap(), torn);
    let more = record(queue, "more");
    log.append(&framed(&more), 1).unwrap();
    assert_eq!(all(&log), [one, more]);
}

#[test]
fn refused_messages_leave_no_files_behind() {
    let (dir, queue) = (tempfile::tempdir().unwrap(), Id::new(new_id()));
    let (mut log, _) = Log::open(dir.path()).unwrap();
    for _ in 0..3 {
        std::os::unix::fs::symlink("/dev/full", dir.path().join(format!("{:020}.log", 0))).unwrap();
        log.append(&framed(&record(queue, "lost")), 1).unwrap_err();
        assert_eq!(segments(dir.path()), Vec::<PathBuf>::new());
    }
}

/// Takes messages while it is up.
#[derive(Default)]
struct Worker {
    is_up: AtomicBool,
    taken: Mutex<Vec<String>>,
    given_up: Mutex<Vec<Vec<u8>>>,
    asked: AtomicUsize,
    heard: Notify,
}

#[async_trait]
impl Outlet for Worker {
    async fn publish(&self, record: &Record) -> Sent {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let text = String::from_utf8(record.event.to_vec()).unwrap();
        let sent = match (self.is_up.load(Ordering::SeqCst), text.as_str()) {
            (false, _) => Sent::Later("away".to_owned()),
            (true, "poison") => Sent::Never("too large".to_owned()),
            (true, _) => {
                self.taken.lock().push(text);
                Sent::Done
            }
        };
        self.heard.notify_one();
        sent
    }

    async fn gave_up(&self, record: &Record) {
        self.given_up.lock().push(record.event.to_vec());
    }
}

async fn until(worker: &Worker, holds: impl Fn(&Worker) -> bool) {
    while !holds(worker) {
        worker.heard.notified().await;
    }
}

#[tokio::test]
async fn what_was_kept_comes_in_order_when_the_broker_is_back_also_after_a_restart() {
    let (dir, queue) = (tempfile::tempdir().unwrap(), Id::new(new_id()));
    let worker = Arc::new(Worker::default());
    let texts: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    {
        let spool = Spool::open(dir.path(), u64::MAX).unwrap();
        for text in &texts {
            spool.keep(record(queue, text)).await.unwrap();
        }
        spool.keep(record(queue, "poison")).await.unwrap();
        assert!(spool.holds(queue));
    }
    let spool = Spool::open(dir.path(), u64::MAX).unwrap();
    assert_eq!(spool.backlog(), [(queue, 501)]);
    let stop = CancellationToken::new();
    let replaying = tokio::spawn(spool.clone().replay(worker.clone(), stop.clone()));
    until(&worker, |worker| worker.asked.load(Ordering::SeqCst) > 0).await;
    assert_eq!(*worker.taken.lock(), Vec::<String>::new());
    worker.is_up.store(true, Ordering::SeqCst);
    until(&worker, |worker| worker.taken.lock().len() >= texts.len()).await;
    assert_eq!(*worker.taken.lock(), texts);
    while spool.holds(queue) {
        tokio::task::yield_now().await;
    }
    assert_eq!(*worker.given_up.lock(), [b"poison"]);
    let aside = dir.path().join(queue.to_string()).join("refused.json");
    assert_eq!(fs::read(aside).unwrap(), b"poison\n");
    // Another queue that nobody knew before.
    let other = Id::new(new_id());
    spool.keep(record(other, "new")).await.unwrap();
    until(&worker, |worker| worker.taken.lock().last().is_some_and(|last| last == "new")).await;
    stop.cancel();
    replaying.await.unwrap();
}

/// Needs much of a task's budget for each message, and does not take the fifth at first.
struct Fussy {
    room: Semaphore,
    has_refused: AtomicBool,
    taken: watch::Sender<Vec<String>>,
}

#[async_trait]
impl Outlet for Fussy {
    async fn publish(&self, record: &Record) -> Sent {
        for _ in 0..20 {
            drop(self.room.acquire().await);
        }
        if record.event == "5" && !self.has_refused.swap(true, Ordering::SeqCst) {
            return Sent::Later("not that".to_owned());
        }
        let text = String::from_utf8(record.event.to_vec()).unwrap();
        self.taken.send_modify(|taken| taken.push(text));
        Sent::Done
    }

    async fn gave_up(&self, _record: &Record) {}
}

#[tokio::test]
async fn nothing_overtakes_what_is_slow_or_waits() {
    let (dir, queue) = (tempfile::tempdir().unwrap(), Id::new(new_id()));
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let spool = Spool::open(dir.path(), u64::MAX).unwrap();
    for text in &texts {
        spool.keep(record(queue, text)).await.unwrap();
    }
    let fussy = Arc::new(Fussy {
        room: Semaphore::new(1000),
        has_refused: AtomicBool::default(),
        taken: watch::Sender::new(Vec::new()),
    });
    let stop = CancellationToken::new();
    let replaying = tokio::spawn(spool.clone().replay(fussy.clone(), stop.clone()));
    let mut taken = fussy.taken.subscribe();
    assert_eq!(*taken.wait_for(|taken| taken.len() >= texts.len()).await.unwrap(), texts);
    stop.cancel();
    replaying.await.unwrap();
}

#[tokio::test]
async fn a_spool_takes_no_more_than_it_may_hold() {
    let (dir, queue) = (tempfile::tempdir().unwrap(), Id::new(new_id()));
    let frame = framed(&record(queue, "abc")).len() as u64;
    let spool = Spool::open(dir.path(), frame * 2).unwrap();
    spool.keep(record(queue, "abc")).await.unwrap();
    spool.keep(record(queue, "abc")).await.unwrap();
    assert!(matches!(spool.keep(record(queue, "abc")).await, Err(SpoolError::Full)));
    assert_eq!(spool.backlog(), [(queue, 2)]);
}

#[tokio::test]
async fn messages_of_one_moment_are_all_kept_once() {
    let (dir, queue) = (tempfile::tempdir().unwrap(), Id::new(new_id()));
    let spool = Spool::open(dir.path(), u64::MAX).unwrap();
    let records: Vec<Record> = (0..300).map(|number| record(queue, &number.to_string())).collect();
    let kept = futures::future::join_all(records.iter().map(|record| spool.keep(record.clone()))).await;
    assert!(kept.iter().all(Result::is_ok));
    let (log, _) = Log::open(&dir.path().join(queue.to_string())).unwrap();
    let mut found: Vec<String> = all(&log).iter().map(|record| record.id.to_string()).collect();
    let mut expected: Vec<String> = records.iter().map(|record| record.id.to_string()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}
