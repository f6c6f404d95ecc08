//! Redis: one entry of a stream for each message, pipelined over one connection.

mod durability;
mod follow;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway_config::snapshot::CompiledQueue;
use prometheus::IntGauge;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamInfoGroupsReply;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::time::{Instant, timeout_at};

use super::keep::{Dial, Keeper};
use super::window::{Pass, Window};
use super::{Broker, Depth, Message, PublishError, Source};
use durability::Barrier;
pub(crate) use durability::Durability;

const CONNECT_PATIENCE: Duration = Duration::from_secs(4);

pub(super) struct Redis {
    keeper: Keeper<Dialer>,
    /// For connections that do something else than publish.
    client: Client,
    window: Window,
    /// Whether streams are not made by publishing to them.
    check_topology: bool,
}

struct Dialer {
    client: Client,
    durability: Durability,
}

struct Link {
    connection: MultiplexedConnection,
    /// None: what Redis took is as safe as its own settings make it.
    barrier: Option<Barrier>,
}

impl Redis {
    /// `name` is what logs call it.
    pub(super) fn start(
        url: &str,
        name: String,
        durability: Durability,
        check_topology: bool,
        up: IntGauge,
    ) -> Result<Self, String> {
        // What the client says may repeat a part of the URL, and so of a password.
        let client = Client::open(url).map_err(|_| "its URL is no redis:// or rediss:// URL".to_owned())?;
        let keeper = Keeper::start(Dialer { client: client.clone(), durability }, name, up);
        Ok(Self { keeper, client, window: Window::new(), check_topology })
    }

    async fn add(&self, link: Arc<Link>, message: &Message, _pass: Pass) -> Result<(), PublishError> {
        let stream = stream(&message.queue)?;
        let mut command = redis::cmd("XADD");
        command.arg(stream);
        if self.check_topology {
            command.arg("NOMKSTREAM");
        }
        command.arg("*").arg("id").arg(message.id.to_string()).arg("event").arg(&*message.event);
        let mut connection = link.connection.clone();
        match command.query_async::<Value>(&mut connection).await {
            Ok(Value::Nil) => return Err(PublishError::Unroutable(format!("there is no stream {stream:?}"))),
            Ok(_) => {}
            Err(error) => return Err(judge(&error)),
        }
        match &link.barrier {
            Some(barrier) => barrier.pass().await,
            None => Ok(()),
        }
    }
}

fn stream(queue: &CompiledQueue) -> Result<&str, PublishError> {
    let stream = queue.source.destination.stream.as_deref();
    stream.ok_or_else(|| PublishError::Unroutable("the queue names no stream".to_owned()))
}

/// What an error means for the message that met it.
fn judge(error: &RedisError) -> PublishError {
    let code = error.code().unwrap_or_default().to_owned();
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly) => PublishError::Unavailable("it is a replica".to_owned()),
        ErrorKind::Server(ServerErrorKind::BusyLoading) => {
            PublishError::Unavailable("it is still loading its data".to_owned())
        }
        ErrorKind::Server(_) | ErrorKind::Extension => match code.as_str() {
            "OOM" => PublishError::Overloaded("it is out of memory".to_owned()),
            "WRONGTYPE" => PublishError::Unroutable("its key is no stream".to_owned()),
            "" => PublishError::Unavailable("it refused the command".to_owned()),
            code => PublishError::Unavailable(format!("it says {code}")),
        },
        ErrorKind::AuthenticationFailed => PublishError::Unavailable("it refused the credentials".to_owned()),
        // A connection that broke on the way, or an answer that makes no sense.
        _ => PublishError::Unconfirmed,
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keeper.fmt(f)
    }
}

#[async_trait]
impl Broker for Redis {
    async fn publish(&self, message: &Message, patience: Duration) -> Result<(), PublishError> {
        let deadline = Instant::now() + patience;
        let link = self.keeper.link().await?;
        let pass = self.window.admit(message.event.len())?;
        let added = timeout_at(deadline, self.add(link, message, pass)).await;
        let added = added.unwrap_or(Err(PublishError::Unconfirmed));
        if matches!(added, Err(PublishError::Unconfirmed | PublishError::Unavailable(_))) {
            self.keeper.doubt();
        }
        added
    }

    fn is_up(&self) -> bool {
        self.keeper.is_up()
    }

    async fn reach(&self, patience: Duration) -> Result<(), PublishError> {
        self.keeper.reach(patience).await.map(drop)
    }

    /// What its groups have still to finish: of several, the one that is behind most. Without a group: all there is.
    async fn depth(&self, queue: &CompiledQueue) -> Result<Depth, PublishError> {
        let (link, stream) = (self.keeper.link().await?, stream(queue)?);
        let mut connection = link.connection.clone();
        let length = redis::cmd("XLEN").arg(stream).query_async::<u64>(&mut connection).await;
        let length = length.map_err(|error| judge(&error))?;
        let mut asking = redis::cmd("XINFO");
        let groups = asking.arg("GROUPS").arg(stream).query_async::<StreamInfoGroupsReply>(&mut connection).await;
        let groups = groups.map(|reply| reply.groups).unwrap_or_default();
        let behind = |group: &redis::streams::StreamInfoGroup| group.lag.map(|lag| (lag + group.pending) as u64);
        let messages = match groups.as_slice() {
            [] => Some(length),
            // Where one can't say, nobody can.
            groups => groups.iter().map(behind).collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().max()),
        };
        let consumers = groups.iter().map(|group| group.consumers as u64).sum();
        Ok(Depth { messages, consumers: Some(consumers) })
    }

    async fn follow(&self, queue: &CompiledQueue) -> Result<Box<dyn Source>, PublishError> {
        Ok(Box::new(follow::follow(self.client.clone(), stream(queue)?).await?))
    }
}

#[async_trait]
impl Dial for Dialer {
    type Link = Link;

    async fn dial(&self) -> Result<Link, String> {
        // Each command has its own patience.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(Some(CONNECT_PATIENCE));
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connecting.await.map_err(|error| reason(&error))?;
        takes_writes(&mut connection).await?;
        let barrier = self.durability.check(&mut connection).await?;
        Ok(Link { connection, barrier })
    }

    async fn is_alive(&self, link: &Link) -> bool {
        takes_writes(&mut link.connection.clone()).await.is_ok()
    }
}

/// A server that answers a PING may still be loading or be a replica. This is a write that changes nothing.
async fn takes_writes(connection: &mut MultiplexedConnection) -> Result<(), String> {
    let asked = redis::cmd("DEL").arg("gatehouse:probe").query_async::<u64>(connection).await;
    asked.map(drop).map_err(|error| reason(&error))
}

/// For people; of what the client says only what can hold no secret.
fn reason(error: &RedisError) -> String {
    match judge(error) {
        PublishError::Unavailable(why) | PublishError::Overloaded(why) => why,
        _ => match error.kind() {
            ErrorKind::Io => error.to_string(),
            kind => format!("{kind:?}"),
        },
    }
}
