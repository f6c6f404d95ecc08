//! A channel over a WebSocket.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use tokio::time::timeout;

use super::websocket::{self, Ear, Heard};
use super::{GOODBYE, Listening, Next, heartbeat};
use crate::request::RequestCtx;
use crate::streams::Streams;

/// The gateway stops, or the client was too slow: it may come back.
const GOING_AWAY: u16 = 1001;

/// `accept` is the answer to the handshake.
pub(super) async fn talk(
    mut listening: Listening<'_>,
    accept: HeaderValue,
    streams: &Arc<Streams>,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    begin(accept, streams, session, ctx).await?;
    let (mut beats, queues) = (heartbeat(), listening.queues);
    // Whoever is there answers pings.
    let (mut ear, mut was_heard) = (Ear::default(), true);
    let goodbye = loop {
        tokio::select! {
            next = listening.next() => match next {
                Next::Show(shown) => listening.send(session, websocket::text(&shown.text)).await?,
                Next::Missed(Some(count)) => break websocket::close(GOING_AWAY, &format!("too slow: {count} missed")),
                // There is no word for it between messages.
                Next::Missed(None) => {}
            },
            () = queues.drain.cancelled() => break websocket::close(GOING_AWAY, "the gateway stops"),
            _ = beats.tick() => {
                if !std::mem::take(&mut was_heard) {
                    break websocket::close(GOING_AWAY, "no answer to a ping");
                }
                listening.send(session, websocket::ping()).await?;
            }
            piece = session.read_request_body() => {
                let Some(piece) = piece? else { return session.write_response_body(None, true).await };
                was_heard = true;
                ear.hear(&piece);
                if answered(&listening, &mut ear, session).await? {
                    return session.write_response_body(None, true).await;
                }
            }
        }
    };
    listening.send(session, goodbye).await?;
    // Closing at once would reset the connection where the client has said more, and destroy what it is told.
    let closing = async { while let Ok(Some(_)) = session.read_request_body().await {} };
    let _ = timeout(GOODBYE, closing).await;
    session.write_response_body(None, true).await
}

async fn begin(accept: HeaderValue, streams: &Arc<Streams>, session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
    let mut head = ResponseHeader::build_no_case(StatusCode::SWITCHING_PROTOCOLS, Some(8))?;
    head.insert_header(header::UPGRADE, "websocket")?;
    head.insert_header(header::CONNECTION, "Upgrade")?;
    head.insert_header(websocket::ACCEPT, accept)?;
    let head = Box::new(head);
    streams.enter(session, &head, ctx);
    session.write_response_header(head, false).await
}

/// Answers what the client said; `true`: it is over.
async fn answered(listening: &Listening<'_>, ear: &mut Ear, session: &mut Session) -> Result<bool> {
    loop {
        match ear.next() {
            Heard::Nothing => return Ok(false),
            Heard::Answer(answer) => listening.send(session, answer).await?,
            Heard::Over(goodbye) => {
                listening.send(session, goodbye).await?;
                return Ok(true);
            }
        }
    }
}
