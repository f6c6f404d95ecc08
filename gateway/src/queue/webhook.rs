//! What the gateway pushes: a POST with the headers of the Standard Webhooks specification, and when it is tried again.

use std::time::Duration;

use bytes::Bytes;
use gateway_config::model::Timestamp;
use gateway_config::webhook::{WebhookSecret, seconds};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::identity::egress::{EgressError, Posted};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

const LONGEST_DELAY: Duration = Duration::from_mins(10);
/// A receiver may ask for more patience than we have by ourselves, but not for ever.
const LONGEST_WISH: Duration = Duration::from_hours(1);

/// The headers of a webhook that is sent now.
pub(super) fn headers(
    secret: &WebhookSecret,
    id: &str,
    at: Timestamp,
    content_type: &'static str,
    body: &Bytes,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(TIMESTAMP, HeaderValue::from(seconds(at)));
    // Ids are base64, and so is a signature.
    for (name, value) in [(ID, id.to_owned()), (SIGNATURE, secret.sign(id, at, body))] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// What a push came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Taken,
    /// To be tried again, not before this time has passed.
    Failed {
        error: String,
        not_before: Duration,
    },
    /// The receiver is gone for good.
    Gone {
        error: String,
    },
}

impl Pushed {
    pub(super) fn of(outcome: Result<Posted, EgressError>) -> Self {
        match outcome {
            Ok(Posted { status, .. }) if status.is_success() => Self::Taken,
            Ok(Posted { status: StatusCode::GONE, .. }) => Self::Gone { error: "status 410".to_owned() },
            Ok(Posted { status, retry_after_seconds }) => {
                let wish = Duration::from_secs(u64::from(retry_after_seconds.unwrap_or(0)));
                Self::Failed { error: format!("status {}", status.as_u16()), not_before: wish.min(LONGEST_WISH) }
            }
            Err(error) => Self::Failed { error: error.to_string(), not_before: Duration::ZERO },
        }
    }
}

/// When to try again after this many attempts: exponential with full jitter. `luck` is between 0 and 1.
pub(super) fn delay(attempts: u32, not_before: Duration, luck: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(20);
    let longest = Duration::from_secs(1 << doublings).min(LONGEST_DELAY);
    longest.mul_f64(luck.clamp(0.0, 1.0)).max(not_before)
}

/// That much later.
pub(super) fn later(now: Timestamp, delay: Duration) -> Timestamp {
    Timestamp::from_micros(now.micros().saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_ten_minutes_and_hold_to_the_receivers_wish() {
        let longest = [1, 2, 3, 4, 10, 11, 50].map(|attempts| delay(attempts, Duration::ZERO, 1.0).as_secs());
        assert_eq!(longest, [1, 2, 4, 8, 512, 600, 600]);
        assert_eq!(delay(4, Duration::ZERO, 0.25), Duration::from_secs(2));
        assert_eq!(delay(4, Duration::from_secs(5), 0.25), Duration::from_secs(5));
        assert_eq!(delay(4, Duration::from_secs(5), 1.0), Duration::from_secs(8));
    }

    #[test]
    fn an_answer_is_a_yes_a_later_or_a_never() {
        let of = |status: u16, retry_after_seconds| {
            Pushed::of(Ok(Posted { status: StatusCode::from_u16(status).unwrap(), retry_after_seconds }))
        };
        assert_eq!((of(200, None), of(204, Some(9))), (Pushed::Taken, Pushed::Taken));
        let failed =
            |error: &str, seconds| Pushed::Failed { error: error.to_owned(), not_before: Duration::from_secs(seconds) };
        assert_eq!(of(500, None), failed("status 500", 0));
        assert_eq!(of(302, None), failed("status 302", 0));
        assert_eq!(of(429, Some(7)), failed("status 429", 7));
        assert_eq!(of(503, Some(u32::MAX)), failed("status 503", 3600));
        assert_eq!(of(410, None), Pushed::Gone { error: "status 410".to_owned() });
    }
}
