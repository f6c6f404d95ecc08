//! A channel as server-sent events.

use std::sync::Arc;

use bytes::Bytes;
use pingora::Result;
use pingora::proxy::Session;

use super::message::Shown;
use super::{Listening, Next, heartbeat};
use crate::reply;
use crate::request::RequestCtx;
use crate::streams::Streams;

pub(super) async fn tell(
    mut listening: Listening<'_>,
    streams: &Arc<Streams>,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    if !session.as_mut().is_body_done() {
        // Nobody reads it, so what is left of it would be read as the next request.
        session.set_keepalive(None);
    }
    let head = reply::event_stream(session, ctx.frame())?;
    session.write_response_header(head.clone(), false).await?;
    streams.enter(session, &head, ctx);
    listening.send(session, Bytes::from_static(b"retry: 2000\n\n")).await?;
    let (mut beats, queues) = (heartbeat(), listening.queues);
    loop {
        tokio::select! {
            next = listening.next() => listening.send(session, event(&next)).await?,
            () = queues.drain.cancelled() => break,
            _ = beats.tick() => listening.send(session, Bytes::from_static(b": still here\n\n")).await?,
            idle = session.as_downstream_mut().read_body_or_idle(true) => {
                // The client is gone, or was sent away.
                idle?;
                break;
            }
        }
    }
    session.write_response_body(None, true).await
}

fn event(next: &Next) -> Bytes {
    match next {
        Next::Show(shown) => message(shown),
        Next::Missed(Some(count)) => format!("event: missed\ndata: {{\"count\": {count}}}\n\n").into(),
        Next::Missed(None) => Bytes::from_static(b"event: missed\ndata: {}\n\n"),
    }
}

fn message(shown: &Shown) -> Bytes {
    let id = shown.id.as_ref().map(|id| format!("id: {id}\n")).unwrap_or_default();
    // A line of JSON holds no line break.
    [id.as_bytes(), b"data: ", &shown.text, b"\n\n"].concat().into()
}
