//! A whole body, read before anything is done with it.

use bytes::{Bytes, BytesMut};
use gateway_config::model::Screening;
use gateway_config::snapshot::{Code, Refusal};
use pingora::proxy::Session;

use crate::act;
use crate::policy::body::{BodyWatch, Watched};
use crate::request::{RequestCtx, read_piece};

/// Reads the body up to `limit`, screened as its route says.
pub(super) async fn read(session: &mut Session, ctx: &RequestCtx, limit: u64) -> Result<Bytes, Refusal> {
    let route = ctx.decision.as_ref().and_then(|decision| decision.route.as_ref());
    let mode = route.map_or(Screening::Off, |route| route.source.screening);
    let mut watch = BodyWatch::new(limit, mode, &session.req_header().headers);
    let mut body = BytesMut::new();
    loop {
        let read = read_piece(session).await;
        let mut piece = read.map_err(|error| match error.etype() {
            pingora::ErrorType::ReadTimedout => Refusal::new(Code::RequestTimeout),
            _ => Refusal {
                message: Some("the body could not be read to its end".into()),
                ..Refusal::new(Code::BadRequest)
            },
        })?;
        let end = piece.is_none();
        match watch.piece(&mut piece, end) {
            Watched::Fine => {}
            Watched::Found(finding) => act::report(&finding, ctx.route_name()),
            Watched::Stop(code) => return Err(Refusal::new(code)),
        }
        body.extend_from_slice(&piece.unwrap_or_default());
        if end {
            return Ok(body.freeze());
        }
    }
}
