//! Open streams: WebSockets, event streams and gRPC outlive the decision that let them in. Each is judged again on every change of
//! the configuration and when its credentials expire, by the same chain as a request, and ended if it would be let in no more.

mod again;
mod register;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_config::client::Client;
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::model::{JwtIssuer, Timestamp};
use gateway_config::snapshot::{Caller, CompiledQueue, Counters, Filter, Outcome, Refusal, Snapshot, known};
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::connection::Carrier;
use crate::gate::Gate;
use crate::identity::Presented;
use crate::judge::{Inquiry, Next, judge};
use crate::live::{Current, Live};
use crate::observe::metrics::Series;
use crate::reply::is_grpc;
use crate::request::RequestCtx;

use again::{again, expiry};
use register::Register;

/// From the goodbye to the end, for clients that do not close.
const GOODBYE: Duration = Duration::from_millis(500);
/// Streams that are judged before others on the thread have a turn.
const AT_A_TIME: usize = 64;

pub(crate) struct Streams {
    gate: Arc<Gate>,
    current: Arc<Current>,
    register: Mutex<Register>,
    /// The first that is due is another one than before.
    due: Notify,
}

/// All that is needed to judge a stream again, and to end it.
pub(super) struct Open {
    head: RequestHeader,
    client: Client,
    caller: Caller,
    /// Whose token it is, as it was then.
    issuer: Option<Arc<JwtIssuer>>,
    request_id: HeaderValue,
    carrier: Carrier,
    /// Of a stream of HTTP/2, which is dropped where it ends, before it is accounted for.
    unaccounted: Option<Unaccounted>,
    /// Of a channel: what its client sees.
    view: Option<View>,
}

/// What is known of a request whose answer has begun.
struct Unaccounted {
    series: Arc<Series>,
    status: u16,
    started: Instant,
}

/// Messages of which queue, and which of them.
type View = (Arc<CompiledQueue>, Filter);

/// In the register until this is dropped.
pub(crate) struct OpenStream {
    streams: Arc<Streams>,
    number: u64,
}

impl fmt::Debug for OpenStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStream").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.register.lock().remove(self.number);
    }
}

impl Streams {
    pub(crate) fn new(gate: Arc<Gate>, current: Arc<Current>) -> Self {
        Self { gate, current, register: Mutex::default(), due: Notify::new() }
    }

    /// Takes note of the answer's stream, if it is one.
    pub(crate) fn enter(self: &Arc<Self>, session: &Session, answer: &ResponseHeader, ctx: &mut RequestCtx) {
        let is_upgrade = answer.status == StatusCode::SWITCHING_PROTOCOLS;
        // Of gRPC's answers nobody can tell which are streams.
        if !is_upgrade && !is_event_stream(answer) && !is_grpc(&answer.headers) {
            return;
        }
        let Some((carrier, live)) = ctx.carrier().cloned().zip(ctx.live.clone()) else { return };
        if is_upgrade {
            carrier.follow_frames();
        }
        let token = ctx.caller.verified().and_then(|verified| verified.token.as_deref());
        let issuer = token.and_then(|token| live.snapshot.issuer(&token.issuer)).cloned();
        let open = Open {
            head: session.req_header().clone(),
            client: ctx.client.clone(),
            caller: ctx.caller.clone(),
            issuer,
            request_id: ctx.id.clone(),
            unaccounted: unaccounted(&carrier, &live, answer, ctx),
            carrier,
            view: ctx.decision.as_ref().and_then(|decision| view(&decision.outcome)),
        };
        let until = expiry(&live.snapshot, &open.caller);
        let number = self.register.lock().add(Arc::new(open), until);
        ctx.stream = Some(OpenStream { streams: self.clone(), number });
        // Who was let in by one snapshot and noted after the next came would be judged by neither.
        let is_late = !self.current.get().is_some_and(|now| Arc::ptr_eq(&now, &live));
        if is_late {
            self.register.lock().set_until(number, Some(SystemClock.now()));
        }
        if is_late || until.is_some() {
            self.due.notify_one();
        }
    }

    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut swaps = self.current.swaps();
        loop {
            let first = self.register.lock().first_due();
            let mut all = false;
            tokio::select! {
                () = stop.cancelled() => return,
                swapped = swaps.changed() => all = swapped.is_ok(),
                () = self.due.notified() => {}
                () = wait_until(first) => {}
            }
            self.judge_again(all).await;
        }
    }

    /// Those that are due, or all.
    async fn judge_again(self: &Arc<Self>, all: bool) {
        let Some(live) = self.current.get() else { return };
        let chosen = self.register.lock().choose((!all).then(|| SystemClock.now()));
        for (count, (number, open)) in chosen.into_iter().enumerate() {
            if count % AT_A_TIME == AT_A_TIME - 1 {
                tokio::task::yield_now().await;
            }
            let now = SystemClock.now();
            let caller = self.caller(&live.snapshot, &open, now);
            let until = expiry(&live.snapshot, &caller);
            match refusal(&live.snapshot, &open, caller) {
                Some(why) => self.end(number, &open, why),
                // What has run out and is let in all the same is looked at again later.
                None => {
                    let later = Timestamp::from_micros(now.micros().saturating_add(1_000_000));
                    self.register.lock().set_until(number, until.map(|until| until.max(later)));
                }
            }
        }
    }

    /// Who that is by now, without asking or hashing anything: a change must not set off thousands of either.
    fn caller(&self, snapshot: &Snapshot, open: &Open, now: Timestamp) -> Caller {
        match Presented::of(&open.head.headers) {
            Ok(presented) => {
                let known = self.gate.identity.at_once(snapshot, &presented, now);
                known.unwrap_or_else(|| again(snapshot, &open.caller, open.issuer.as_deref(), now))
            }
            Err(code) => Caller::Rejected(code),
        }
    }

    fn end(self: &Arc<Self>, number: u64, open: &Arc<Open>, why: &'static str) {
        let request_id = open.request_id.to_str().unwrap_or_default();
        tracing::info!(request_id, code = why, "a stream was ended: its caller has lost access");
        if !self.with_open(number, Open::end) {
            return;
        }
        let streams = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GOODBYE).await;
            streams.with_open(number, |open| open.carrier.cut());
        });
    }

    /// Only while it is registered: later its connection may serve other requests.
    fn with_open(&self, number: u64, act: impl FnOnce(&Open)) -> bool {
        let register = self.register.lock();
        register.get(number).map(|open| act(open)).is_some()
    }
}

impl Open {
    fn end(&self) {
        self.carrier.end();
        if let Some(it) = &self.unaccounted {
            it.series.observe(it.status, it.started.elapsed().as_secs_f64());
        }
    }
}

fn unaccounted(carrier: &Carrier, live: &Live, answer: &ResponseHeader, ctx: &RequestCtx) -> Option<Unaccounted> {
    let Carrier::Stream(_) = carrier else { return None };
    let series = live.series.get(ctx.route_name())?.clone();
    Some(Unaccounted { series, status: answer.status.as_u16(), started: ctx.started })
}

fn is_event_stream(answer: &ResponseHeader) -> bool {
    const TYPE: &[u8] = b"text/event-stream";
    let value = answer.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    value.and_then(|value| value.get(..TYPE.len())).is_some_and(|start| start.eq_ignore_ascii_case(TYPE))
}

async fn wait_until(moment: Option<Timestamp>) {
    let Some(moment) = moment else { return std::future::pending().await };
    let left = moment.micros().saturating_sub(SystemClock.now().micros());
    tokio::time::sleep(Duration::from_micros(u64::try_from(left).unwrap_or(0))).await;
}

/// Who calls is known, and it was counted when it began.
struct Settled(Caller);

impl Inquiry for Settled {
    fn count(&mut self, _: &Counters) -> Option<Result<(), Refusal>> {
        Some(Ok(()))
    }

    fn caller(&mut self, _: &Presented<'_>, _: Timestamp) -> Option<Caller> {
        Some(self.0.clone())
    }
}

fn view(outcome: &Outcome) -> Option<View> {
    match outcome {
        Outcome::Subscribe(queue, filter) => Some((queue.clone(), filter.clone())),
        _ => None,
    }
}

/// Whether a client of a channel would see the same messages.
fn is_same(one: &View, other: &View) -> bool {
    let place = |view: &View| {
        let queue = &view.0.source;
        (queue.broker, queue.connection.clone(), queue.destination.clone())
    };
    one.1 == other.1 && place(one) == place(other)
}

/// Why the stream would not be let in now; `None` too where that has nothing to do with who calls. What a channel shows is for the
/// configuration to say at any time: a stream that shows something else than it would now ends, so that its client comes back.
fn refusal(snapshot: &Snapshot, open: &Open, caller: Caller) -> Option<&'static str> {
    let Next::Decided(judgement) = judge(snapshot, &open.head, &open.client, &mut Settled(caller)) else { return None };
    if judgement.own.is_some() && !matches!(judgement.caller, Caller::Anonymous) {
        // One of the gateway's own, which no route lets in: whoever is known and in good standing sees it.
        return known(&judgement.caller, open.client.address).err().map(|refusal| refusal.code.as_str());
    }
    match &judgement.decision.outcome {
        Outcome::Refuse(refusal) if refusal.code.is_about_access() => Some(refusal.code.as_str()),
        now => {
            let before = open.view.as_ref()?;
            let is_unchanged = view(now).is_some_and(|now| is_same(before, &now));
            (!is_unchanged).then_some("channel_changed")
        }
    }
}
