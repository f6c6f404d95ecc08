//! On a running admin API.

use std::fmt::Write;
use std::time::Duration;

use futures::StreamExt;
use gateway_config::document::Form;
use gateway_config::model::{Kind, Problem};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::Deserialize;

use super::output::Output;
use super::{Done, Order, Place, Trouble};
use crate::api::{Report, WaitingFor};
use crate::settings::TOKEN_VARIABLE;

const CONNECT: Duration = Duration::from_secs(5);
/// Between two pieces of an answer; a large document takes a minute at most to be applied, and then there is the wait.
const SILENCE: Duration = Duration::from_secs(150);

#[derive(Debug)]
pub(super) struct Remote {
    client: Client,
    url: String,
    bearer: HeaderValue,
}

/// What matters of an error's body.
#[derive(Debug, Deserialize)]
struct Refused {
    message: String,
    #[serde(default)]
    problems: Vec<Problem>,
}

/// What a 202 says beside the report.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Waited {
    waiting_for: Vec<WaitingFor>,
}

impl Remote {
    /// `None` where no address is given.
    pub(super) fn at(place: &Place) -> Result<Option<Self>, Trouble> {
        let Some(url) = place.url.as_deref().filter(|url| !url.is_empty()) else { return Ok(None) };
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(Trouble::Settings(format!(
                "--url must begin with http:// or https://, and \"{url}\" does not"
            )));
        }
        let mut bearer = bearer(place)?;
        bearer.set_sensitive(true);
        // A redirect would carry the token to somebody else.
        let client =
            Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).redirect(redirect::Policy::none());
        let client =
            client.build().map_err(|error| Trouble::Failed(format!("could not make an HTTP client: {error}")))?;
        Ok(Some(Self { client, url: url.trim_end_matches('/').to_owned(), bearer }))
    }

    pub(super) async fn export(&self, sections: &[Kind], form: Form, output: &mut Output) -> Result<(), Trouble> {
        let names: Vec<&str> = sections.iter().copied().map(Kind::plural).collect();
        let (format, accept) = match form {
            Form::Json => ("json", "application/json"),
            Form::Yaml => ("yaml", "application/yaml"),
        };
        let path = format!("/admin/config/export?format={format}&sections={}", names.join(","));
        let request = self.client.get(format!("{}{path}", self.url)).header(ACCEPT, accept);
        let answer = accepted(self.send(request).await?).await?;
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.next().await {
            output.write(&piece.map_err(|error| self.unreachable(&error))?)?;
        }
        Ok(())
    }

    pub(super) async fn apply(&self, order: Order) -> Result<Done, Trouble> {
        let Order { document, is_json, prune, dry_run, wait } = order;
        let mut path = format!("/admin/config/apply?dryRun={dry_run}&prune={prune}");
        if let Some(wait) = wait {
            // Writing to a string can't fail.
            let _ = write!(path, "&wait={}ms", wait.as_millis());
        }
        let content_type = if is_json { "application/json" } else { "application/yaml" };
        let request = self.client.post(format!("{}{path}", self.url)).header(CONTENT_TYPE, content_type).body(document);
        let answer = accepted(self.send(request).await?).await?;
        let is_everywhere = answer.status() != StatusCode::ACCEPTED;
        let body = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
        let strange =
            |error: serde_json::Error| Trouble::Failed(format!("{} answered what is no report: {error}", self.url));
        let report: Report = serde_json::from_slice(&body).map_err(strange)?;
        let waited = if is_everywhere { Waited::default() } else { serde_json::from_slice(&body).map_err(strange)? };
        Ok(Done { report, waiting_for: waited.waiting_for })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Trouble> {
        let sent = request.header(AUTHORIZATION, self.bearer.clone()).send().await;
        sent.map_err(|error| self.unreachable(&error))
    }

    /// With the last cause, which says what it was.
    fn unreachable(&self, error: &reqwest::Error) -> Trouble {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Trouble::Failed(format!("could not reach {}: {cause}", self.url))
    }
}

/// The answer, if it is none that says no.
async fn accepted(answer: Response) -> Result<Response, Trouble> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.bytes().await.unwrap_or_default();
    match serde_json::from_slice::<Refused>(&body) {
        Ok(refused) if refused.problems.is_empty() => Err(Trouble::Failed(format!("{status}: {}", refused.message))),
        Ok(refused) => Err(Trouble::Problems(refused.problems)),
        Err(_) => Err(Trouble::Failed(format!("the admin API answered {status}; is the address right?"))),
    }
}

fn bearer(place: &Place) -> Result<HeaderValue, Trouble> {
    let (text, from) = match &place.token_file {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            let wrong = |error| Trouble::Settings(format!("could not read the token in {}: {error}", path.display()));
            (read.map_err(wrong)?, path.display().to_string())
        }
        None => (std::env::var(TOKEN_VARIABLE).unwrap_or_default(), TOKEN_VARIABLE.to_owned()),
    };
    let token = text.trim();
    if token.is_empty() {
        let message = format!("there is no token for --url: set {TOKEN_VARIABLE}, or name a file with --token-file");
        return Err(Trouble::Settings(message));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Trouble::Settings(format!("the token in {from} is none: it holds blanks or odd characters")));
    }
    HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| Trouble::Settings(error.to_string()))
}
