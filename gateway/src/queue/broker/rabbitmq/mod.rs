//! RabbitMQ: publisher confirms, every message persistent and mandatory.

mod connection;
mod follow;
mod lane;
mod topology;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use gateway_config::model::Queue;
use gateway_config::snapshot::CompiledQueue;
use lapin::Connection;
use lapin::uri::AMQPUri;
use parking_lot::{Mutex, RwLock};
use prometheus::IntGauge;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout_at;

use super::keep::{Dial, Keeper};
use super::window::{Pass, Window};
use super::{Broker, Depth, Message, PublishError, Source};
use connection::Wire;
use lane::{Destination, Lane, Largest};

/// Before a message that was refused for now is sent again: a queue that is just being made, or whose leader is just being elected, refuses
/// what comes meanwhile.
const NACKED_PAUSES: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(40), Duration::from_millis(80), Duration::from_millis(160)];
/// What the broker said no to is not asked again so soon.
const NO_HOLDS: Duration = Duration::from_secs(1);

pub(super) struct RabbitMq {
    keeper: Keeper<Dialer>,
    window: Window,
    /// Whether nothing is made on the broker.
    check_topology: bool,
    /// Exchanges that channels follow: a message that reaches nobody but followers does not come back.
    followed: RwLock<HashSet<String>>,
}

struct Dialer {
    uri: AMQPUri,
}

/// One connection and its channels.
struct Link {
    connection: Connection,
    wire: Wire,
    lanes: Mutex<HashMap<Destination, Arc<Door>>>,
    largest: Largest,
    /// The queues that are known to have all that a worker needs.
    made: AsyncMutex<HashSet<String>>,
}

/// The way to a lane: one opens it, the others wait.
#[derive(Default)]
struct Door(AsyncMutex<Way>);

#[derive(Default)]
enum Way {
    #[default]
    Unknown,
    Open(Arc<Lane>),
    Closed {
        why: PublishError,
        until: Instant,
    },
}

impl RabbitMq {
    /// `name` is what logs call it.
    pub(super) fn start(url: &str, name: String, check_topology: bool, up: IntGauge) -> Result<Self, String> {
        let dialer = Dialer { uri: connection::parse(url)? };
        let keeper = Keeper::start(dialer, name, up);
        Ok(Self { keeper, window: Window::new(), check_topology, followed: RwLock::default() })
    }

    async fn send(&self, link: &Link, message: &Message, patience: tokio::time::Instant) -> Result<(), PublishError> {
        link.largest.check(message.event.len())?;
        let pass = self.window.admit(message.event.len())?;
        let destination = topology::destination(&message.queue.source);
        let opening = link.lane(&destination, !self.check_topology);
        let Ok(lane) = timeout_at(patience, opening).await else {
            self.keeper.doubt();
            return Err(PublishError::Unavailable("no channel could be opened in time".to_owned()));
        };
        let lane = lane?;
        let sent = match self.prepare(link, &message.queue.source, &destination.exchange, patience).await {
            Ok(()) => confirmed(&lane, message.id.to_string(), &message.event, pass, patience).await,
            Err(error) => Err(error),
        };
        if matches!(sent, Err(PublishError::Unconfirmed | PublishError::Unavailable(_))) {
            self.keeper.doubt();
        }
        sent
    }

    /// Makes what the message lacks, where it came back.
    async fn send_or_make(
        &self,
        link: &Link,
        message: &Message,
        deadline: tokio::time::Instant,
    ) -> Result<(), PublishError> {
        let sent = self.send(link, message, deadline).await;
        if self.check_topology || !matches!(sent, Err(PublishError::Unroutable(_))) {
            return sent;
        }
        match timeout_at(deadline, link.make(&message.queue.source)).await {
            Ok(made) => made?,
            Err(_) => return sent,
        }
        self.send(link, message, deadline).await
    }

    /// Where messages reach followers at least, and so are never sent back, the worker's queue must be there beforehand.
    async fn prepare(
        &self,
        link: &Link,
        queue: &Queue,
        exchange: &str,
        patience: tokio::time::Instant,
    ) -> Result<(), PublishError> {
        if self.check_topology || !self.followed.read().contains(exchange) {
            return Ok(());
        }
        let late = || PublishError::Unavailable("its queue could not be made in time".to_owned());
        timeout_at(patience, link.make_once(queue)).await.unwrap_or_else(|_| Err(late()))
    }
}

async fn confirmed(
    lane: &Lane,
    id: String,
    event: &Bytes,
    pass: Pass,
    patience: tokio::time::Instant,
) -> Result<(), PublishError> {
    let sending = lane.send(id, event.clone(), pass);
    timeout_at(patience, sending).await.unwrap_or(Err(PublishError::Unconfirmed))
}

impl fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keeper.fmt(f)
    }
}

#[async_trait]
impl Broker for RabbitMq {
    async fn publish(&self, message: &Message, patience: Duration) -> Result<(), PublishError> {
        let deadline = tokio::time::Instant::now() + patience;
        let link = self.keeper.link().await?;
        if link.connection.status().blocked() {
            return Err(PublishError::Unavailable("RabbitMQ is short of memory or disk and takes nothing".to_owned()));
        }
        for pause in NACKED_PAUSES {
            match self.send_or_make(&link, message, deadline).await {
                Err(PublishError::Nacked) => tokio::time::sleep(pause).await,
                sent => return sent,
            }
        }
        self.send_or_make(&link, message, deadline).await
    }

    fn is_up(&self) -> bool {
        self.keeper.is_up()
    }

    async fn reach(&self, patience: Duration) -> Result<(), PublishError> {
        self.keeper.reach(patience).await.map(drop)
    }

    async fn depth(&self, queue: &CompiledQueue) -> Result<Depth, PublishError> {
        let link = self.keeper.link().await?;
        let name = topology::waits_in(&queue.source);
        let unavailable = |error: lapin::Error| PublishError::Unavailable(error.to_string());
        match topology::counts(&link.connection, &name).await.map_err(unavailable)? {
            Some((messages, consumers)) => {
                Ok(Depth { messages: Some(messages.into()), consumers: Some(consumers.into()) })
            }
            None => Ok(Depth::default()),
        }
    }

    fn will_be_followed(&self, queue: &Queue) {
        let exchange = topology::destination(queue).exchange;
        if !exchange.is_empty() && !self.followed.read().contains(&exchange) {
            self.followed.write().insert(exchange);
        }
    }

    async fn follow(&self, queue: &CompiledQueue) -> Result<Box<dyn Source>, PublishError> {
        let destination = topology::destination(&queue.source);
        if destination.exchange.is_empty() {
            let why = "a channel needs an exchange: what comes by exchange \"\" is its worker's alone";
            return Err(PublishError::Unroutable(why.to_owned()));
        }
        self.will_be_followed(&queue.source);
        let link = self.keeper.link().await?;
        let following = async {
            topology::exchange(&link.connection, &destination.exchange, !self.check_topology).await?;
            follow::follow(&link.connection, &destination).await
        };
        let following = following.await;
        if matches!(following, Err(PublishError::Unavailable(_))) {
            self.keeper.doubt();
        }
        Ok(Box::new(following?))
    }
}

#[async_trait]
impl Dial for Dialer {
    type Link = Link;

    async fn dial(&self) -> Result<Link, String> {
        let wire = Wire::default();
        let link = connection::connect(self.uri.clone(), wire.clone());
        // If this is dropped before it is done, the socket goes with it.
        let guard = CutOnDrop(Some(wire.clone()));
        let connection = link.await.map_err(|error| error.to_string())?;
        guard.keep();
        Ok(Link { connection, wire, lanes: Mutex::default(), largest: Largest::default(), made: AsyncMutex::default() })
    }

    async fn is_alive(&self, link: &Link) -> bool {
        // A broker that is short of memory answers nothing on a connection that published, and says so beforehand.
        if link.connection.status().blocked() {
            return true;
        }
        let Ok(channel) = link.connection.create_channel().await else { return false };
        let _ = channel.close(200, "alive".into()).await;
        true
    }

    fn is_lost(&self, link: &Link) -> bool {
        !link.connection.status().connected()
    }

    fn hang_up(&self, link: &Link) {
        link.wire.cut();
    }
}

struct CutOnDrop(Option<Wire>);

impl CutOnDrop {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if let Some(wire) = &self.0 {
            wire.cut();
        }
    }
}

impl Link {
    /// The channel to a destination, opened when it is first used and again when it was closed.
    async fn lane(&self, destination: &Destination, may_make: bool) -> Result<Arc<Lane>, PublishError> {
        let door = self.lanes.lock().entry(destination.clone()).or_default().clone();
        let mut way = door.0.lock().await;
        match &*way {
            Way::Open(lane) if lane.is_open() => return Ok(lane.clone()),
            Way::Closed { why, until } if *until > Instant::now() => return Err(why.clone()),
            _ => {}
        }
        match self.open(destination, may_make).await {
            Ok(lane) => {
                let lane = Arc::new(lane);
                *way = Way::Open(lane.clone());
                Ok(lane)
            }
            Err(why) => {
                *way = Way::Closed { why: why.clone(), until: Instant::now() + NO_HOLDS };
                Err(why)
            }
        }
    }

    async fn open(&self, destination: &Destination, may_make: bool) -> Result<Lane, PublishError> {
        topology::exchange(&self.connection, &destination.exchange, may_make).await?;
        let channel = connection::confirming(&self.connection).await;
        let channel = channel.map_err(|error| PublishError::Unavailable(error.to_string()))?;
        Ok(Lane::open(channel, destination.clone(), self.largest.clone()))
    }

    /// Sees to it once that a queue's worker will find what it needs.
    async fn make_once(&self, queue: &Queue) -> Result<(), PublishError> {
        let mut made = self.made.lock().await;
        if !made.contains(&queue.name) {
            self.make(queue).await?;
            made.insert(queue.name.clone());
        }
        Ok(())
    }

    /// Makes what is missing. Many may ask at once: all but the first find it there.
    async fn make(&self, queue: &Queue) -> Result<(), PublishError> {
        topology::make(&self.connection, queue).await
    }
}
