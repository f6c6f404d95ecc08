//! What the gateway sends by itself: messages of embedded queues, callbacks. Whose answer is only a yes or a no.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use reqwest::{Response, StatusCode};

use super::{Egress, EgressError};

/// Of an answer's body, at most so much is read: the connection serves again if that was all.
const MOST_READ: usize = 64 * 1024;

/// Where the gateway may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// Also to private addresses: an operator named the URL.
    Any,
    /// Not to private addresses: a client named the URL.
    Public,
}

/// A POST of the gateway's own.
#[derive(Clone, Debug)]
pub(crate) struct Post<'a> {
    pub(crate) url: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) timeout: Duration,
    pub(crate) reach: Reach,
}

/// What was answered, whatever it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) status: StatusCode,
    /// `Retry-After` in seconds.
    pub(crate) retry_after_seconds: Option<u32>,
}

impl Egress {
    pub(crate) async fn post(&self, post: Post<'_>) -> Result<Posted, EgressError> {
        let (client, url) = self.client(post.url, post.reach)?;
        let request = client.post(url).headers(post.headers).body(post.body).timeout(post.timeout);
        let response = request.send().await?;
        let retry_after = response.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after_seconds = retry_after.and_then(|value| value.trim().parse().ok());
        let posted = Posted { status: response.status(), retry_after_seconds };
        read_away(response).await;
        Ok(posted)
    }
}

async fn read_away(mut response: Response) {
    let mut left = MOST_READ;
    while let Ok(Some(chunk)) = response.chunk().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
