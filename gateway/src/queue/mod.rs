//! Requests for later: accepted as messages, confirmed by a broker, followed as tasks.
//!
//! `accept` is a request's way through this room; `broker` is what stands behind it; `task` is what the client hears afterwards.

mod accept;
mod body;
pub(crate) mod broker;
mod event;
mod settings;
pub(crate) mod task;

use std::collections::HashMap;
use std::sync::Arc;

use gateway_config::master_key::MasterKey;
use gateway_config::model::{Application, Queue};
use gateway_config::snapshot::{Code, CompiledQueue, Refusal};
use parking_lot::Mutex;
use pingora::Result;
use pingora::proxy::Session;
use tokio::runtime::Handle;

use crate::reply;
use crate::request::RequestCtx;
use accept::{NotAccepted, accept};
use broker::{Broker, Message};
use settings::Connections;
use task::{TaskKeys, Tasks};

pub(crate) use settings::QueueSettings;

/// What queues need. It outlives every snapshot.
#[derive(Debug)]
pub(crate) struct Queues {
    keys: TaskKeys,
    tasks: Tasks,
    connections: Connections,
    /// By kind and connection; made when a queue first asks for one.
    brokers: Mutex<HashMap<String, Arc<dyn Broker>>>,
    /// Without a slash at the end.
    public_url: Option<String>,
    /// Where workers on this machine reach the gateway, if nothing else is known.
    local_url: String,
    /// Work that outlives its request runs here, not on the proxy's threads.
    control: Handle,
}

impl Queues {
    /// `local`: the traffic address as it was bound.
    pub(crate) fn open(
        master: &MasterKey,
        settings: &QueueSettings,
        redis_url: Option<&str>,
        local: std::net::SocketAddr,
    ) -> Arc<Self> {
        let reachable = if local.ip().is_unspecified() {
            std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, local.port()))
        } else {
            local
        };
        Arc::new(Self {
            keys: TaskKeys::of(master),
            tasks: Tasks,
            connections: Connections::of(settings, redis_url),
            brokers: Mutex::default(),
            public_url: settings.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
            local_url: format!("http://{reachable}"),
            control: Handle::current(),
        })
    }

    /// The broker behind a queue; `None`: this gateway was not told where it is.
    fn broker(&self, queue: &Queue) -> Option<Arc<dyn Broker>> {
        let _url = self.connections.url(queue)?;
        let key = format!("{}/{}", settings::word(queue.broker), queue.connection.as_deref().unwrap_or_default());
        self.brokers.lock().get(&key).cloned()
    }

    /// Keeps the message until its broker is back.
    #[expect(clippy::unused_async, reason = "the spool waits for its disk")]
    async fn spool(&self, _message: Message) -> Result<(), Refusal> {
        Err(Refusal::new(Code::QueueUnavailable))
    }

    /// Whether this URL may be called at the end of a task of this application.
    fn check_callback(&self, _url: &str, _application: Option<&Application>) -> Result<(), Refusal> {
        let message = "X-Callback-Url is not served yet by this version";
        Err(Refusal { message: Some(message.into()), ..Refusal::new(Code::BadRequest) })
    }

    /// Where workers report, and where the client looks.
    fn status_urls(&self, id: &str, capability: Option<&str>) -> (String, String) {
        let worker = format!("{}/tasks/{id}/status", self.public_url.as_deref().unwrap_or(&self.local_url));
        let query = capability.map(|capability| format!("?capability={capability}")).unwrap_or_default();
        // A client knows best how it reached us, unless the operator knows better.
        (worker, format!("{}/tasks/{id}{query}", self.public_url.as_deref().unwrap_or_default()))
    }
}

/// Answers a request whose target is a queue.
pub(crate) async fn publish(
    queues: &Arc<Queues>,
    queue: &Arc<CompiledQueue>,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    match accept(queues, queue, session, ctx).await {
        Ok(answer) => reply::answer(session, answer, ctx.frame()).await,
        Err(not) => {
            let (refusal, problems) = match not {
                NotAccepted::Refused(refusal) => (refusal, Vec::new()),
                NotAccepted::Unfit(problems) => (Refusal::new(Code::PayloadInvalid), problems),
            };
            ctx.refused = Some(refusal.code);
            // What is left of a body that was not read to its end would be read as the next request.
            if !session.as_mut().is_body_done() {
                session.set_keepalive(None);
            }
            reply::refuse_with(session, &refusal, &problems, ctx.frame()).await
        }
    }
}
