//! Channels: messages of a topic on their way back to clients, as server-sent events or over a WebSocket, each client seeing what the
//! route's filter lets through for it.

mod feed;
mod message;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use gateway_config::snapshot::{Code, CompiledQueue, Filter, Refusal};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use serde_json::Value;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

pub(super) use feed::Feeds;

use self::message::Shown;
use self::websocket::{Ear, Heard};
use super::Queues;
use crate::reply;
use crate::request::RequestCtx;
use crate::streams::Streams;

/// Between two signs of life on a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The gateway stops, or the client was too slow: it may come back.
const GOING_AWAY: u16 = 1001;

/// Answers a request whose target is a channel: streams until the client leaves, loses access, or the gateway stops.
pub(crate) async fn serve(
    queue: &Arc<CompiledQueue>,
    filter: Filter,
    queues: &Arc<Queues>,
    streams: &Arc<Streams>,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    let opened = open(filter, session);
    let (filter, upgrade) = match opened {
        Ok(opened) => opened,
        Err(refusal) => {
            ctx.refused = Some(refusal.code);
            return reply::refuse(session, &refusal, ctx.frame()).await;
        }
    };
    // Before the client is told that it listens.
    let (feed, messages) = queues.feeds.listen(queues, queue, &queues.control);
    let mut listening = Listening { messages, filter };
    let ended = match upgrade {
        Some(accept) => over_websocket(&mut listening, accept, queues, streams, session, ctx).await,
        None => as_events(&mut listening, queues, streams, session, ctx).await,
    };
    drop(feed);
    ended
}

struct Listening {
    messages: Receiver<Arc<Shown>>,
    filter: Filter,
}

/// What comes next for a client.
enum Next {
    Show(Arc<Shown>),
    /// It was too slow for so many.
    Missed(u64),
    Over,
}

impl Listening {
    async fn next(&mut self) -> Next {
        loop {
            match self.messages.recv().await {
                Ok(shown) if self.filter.passes(shown.data()) => return Next::Show(shown),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => return Next::Missed(missed),
                Err(RecvError::Closed) => return Next::Over,
            }
        }
    }
}

/// The filter with all that it takes from the token, and the answer to a handshake where one is asked for.
fn open(filter: Filter, session: &Session) -> Result<(Filter, Option<HeaderValue>), Refusal> {
    let headers = &session.req_header().headers;
    // Verified already, or the caller would not have been let in.
    let filter = filter.with_claims(&claims(headers).unwrap_or_default())?;
    if !session.is_upgrade_req() || !websocket::is_asked_for(headers) {
        return Ok((filter, None));
    }
    let accept = websocket::accept(headers).ok_or_else(|| Refusal {
        message: Some("this is no sound WebSocket handshake (version 13)".into()),
        ..Refusal::new(Code::BadRequest)
    })?;
    Ok((filter, Some(accept)))
}

/// What a JWT says; none for other tokens.
fn claims(headers: &HeaderMap) -> Option<Value> {
    let line = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let payload = line.split_once(' ')?.1.trim().split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

async fn as_events(
    listening: &mut Listening,
    queues: &Queues,
    streams: &Arc<Streams>,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    let head = reply::event_stream(session, ctx.frame())?;
    session.write_response_header(head.clone(), false).await?;
    streams.enter(session, &head, ctx);
    send(session, Bytes::from_static(b"retry: 2000\n\n")).await?;
    loop {
        tokio::select! {
            next = listening.next() => match next {
                Next::Show(shown) => send(session, event(&shown)).await?,
                Next::Missed(count) => send(session, format!("event: missed\ndata: {{\"count\": {count}}}\n\n").into()).await?,
                Next::Over => break,
            },
            () = queues.drain.cancelled() => break,
            () = tokio::time::sleep(HEARTBEAT) => send(session, Bytes::from_static(b": still here\n\n")).await?,
            idle = session.as_downstream_mut().read_body_or_idle(true) => {
                // The client is gone, or was sent away.
                idle?;
                break;
            }
        }
    }
    session.write_response_body(None, true).await
}

fn event(shown: &Shown) -> Bytes {
    let id = shown.id.as_ref().map(|id| format!("id: {id}\n")).unwrap_or_default();
    // A line of JSON holds no line break.
    [id.as_bytes(), b"data: ", &shown.text, b"\n\n"].concat().into()
}

async fn over_websocket(
    listening: &mut Listening,
    accept: HeaderValue,
    queues: &Queues,
    streams: &Arc<Streams>,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    let mut head = ResponseHeader::build_no_case(StatusCode::SWITCHING_PROTOCOLS, Some(8))?;
    head.insert_header(header::UPGRADE, "websocket")?;
    head.insert_header(header::CONNECTION, "Upgrade")?;
    head.insert_header(websocket::ACCEPT, accept)?;
    let head = Box::new(head);
    streams.enter(session, &head, ctx);
    session.write_response_header(head, false).await?;
    let mut ear = Ear::default();
    loop {
        tokio::select! {
            next = listening.next() => match next {
                Next::Show(shown) => send(session, websocket::text(&shown.text)).await?,
                Next::Missed(_) | Next::Over => {
                    send(session, websocket::close(GOING_AWAY)).await?;
                    break;
                }
            },
            () = queues.drain.cancelled() => {
                send(session, websocket::close(GOING_AWAY)).await?;
                break;
            }
            () = tokio::time::sleep(HEARTBEAT) => send(session, websocket::ping()).await?,
            piece = session.read_request_body() => {
                let Some(piece) = piece? else { break };
                ear.hear(&piece);
                if answered(&mut ear, session).await? {
                    break;
                }
            }
        }
    }
    session.write_response_body(None, true).await
}

/// Answers what the client said; `true`: it is over.
async fn answered(ear: &mut Ear, session: &mut Session) -> Result<bool> {
    loop {
        match ear.next() {
            Heard::Nothing => return Ok(false),
            Heard::Answer(answer) => send(session, answer).await?,
            Heard::Over(goodbye) => {
                send(session, goodbye).await?;
                return Ok(true);
            }
        }
    }
}

async fn send(session: &mut Session, bytes: Bytes) -> Result<()> {
    session.write_response_body(Some(bytes), false).await
}
