//! Query parameters. An unknown one is refused like an unknown field: a misspelt `wait` must not look like one that was heeded.

use std::fmt::Write;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use gateway_config::document::Form;
use gateway_config::model::{Kind, Problem};
use http::request::Parts;

use super::page::{LARGEST_PAGE, USUAL_PAGE};
use crate::error::Failure;

pub(crate) const LONGEST_WAIT: Duration = Duration::from_mins(1);

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

/// The parameters of every list.
pub(super) const LIST: [&str; 3] = ["limit", "cursor", "q"];

/// `?wait=5s`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait(pub(crate) Option<Duration>);

/// `?sections=services,routes&format=yaml`
#[derive(Debug)]
pub(crate) struct Exporting {
    /// All of them where none is named.
    pub(crate) sections: Vec<Kind>,
    pub(crate) form: Option<Form>,
}

/// `?dryRun=true&prune=true&wait=5s`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applying {
    pub(crate) dry_run: bool,
    pub(crate) prune: bool,
    pub(crate) wait: Wait,
}

/// What a query string holds, and what is wrong with it.
pub(super) struct Given {
    pairs: Vec<(String, String)>,
    problems: Vec<Problem>,
}

impl Given {
    pub(super) fn of(parts: &Parts, known: &[&str]) -> Result<Self, Failure> {
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

    pub(super) fn take<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let (_, text) = self.pairs.iter().find(|(given, _)| given == name)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.problems.push(Problem::new(name, why));
                None
            }
        }
    }

    pub(super) fn into_result<T>(self, value: T) -> Result<T, Failure> {
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
        let mut given = Given::of(parts, &LIST)?;
        let paging = Self::among(&mut given);
        given.into_result(paging)
    }
}

impl Paging {
    /// Of a list that knows other parameters, too.
    pub(super) fn among(given: &mut Given) -> Self {
        let limit = given.take("limit", |text| {
            let limit = text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
            limit.ok_or_else(|| format!("must be a number from 1 to {LARGEST_PAGE}"))
        });
        let after =
            given.take("cursor", |text| read_cursor(text).ok_or_else(|| "is not a nextCursor of this list".to_owned()));
        let search = given.take("q", |text| Ok(text.to_owned()));
        Self { limit: limit.unwrap_or(USUAL_PAGE), after, search }
    }
}

impl<S: Sync> FromRequestParts<S> for Wait {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let mut given = Given::of(parts, &["wait"])?;
        let wait = given.take("wait", read_wait);
        given.into_result(Self(wait))
    }
}

impl<S: Sync> FromRequestParts<S> for Exporting {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let mut given = Given::of(parts, &["sections", "format"])?;
        let sections = given.take("sections", read_sections).unwrap_or_else(|| Kind::ALL.to_vec());
        let form = given.take("format", |text| match text {
            "json" => Ok(Form::Json),
            "yaml" => Ok(Form::Yaml),
            _ => Err("must be json or yaml".to_owned()),
        });
        given.into_result(Self { sections, form })
    }
}

impl<S: Sync> FromRequestParts<S> for Applying {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let mut given = Given::of(parts, &["dryRun", "prune", "wait"])?;
        let dry_run = given.take("dryRun", switch).unwrap_or_default();
        let prune = given.take("prune", switch).unwrap_or_default();
        let wait = Wait(given.take("wait", read_wait));
        given.into_result(Self { dry_run, prune, wait })
    }
}

pub(super) fn read_wait(text: &str) -> Result<Duration, String> {
    let wait = duration(text).filter(|wait| *wait <= LONGEST_WAIT);
    wait.ok_or_else(|| "must be a time up to 60s, such as 5s or 500ms".to_owned())
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

/// Names of sections, separated by commas.
pub(crate) fn read_sections(text: &str) -> Result<Vec<Kind>, String> {
    let kinds = text.split(',').map(|word| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == word.trim());
        kind.ok_or_else(|| {
            let known: Vec<&str> = Kind::ALL.into_iter().map(Kind::plural).collect();
            format!("\"{}\" is no section; they are {}", word.trim(), known.join(", "))
        })
    });
    kinds.collect()
}

/// `500ms`, `5s`, or plain seconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
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
