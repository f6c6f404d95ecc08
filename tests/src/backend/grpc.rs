//! A gRPC service, as far as the wire tells: messages behind a prefix of five bytes, and the outcome in trailers.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::{SendResponse, handshake};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;

use super::{Gate, Journal, Received};
use crate::http2::{Messages, framed};
use crate::wire::Headers;

pub(super) async fn serve(stream: TcpStream, journal: Arc<Journal>, gate: Gate) {
    let Ok(mut connection) = handshake(stream).await else { return };
    while let Some(Ok((request, answer))) = connection.accept().await {
        let (gate, journal) = (gate.clone(), journal.clone());
        // Whoever goes away in the middle is part of many tests.
        tokio::spawn(async move { drop(answer_to(request, answer, &gate, &journal).await) });
    }
}

fn received(head: &http::request::Parts) -> Received {
    let mut headers = Headers::from(&head.headers);
    if let Some(authority) = head.uri.authority() {
        headers.0.push((":authority".to_owned(), authority.to_string()));
    }
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    Received { method: head.method.to_string(), target, headers, body: Bytes::new() }
}

async fn answer_to(
    request: Request<RecvStream>,
    mut answer: SendResponse<Bytes>,
    gate: &Gate,
    journal: &Journal,
) -> Result<(), h2::Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let mut messages = Messages::new(body);
    let head = Response::builder().header("content-type", "application/grpc");
    if !matches!(&*path, "/echo/Unary" | "/echo/Count" | "/echo/Chat") {
        // A call that breaks off is none.
        while messages.next().await?.is_some() {}
        journal.record(received(&parts));
        let nothing = head.header("grpc-status", "5").header("grpc-message", "no such thing").body(()).unwrap();
        answer.send_response(nothing, true)?;
        return Ok(());
    }
    journal.record(received(&parts));
    let mut out = answer.send_response(head.body(()).unwrap(), false)?;
    match &*path {
        "/echo/Count" => {
            out.send_data(framed(b"1"), false)?;
            out.send_data(framed(b"2"), false)?;
            gate.wait().await;
            out.send_data(framed(b"3"), false)?;
        }
        _ => {
            while let Some(message) = messages.next().await? {
                out.send_data(framed(&message), false)?;
            }
        }
    }
    end(out)
}

fn end(mut out: SendStream<Bytes>) -> Result<(), h2::Error> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.insert("x-trailer", "kept".parse().unwrap());
    out.send_trailers(trailers)
}
