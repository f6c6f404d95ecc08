//! Channels: messages of a topic on their way back to clients, as server-sent events or over a WebSocket, each client seeing what the
//! route's filter lets through for it.

mod events;
mod feed;
mod message;
mod ring;
mod socket;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_config::snapshot::{Code, CompiledQueue, Filter, Refusal};
use http::{HeaderValue, Method};
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

pub(super) use feed::Feeds;

use self::message::Shown;
use self::ring::{Read, Reader};
use super::Queues;
use crate::identity;
use crate::reply;
use crate::request::RequestCtx;
use crate::streams::Streams;

/// Between two signs of life: proxies on the way must not think a quiet stream dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// So long a client waits until what feeds it is there.
const PATIENCE: Duration = Duration::from_secs(3);
/// For clients that take nothing, or have not closed, when it is over.
const GOODBYE: Duration = Duration::from_millis(500);

/// Answers a request whose target is a channel: streams until the client leaves, loses access, or the gateway stops.
pub(crate) async fn serve(
    queue: &Arc<CompiledQueue>,
    filter: Filter,
    queues: &Arc<Queues>,
    streams: &Arc<Streams>,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    let (filter, upgrade) = match open(filter, session, ctx) {
        Ok(opened) => opened,
        Err(refusal) => return refuse(&refusal, session, ctx).await,
    };
    // Before the client is told that it listens.
    let feed = queues.feeds.of(queues, queue, &queues.control);
    let reader = match feed.listen(PATIENCE).await {
        Ok(reader) => reader,
        Err(why) => {
            let name = queue.name();
            tracing::debug!(queue = name, why, "a channel of queue {name} can't be opened now");
            return refuse(&Refusal::new(Code::QueueUnavailable), session, ctx).await;
        }
    };
    let listening = Listening { reader, filter, queues };
    let ended = match upgrade {
        Some(accept) => socket::talk(listening, accept, streams, session, ctx).await,
        None => events::tell(listening, streams, session, ctx).await,
    };
    drop(feed);
    ended
}

async fn refuse(refusal: &Refusal, session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
    ctx.refused = Some(refusal.code);
    if !session.as_mut().is_body_done() {
        session.set_keepalive(None);
    }
    reply::refuse(session, refusal, ctx.frame()).await
}

/// A client and what it may see.
struct Listening<'q> {
    reader: Reader,
    filter: Filter,
    queues: &'q Queues,
}

/// What comes next for a client.
enum Next {
    Show(Arc<Shown>),
    Missed(Option<u64>),
}

impl Listening<'_> {
    async fn next(&mut self) -> Next {
        loop {
            match self.reader.next().await {
                Read::Shown(shown) if self.filter.passes(shown.data()) => return Next::Show(shown),
                Read::Shown(_) => {}
                Read::Missed(count) => return Next::Missed(count),
            }
        }
    }

    /// Writes to the client.
    async fn send(&self, session: &mut Session, bytes: Bytes) -> Result<()> {
        let late = async {
            self.queues.drain.cancelled().await;
            sleep(GOODBYE).await;
        };
        tokio::select! {
            biased;
            written = session.write_response_body(Some(bytes), false) => written,
            () = late => Error::e_explain(ErrorType::WriteTimedout, "the gateway stops and the client takes nothing"),
        }
    }
}

fn heartbeat() -> Interval {
    let mut beats = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

/// The filter with all that it takes from the token, and the answer to a handshake where one is asked for.
fn open(filter: Filter, session: &Session, ctx: &RequestCtx) -> Result<(Filter, Option<HeaderValue>), Refusal> {
    let head = session.req_header();
    if head.method != Method::GET {
        return Err(Refusal { allow: Some("GET".into()), ..Refusal::new(Code::MethodNotAllowed) });
    }
    let live = ctx.live.as_ref();
    let claims = live.and_then(|live| identity::claims(&live.snapshot, &head.headers, &ctx.caller));
    let filter = filter.with_claims(&claims.unwrap_or_default())?;
    if !session.is_upgrade_req() || !websocket::is_asked_for(&head.headers) {
        return Ok((filter, None));
    }
    let accept = websocket::accept(&head.headers).ok_or_else(|| Refusal {
        message: Some("this is no sound WebSocket handshake (version 13)".into()),
        ..Refusal::new(Code::BadRequest)
    })?;
    Ok((filter, Some(accept)))
}
