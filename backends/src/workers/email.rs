//! Mails: over SMTP where a server is named, else into a folder. What the queue `password-reset` carries becomes a mail with a link to choose
//! a new password; everything else says itself what to send to whom.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::{
    event::Event,
    report::{client, is_for_later},
    settings::Settings,
    worker::Outcome,
};
use crate::token;

/// For each answer of the mail server and of the service that knows the accounts.
const PATIENCE: Duration = Duration::from_secs(10);
const RESETS: &str = "password-reset";

#[derive(Debug)]
pub(super) struct Email {
    out: Out,
    from: Mailbox,
    accounts: Accounts,
    /// Where a password is chosen anew.
    page: Url,
}

#[derive(Debug)]
enum Out {
    Server(AsyncSmtpTransport<Tokio1Executor>),
    Folder(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mail {
    to: String,
    subject: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    email: String,
}

/// Why a mail was not sent.
enum Unsent {
    Never(String),
    NotNow(String),
}

impl Email {
    pub(super) async fn open(settings: &Settings, data_dir: &Path) -> Result<Self> {
        let out = if let Some(url) = settings.smtp_url.as_deref().filter(|url| !url.is_empty()) {
            let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url).ok();
            // What the parser says may repeat the password in it.
            let transport = transport.context("SMTP_URL is no smtp://HOST:PORT or smtps://… URL")?;
            Out::Server(transport.timeout(Some(PATIENCE)).build())
        } else {
            let folder = data_dir.join("outbox");
            tokio::fs::create_dir_all(&folder).await.with_context(|| format!("could not make {}", folder.display()))?;
            info!("no SMTP_URL is set: mails are not sent, but written to {}", folder.display());
            Out::Folder(folder)
        };
        let from = settings.mail_from.parse().context("MAIL_FROM is no address such as Shop <shop@example.com>")?;
        let page = settings.reset_url.parse().context("RESET_URL is no URL")?;
        let auth: Url = settings.auth_url.parse().context("AUTH_URL is no URL")?;
        let accounts = Accounts {
            client: client(PATIENCE)?,
            url: auth.join("/auth/password-reset/tokens").context("AUTH_URL is no URL")?,
            token: token::of_workers(data_dir, settings.auth_worker_token.as_deref()).await?,
        };
        Ok(Self { out, from, accounts, page })
    }

    pub(super) async fn handle(&self, event: &Event) -> Outcome {
        if event.queue() == RESETS {
            return match event.ask() {
                Ok(reset) => self.reset(event, reset).await,
                Err(why) => Outcome::Failed(why),
            };
        }
        let mail: Mail = match event.ask() {
            Ok(mail) => mail,
            Err(why) => return Outcome::Failed(why),
        };
        match self.send(event, &mail).await {
            Ok(sent) => Outcome::Done(sent),
            Err(Unsent::Never(why)) => Outcome::Failed(why),
            Err(Unsent::NotNow(why)) => Outcome::Again(why),
        }
    }

    /// Answers the same whether there is such an account or not: else anybody could find out who has one.
    async fn reset(&self, event: &Event, Reset { email }: Reset) -> Outcome {
        let told =
            Outcome::Done(json!({"message": "if there is an account with this address, a mail is on its way to it"}));
        let token = match self.accounts.token_for(&email).await {
            Ok(Some(token)) => token,
            // A mail server that is away holds up both kinds alike.
            Ok(None) => return self.is_reachable().await.map_or_else(Outcome::Again, |()| told),
            Err(why) => return Outcome::Again(why),
        };
        let mut link = self.page.clone();
        // Behind the #, where neither servers nor their logs see it.
        link.set_fragment(Some(&format!("token={token}")));
        let text = format!(
            "Somebody, probably you, has forgotten the password of your account.\n\nChoose a new one within an hour:\n{link}\n\n\
             If it was not you, there is nothing to do: nothing was changed.\n"
        );
        match self.send(event, &Mail { to: email, subject: "A new password".to_owned(), text }).await {
            Ok(_) => told,
            Err(Unsent::Never(why)) => {
                warn!(task = event.id, why, "the mail about a forgotten password can't be delivered");
                told
            }
            Err(Unsent::NotNow(why)) => Outcome::Again(why),
        }
    }

    async fn is_reachable(&self) -> Result<(), String> {
        match &self.out {
            Out::Folder(_) => Ok(()),
            Out::Server(server) => server.test_connection().await.map(drop).map_err(|_| AWAY.to_owned()),
        }
    }

    async fn send(&self, event: &Event, mail: &Mail) -> Result<Value, Unsent> {
        let never = |why: String| Unsent::Never(why);
        let to: Mailbox = mail.to.parse().map_err(|_| never("`to` is no mail address".to_owned()))?;
        // The same for each attempt: a mail server that knows it may drop the second.
        let id = format!("{}@gatehouse", file_name(&event.id));
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .message_id(Some(format!("<{id}>")))
            .subject(&mail.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.clone())
            .map_err(|cause| never(format!("there can be no such mail: {cause}")))?;
        match &self.out {
            Out::Server(server) => match server.send(message).await {
                Ok(_) => Ok(json!({"messageId": id})),
                Err(cause) if cause.is_permanent() => Err(never(format!("the mail server refused it: {cause}"))),
                Err(cause) => {
                    warn!(task = event.id, %cause, "could not send a mail");
                    Err(Unsent::NotNow(AWAY.to_owned()))
                }
            },
            Out::Folder(folder) => {
                let file = folder.join(format!("{}.eml", file_name(&event.id)));
                let written = tokio::fs::write(&file, message.formatted()).await;
                written.map_err(|cause| Unsent::NotNow(format!("could not write the mail: {cause}")))?;
                info!(task = event.id, "no SMTP_URL is set: a mail was written to {}", file.display());
                Ok(json!({"messageId": id, "writtenTo": file}))
            }
        }
    }
}

const AWAY: &str = "the mail server can't be reached or does not take the mail now";

/// Ids are letters, digits, - and _; whatever else a stranger wrote into one leads nowhere.
fn file_name(id: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || "-_".contains(letter) { letter } else { '_' };
    id.chars().map(plain).take(200).collect()
}

/// The service that knows the accounts.
#[derive(Debug)]
struct Accounts {
    client: Client,
    url: Url,
    token: token::Token,
}

impl Accounts {
    /// What lets the account's owner choose a new password; `None`: there is no such account.
    async fn token_for(&self, email: &str) -> Result<Option<String>, String> {
        #[derive(Deserialize)]
        struct Made {
            token: String,
        }
        let asking = self.client.post(self.url.clone()).bearer_auth(self.token.text()).json(&json!({"email": email}));
        let answer = asking.send().await.map_err(|cause| format!("the accounts: {}", cause.without_url()))?;
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => Ok(None),
            status if status.is_success() => {
                let made: Made = answer.json().await.map_err(|_| "the accounts: no token in the answer".to_owned())?;
                Ok(Some(made.token))
            }
            status => {
                if !is_for_later(status) {
                    warn!(
                        status = status.as_u16(),
                        "the service with the accounts refuses this worker: see AUTH_WORKER_TOKEN"
                    );
                }
                Err(format!("the accounts: status {}", status.as_u16()))
            }
        }
    }
}
