//! A mail server that keeps what it gets: real sockets, as much of SMTP as a client needs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::backend::Gate;

/// A mail as it was taken.
#[derive(Clone, Debug)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    /// Headers and text.
    pub text: String,
}

impl Mail {
    /// The text as its reader sees it.
    pub fn body(&self) -> String {
        let (head, body) = self.text.split_once("\n\n").expect("a mail has a body");
        if !head.to_ascii_lowercase().contains("transfer-encoding: quoted-printable") {
            return body.to_owned();
        }
        let whole = body.replace("=\n", "");
        let mut parts = whole.split('=');
        let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            let (code, rest) = part.split_at_checked(2).expect("two digits stand behind =");
            bytes.push(u8::from_str_radix(code, 16).expect("they are hexadecimal"));
            bytes.extend_from_slice(rest.as_bytes());
        }
        String::from_utf8(bytes).expect("a text in UTF-8")
    }
}

/// Stops on drop.
#[derive(Debug)]
pub struct SmtpSink {
    address: SocketAddr,
    seen: Arc<Seen>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Seen {
    mails: Mutex<Vec<Mail>>,
    /// Mails that were begun, whatever came of them.
    begun: Mutex<Vec<String>>,
    /// Closed: a mail is not taken before it opens.
    gate: Gate,
}

impl SmtpSink {
    pub async fn start() -> Self {
        let gate = Gate::default();
        gate.open();
        Self::held_by(gate).await
    }

    /// Takes mails once the gate is open.
    pub async fn held_by(gate: Gate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen { mails: Mutex::default(), begun: Mutex::default(), gate });
        let theirs = seen.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Session::new(stream, theirs.clone()).run());
            }
        });
        Self { address, seen, serving }
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub fn mails(&self) -> Vec<Mail> {
        self.seen.mails.lock().unwrap().clone()
    }

    /// The addresses of all mails that were begun.
    pub fn begun(&self) -> Vec<String> {
        self.seen.begun.lock().unwrap().clone()
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Session {
    lines: Lines<BufReader<OwnedReadHalf>>,
    out: OwnedWriteHalf,
    seen: Arc<Seen>,
    mail: Mail,
}

impl Session {
    fn new(stream: TcpStream, seen: Arc<Seen>) -> Self {
        let (read, out) = stream.into_split();
        let mail = Mail { from: String::new(), to: Vec::new(), text: String::new() };
        Self { lines: BufReader::new(read).lines(), out, seen, mail }
    }

    /// Until the client has enough or breaks off.
    async fn run(mut self) {
        let _ = self.talk().await;
    }

    async fn talk(&mut self) -> std::io::Result<()> {
        self.say("220 sink").await?;
        while let Some(line) = self.lines.next_line().await? {
            let command = line.to_ascii_uppercase();
            let address = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            if command.starts_with("MAIL FROM:") {
                self.mail = Mail { from: address(), to: Vec::new(), text: String::new() };
                self.say("250 ok").await?;
            } else if command.starts_with("RCPT TO:") {
                self.seen.begun.lock().unwrap().push(address());
                // Whose box is full is told so each time; whom nobody knows, too.
                if address().starts_with("full") {
                    self.say("452 the box is full").await?;
                } else if address().starts_with("nobody") {
                    self.say("550 nobody knows them").await?;
                } else {
                    self.mail.to.push(address());
                    self.say("250 ok").await?;
                }
            } else if command == "DATA" {
                self.take().await?;
            } else if command == "QUIT" {
                return self.say("221 bye").await;
            } else {
                self.say("250 ok").await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self) -> std::io::Result<()> {
        self.seen.gate.wait().await;
        self.say("354 go on").await?;
        while let Some(line) = self.lines.next_line().await? {
            if line == "." {
                self.seen.mails.lock().unwrap().push(self.mail.clone());
                return self.say("250 taken").await;
            }
            self.mail.text.push_str(line.strip_prefix('.').unwrap_or(&line));
            self.mail.text.push('\n');
        }
        Ok(())
    }

    async fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.out.write_all(format!("{line}\r\n").as_bytes()).await
    }
}
