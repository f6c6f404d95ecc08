//! Query parameters. An unknown one is refused like an unknown field: a misspelt `wait` must not look like one that was heeded.

use std::fmt::Write;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use gateway_config::model::Problem;
use http::request::Parts;

use super::page::{LARGEST_PAGE, USUAL_PAGE};
use crate::error::Failure;

const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// No parameter is known here.
#[derive(Debug)]
pub(crate) struct NoQuery;

/// `?limit=&cursor=&q=`
#[derive(Debug)]
pub(crate) struct Paging {
    pub(crate) limit: u32,
    /// Begin behind this name.
    pub(crate) after: Option<String>,
    pub(crate) search: Option<String>,
}

/// `?wait=5s`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait(pub(crate) Option<Duration>);

struct Given {
    pairs: Vec<(String, String)>,
    problems: Vec<Problem>,
}

impl Given {
    fn of(parts: &Parts, known: &[&str]) -> Result<Self, Failure> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Failure::bad_request("the query string could not be read"))?
            .0;
        let mut problems = Vec::new();
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                problems.push(Problem::new(name, "unknown query parameter"));
            } else if pairs.iter().take(at).any(|(other, _)| other == name) {
                problems.push(Problem::new(name, "is given twice"));
            }
        }
        Ok(Self { pairs, problems })
    }

    fn take<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let (_, text) = self.pairs.iter().find(|(given, _)| given == name)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.problems.push(Problem::new(name, why));
                None
            }
        }
    }

    fn into_result<T>(self, value: T) -> Result<T, Failure> {
        if self.problems.is_empty() { Ok(value) } else { Err(Failure::invalid(self.problems)) }
    }
}

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Given::of(parts, &[])?.into_result(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Paging {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let mut given = Given::of(parts, &["limit", "cursor", "q"])?;
        let limit = given.take("limit", |text| {
            let limit = text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
            limit.ok_or_else(|| format!("must be a number from 1 to {LARGEST_PAGE}"))
        });
        let after =
            given.take("cursor", |text| read_cursor(text).ok_or_else(|| "is not a nextCursor of this list".to_owned()));
        let search = given.take("q", |text| Ok(text.to_owned()));
        given.into_result(Self { limit: limit.unwrap_or(USUAL_PAGE), after, search })
    }
}

impl<S: Sync> FromRequestParts<S> for Wait {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let mut given = Given::of(parts, &["wait"])?;
        let wait = given.take("wait", |text| {
            let wait = duration(text).filter(|wait| *wait <= LONGEST_WAIT);
            wait.ok_or_else(|| "must be a time up to 60s, such as 5s or 500ms".to_owned())
        });
        given.into_result(Self(wait))
    }
}

/// `500ms`, `5s`, or plain seconds.
fn duration(text: &str) -> Option<Duration> {
    let (digits, unit): (&str, fn(u64) -> Duration) = match text.strip_suffix("ms") {
        Some(digits) => (digits, Duration::from_millis),
        None => (text.strip_suffix('s').unwrap_or(text), Duration::from_secs),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok().map(unit)).flatten()
}

/// Names are no secret, but a cursor that looks like one would be made by hand, and then be in the way of another order.
pub(crate) fn write_cursor(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len() * 2), |mut cursor, byte| {
        // Writing to a string can't fail.
        let _ = write!(cursor, "{byte:02x}");
        cursor
    })
}

fn read_cursor(text: &str) -> Option<String> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    let name = String::from_utf8(bytes?).ok()?;
    (rest.is_empty() && !name.is_empty() && !name.chars().any(char::is_control)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_in_seconds_and_milliseconds() {
        assert_eq!(duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("7"), Some(Duration::from_secs(7)));
        for bad in ["", "s", "ms", "-1s", "+5s", "5m", "1.5s", "5 s", "99999999999999999999s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        assert_eq!(read_cursor(&write_cursor("rüdiger-7")).as_deref(), Some("rüdiger-7"));
        for bad in ["", "6", "zz", "ff", "00", "616"] {
            assert_eq!(read_cursor(bad), None, "{bad}");
        }
    }
}
