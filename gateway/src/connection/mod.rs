//! A client's connection beside the proxy: how long it may keep the proxy waiting for a request, and the handle by which it is
//! ended from outside.
//!
//! Pingora would set a timer for every read of every request, and start it anew with each byte, so that whoever trickles a head
//! is never cut. Here a connection only notes since when it waits; one task for all looks at them twice a second.

mod carrier;
mod frames;
mod http2;
mod io;
mod parting;
mod preface;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use pingora::protocols::{ALPN, Peek, Shutdown, Stream};
use tokio_util::sync::CancellationToken;

pub(crate) use carrier::Carrier;
pub(crate) use http2::{Http2, options as http2_options};
use io::Watched;
pub(crate) use parting::part;
pub(crate) use preface::PREFACE;

const TICK: Duration = Duration::from_millis(500);

/// How long connections may wait. `None`: for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the first byte of a request.
    pub(crate) idle: Option<Duration>,
    /// From that byte to the end of its head, however it trickles.
    pub(crate) head: Option<Duration>,
}

/// All open connections and the coarse clock that they share.
#[derive(Debug)]
pub(crate) struct Watch {
    tick: AtomicU32,
    open: Mutex<Vec<Weak<Connection>>>,
    /// No request is taken any more.
    is_closing: AtomicBool,
    /// How many of them speak HTTP/2.
    http2: AtomicUsize,
    idle_ticks: u32,
    head_ticks: u32,
}

impl Watch {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            tick: AtomicU32::new(0),
            open: Mutex::default(),
            is_closing: AtomicBool::new(false),
            http2: AtomicUsize::new(0),
            idle_ticks: ticks(patience.idle),
            head_ticks: ticks(patience.head),
        }
    }

    /// Ends those that wait for too long, again and again.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
            self.advance();
        }
    }

    fn advance(&self) {
        let now = self.tick.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        // Taken out while they are looked at: nobody who connects has to wait.
        let mut all = std::mem::take(&mut *self.open.lock());
        all.retain(|connection| connection.upgrade().inspect(|it| it.end_if_late(now)).is_some());
        self.open.lock().append(&mut all);
    }

    /// Ends all that wait for a request. One that comes later is not taken: nobody would be there to finish it.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::SeqCst);
        let all: Vec<_> = self.open.lock().iter().filter_map(Weak::upgrade).collect();
        for connection in all {
            connection.end_if_waiting();
        }
    }

    /// Whether somebody's connection of HTTP/2 is open.
    pub(crate) fn has_http2(&self) -> bool {
        self.http2.load(Ordering::Acquire) > 0
    }

    fn add(self: &Arc<Self>) -> Arc<Connection> {
        let state = AtomicU32::new(pack(Phase::Waiting, self.tick.load(Ordering::Relaxed)));
        let connection =
            Arc::new(Connection { watch: self.clone(), state, marks: AtomicU8::new(0), waker: Mutex::default() });
        self.open.lock().push(Arc::downgrade(&connection));
        connection
    }
}

fn ticks(patience: Option<Duration>) -> u32 {
    let count = patience.map(|patience| patience.as_millis().div_ceil(TICK.as_millis()));
    count.map_or(u32::MAX, |count| u32::try_from(count).unwrap_or(u32::MAX))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// For the first byte of a request.
    Waiting,
    /// For the rest of a head.
    Head,
    /// With a request; its own deadlines count.
    Busy,
    Over,
}

#[derive(Debug)]
pub(crate) struct Connection {
    watch: Arc<Watch>,
    /// Its phase, and above it the tick in which that began. Changed by the connection's own task; the watch and whoever ends it
    /// change it to `Over` only.
    state: AtomicU32,
    /// What is out of the ordinary about it.
    marks: AtomicU8,
    /// Of the task that serves it.
    waker: Mutex<Option<Waker>>,
}

/// A WebSocket, whose frames are followed.
const FOLLOWED: u8 = 1;
/// It was ended from outside.
const ENDED: u8 = 2;
/// Nobody waits for goodbyes any more.
const CUT: u8 = 4;
/// It speaks HTTP/2.
const HTTP2: u8 = 8;

fn pack(phase: Phase, tick: u32) -> u32 {
    tick << 2 | phase as u32
}

fn phase_of(state: u32) -> Phase {
    match state & 3 {
        0 => Phase::Waiting,
        1 => Phase::Head,
        2 => Phase::Busy,
        _ => Phase::Over,
    }
}

impl Connection {
    /// The one that `stream` belongs to; none for HTTP/2, whose requests have no stream of their own.
    fn of(stream: Option<&Stream>) -> Option<&Arc<Self>> {
        // Of what is in the box: the box itself could be taken for a stream, too.
        stream.and_then(|stream| (**stream).as_any().downcast_ref()).map(Watched::connection)
    }

    /// A head is whole. It was in time even if the watch has just thought otherwise.
    pub(crate) fn begin_request(&self) {
        self.state.store(pack(Phase::Busy, 0), Ordering::Release);
    }

    pub(crate) fn end_request(&self) {
        let waiting = pack(Phase::Waiting, self.watch.tick.load(Ordering::Relaxed));
        // Fails where it was ended meanwhile.
        let _ = self.state.compare_exchange(pack(Phase::Busy, 0), waiting, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Pingora watches over it from here on: nobody else sees its requests begin and end.
    fn speak_http2(&self) {
        // It may be looked at more than once.
        if self.marks.fetch_or(HTTP2, Ordering::AcqRel) & HTTP2 == 0 {
            self.watch.http2.fetch_add(1, Ordering::AcqRel);
        }
        self.begin_request();
    }

    fn is_http2(&self) -> bool {
        self.marks.load(Ordering::Acquire) & HTTP2 != 0
    }

    /// From the next answer on it is a WebSocket.
    fn follow_frames(&self) {
        self.marks.fetch_or(FOLLOWED, Ordering::AcqRel);
    }

    /// Ends it while a request is served. The client of a WebSocket is told in a close frame.
    fn end(&self) {
        self.finish(ENDED);
    }

    /// Ends it at once, whatever is half-way.
    fn cut(&self) {
        self.finish(ENDED | CUT);
    }

    fn finish(&self, marks: u8) {
        self.marks.fetch_or(marks, Ordering::AcqRel);
        self.state.store(pack(Phase::Over, 0), Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.lock().clone() {
            waker.wake();
        }
    }

    fn is_ordinary(&self) -> bool {
        self.marks.load(Ordering::Acquire) & !HTTP2 == 0
    }

    fn is_followed(&self) -> bool {
        self.marks.load(Ordering::Acquire) & FOLLOWED != 0
    }

    fn is_cut(&self) -> bool {
        self.marks.load(Ordering::Acquire) & CUT != 0
    }

    fn is_over(&self) -> bool {
        phase_of(self.state.load(Ordering::Acquire)) == Phase::Over
    }

    /// Something came in. `false`: too late.
    fn came(&self) -> bool {
        let state = self.state.load(Ordering::Acquire);
        match phase_of(state) {
            Phase::Busy | Phase::Head => true,
            Phase::Over => false,
            Phase::Waiting if self.watch.is_closing.load(Ordering::SeqCst) => {
                self.end_if_waiting();
                false
            }
            Phase::Waiting => {
                let head = pack(Phase::Head, self.watch.tick.load(Ordering::Relaxed));
                self.state.compare_exchange(state, head, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            }
        }
    }

    fn end_if_waiting(&self) {
        let state = self.state.load(Ordering::Acquire);
        let over = pack(Phase::Over, 0);
        if phase_of(state) == Phase::Waiting
            && self.state.compare_exchange(state, over, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            self.wake();
        }
    }

    fn end_if_late(&self, now: u32) {
        let state = self.state.load(Ordering::Acquire);
        let patience = match phase_of(state) {
            Phase::Waiting => self.watch.idle_ticks,
            Phase::Head => self.watch.head_ticks,
            Phase::Busy | Phase::Over => return,
        };
        let waited = now.wrapping_sub(state >> 2) & (u32::MAX >> 2);
        let over = pack(Phase::Over, 0);
        // A request that comes at this very moment wins.
        if waited > patience && self.state.compare_exchange(state, over, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.wake();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if *self.marks.get_mut() & HTTP2 != 0 {
            self.watch.http2.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Puts a connection under watch. `None`: HTTP/2 was agreed upon, and is not what came.
pub(crate) async fn watched(watch: &Arc<Watch>, io: Stream) -> Option<Stream> {
    let is_agreed = matches!(io.selected_alpn_proto(), Some(ALPN::H2));
    let connection = watch.add();
    let mut io = Watched::new(io, connection.clone());
    if is_agreed {
        // Pingora would wait for the preface for ever. In plain text it asks for it by itself.
        let looked = Box::pin(io.try_peek(&mut [0; PREFACE.len()])).await;
        if looked.is_err() || !connection.is_http2() {
            io.shutdown().await;
            return None;
        }
    }
    Some(Box::new(io))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn patient(idle: u64, head: u64) -> Arc<Watch> {
        let of = |ticks: u64| Some(TICK.saturating_mul(u32::try_from(ticks).unwrap()));
        Arc::new(Watch::new(Patience { idle: of(idle), head: of(head) }))
    }

    /// A connection under watch, whatever its task reads, and the client's end.
    fn connect(watch: &Arc<Watch>) -> (tokio::io::DuplexStream, Stream, Arc<Connection>) {
        let (client, server) = tokio::io::duplex(64);
        let connection = watch.add();
        let io = Watched::new(Box::new(server), connection.clone());
        (client, Box::new(io), connection)
    }

    #[tokio::test]
    async fn a_silent_connection_ends_after_its_patience_and_not_before() {
        let watch = patient(3, 9);
        let (_client, mut io, _connection) = connect(&watch);
        let mut task = reading(&mut io);
        for _ in 0..3 {
            watch.advance();
            assert!(task.poll().is_pending());
        }
        watch.advance();
        assert!(matches!(task.poll(), Poll::Ready(Ok(0))), "the stream is at its end");
    }

    #[tokio::test]
    async fn a_head_that_trickles_is_cut_however_often_a_byte_comes() {
        let watch = patient(9, 2);
        let (mut client, mut io, _connection) = connect(&watch);
        for _ in 0..3 {
            client.write_all(b"G").await.unwrap();
            assert_eq!(io.read(&mut [0; 8]).await.unwrap(), 1);
            watch.advance();
        }
        client.write_all(b"E").await.unwrap();
        assert_eq!(io.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_request_may_take_as_long_as_it_likes_and_the_wait_begins_anew_behind_it() {
        let watch = patient(1, 1);
        let (_client, mut io, connection) = connect(&watch);
        connection.begin_request();
        for _ in 0..9 {
            watch.advance();
        }
        connection.end_request();
        let mut task = reading(&mut io);
        watch.advance();
        assert!(task.poll().is_pending());
        watch.advance();
        assert!(task.poll().is_ready());
    }

    #[tokio::test]
    async fn once_it_closes_who_waits_is_ended_and_no_request_is_taken_but_who_has_begun_goes_on() {
        let watch = patient(9, 9);
        let (_idle, mut io, _connection) = connect(&watch);
        let mut task = reading(&mut io);
        assert!(task.poll().is_pending());
        let (_busy, mut other, begun) = connect(&watch);
        begun.begin_request();
        watch.close();
        assert!(matches!(task.poll(), Poll::Ready(Ok(0))));
        assert!(reading(&mut other).poll().is_pending());
        begun.end_request();
        let (mut late, mut io, _connection) = connect(&watch);
        late.write_all(b"GET").await.unwrap();
        drop(late);
        assert_eq!(io.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[test]
    fn connections_that_are_gone_are_forgotten() {
        let watch = patient(9, 9);
        drop(connect(&watch));
        watch.advance();
        assert!(watch.open.lock().is_empty());
    }

    /// A read that is polled by hand.
    struct Reading<'a>(Pin<Box<dyn Future<Output = std::io::Result<usize>> + 'a>>);

    fn reading(io: &mut Stream) -> Reading<'_> {
        Reading(Box::pin(async move { io.read(&mut [0; 8]).await }))
    }

    impl Reading<'_> {
        fn poll(&mut self) -> Poll<std::io::Result<usize>> {
            self.0.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        }
    }
}
