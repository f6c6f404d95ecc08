//! What clients are told of their limits: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers) for all, the older
//! `X-RateLimit-*` for the tightest, and on a refusal `Retry-After`.

use std::ops::Range;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};

use super::limiter::{Standing, Verdict};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Adds nothing for a request that no limit counts.
pub(crate) fn tell(verdict: &Verdict, headers: &mut Vec<(HeaderName, HeaderValue)>) {
    let by_room = |standing: &&Standing| (standing.remaining, std::cmp::Reverse(standing.reset_seconds));
    let tightest = verdict.refused.as_ref().or_else(|| verdict.standings.iter().min_by_key(by_room));
    let Some(tightest) = tightest else { return };
    let mut text = Text(Vec::with_capacity(192));
    let told = [
        (POLICY, text.list(verdict, |it| [(b'q', it.limit.requests), (b'w', it.limit.per_seconds)])),
        (STATE, text.list(verdict, |it| [(b'r', it.remaining), (b't', it.reset_seconds)])),
        (LIMIT, text.number(tightest.limit.requests)),
        (REMAINING, text.number(tightest.remaining)),
        (RESET, text.number(tightest.reset_seconds)),
    ];
    headers.reserve(told.len() + 1);
    // All values share the one allocation.
    let text = Bytes::from(text.0);
    let value = |range: Range<usize>| HeaderValue::from_maybe_shared(text.slice(range)).ok();
    headers.extend(told.into_iter().filter_map(|(name, range)| Some((name, value(range)?))));
    if let Some(refused) = &verdict.refused {
        headers.push((RETRY_AFTER, refused.retry_after_seconds.max(1).into()));
    }
}

/// The values, one behind the other.
struct Text(Vec<u8>);

impl Text {
    /// A list of structured fields (RFC 9651), `"name";a=1;b=2` for each limit.
    fn list(&mut self, verdict: &Verdict, parameters: impl Fn(&Standing) -> [(u8, u32); 2]) -> Range<usize> {
        let start = self.0.len();
        for standing in &verdict.standings {
            if self.0.len() > start {
                self.0.extend_from_slice(b", ");
            }
            self.0.push(b'"');
            // Nothing in it needs to be escaped: see `CompiledLimit::name`.
            self.0.extend_from_slice(standing.limit.name.as_bytes());
            self.0.push(b'"');
            for (key, number) in parameters(standing) {
                self.0.extend_from_slice(&[b';', key, b'=']);
                self.number(number);
            }
        }
        start..self.0.len()
    }

    fn number(&mut self, number: u32) -> Range<usize> {
        let start = self.0.len();
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        start..self.0.len()
    }
}
