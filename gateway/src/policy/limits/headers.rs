//! What clients are told of their limits: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers) for all, the older
//! `X-RateLimit-*` for the tightest, and on a refusal `Retry-After`.

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::limiter::{Standing, Verdict};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

pub(crate) type Headers = SmallVec<[(HeaderName, HeaderValue); 6]>;

/// None for a request that no limit counts.
pub(crate) fn headers_of(verdict: &Verdict) -> Headers {
    let mut headers = Headers::new();
    let by_room = |standing: &&Standing| (standing.remaining, std::cmp::Reverse(standing.reset_seconds));
    if let Some(tightest) = verdict.refused.as_ref().or_else(|| verdict.standings.iter().min_by_key(by_room)) {
        let (mut policy, mut state) = (Vec::with_capacity(96), Vec::with_capacity(96));
        for standing in &verdict.standings {
            let limit = &standing.limit;
            item(&mut policy, &limit.name, [(b'q', limit.requests), (b'w', limit.per_seconds)]);
            item(&mut state, &limit.name, [(b'r', standing.remaining), (b't', standing.reset_seconds)]);
        }
        for (name, text) in [(POLICY, policy), (STATE, state)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.push((name, value));
            }
        }
        headers.push((LIMIT, tightest.limit.requests.into()));
        headers.push((REMAINING, tightest.remaining.into()));
        headers.push((RESET, tightest.reset_seconds.into()));
    }
    if let Some(refused) = &verdict.refused {
        headers.push((RETRY_AFTER, refused.retry_after_seconds.max(1).into()));
    }
    headers
}

/// Appends `"name";a=1;b=2` to a list of structured fields (RFC 9651).
fn item(list: &mut Vec<u8>, name: &str, parameters: [(u8, u32); 2]) {
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.push(b'"');
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => list.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => list.push(byte),
            // A structured field's string knows ASCII only.
            _ => list.push(b'?'),
        }
    }
    list.push(b'"');
    let mut digits = itoa::Buffer::new();
    for (key, number) in parameters {
        list.extend_from_slice(&[b';', key, b'=']);
        list.extend_from_slice(digits.format(number).as_bytes());
    }
}
