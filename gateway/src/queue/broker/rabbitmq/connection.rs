//! A connection to RabbitMQ whose socket stays in our hands, so that it can be ended whatever state it is in.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties};
use parking_lot::Mutex;
use rustix::net::{Shutdown, shutdown};
use tokio::time::timeout;

/// Seconds between signs of life; after twice as many without one the connection is given up.
const HEARTBEAT: u16 = 5;
/// For TCP and TLS.
const SOCKET_PATIENCE: Duration = Duration::from_secs(4);

/// The socket under a connection, once there is one.
#[derive(Clone, Default)]
pub(super) struct Wire(Arc<Mutex<Option<OwnedFd>>>);

impl Wire {
    /// Whatever waits on the connection fails now, and its thread ends. A connection whose other side is silent would else live on
    /// until the kernel gives it up.
    pub(super) fn cut(&self) {
        if let Some(socket) = self.0.lock().take() {
            // It may be closed already.
            let _ = shutdown(&socket, Shutdown::Both);
        }
    }
}

pub(super) fn parse(url: &str) -> Result<AMQPUri, String> {
    // What the parser says may repeat a part of the URL, and so of a password.
    let mut uri: AMQPUri = url.parse().map_err(|_| "its URL is no amqp:// or amqps:// URL".to_owned())?;
    uri.query.heartbeat = uri.query.heartbeat.or(Some(HEARTBEAT));
    Ok(uri)
}

pub(super) async fn connect(uri: AMQPUri, wire: Wire) -> Result<Connection, lapin::Error> {
    let name = format!("gatehouse {}", env!("CARGO_PKG_VERSION"));
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime()?;
    let connecting = Connection::connector(
        uri,
        runtime,
        async move |uri: AMQPUri, runtime| {
            let opening = async {
                let plain = AMQPUri { scheme: AMQPScheme::AMQP, ..uri.clone() };
                let config = OwnedTLSConfig::default();
                let stream = plain.connect_with_config_async(config.as_ref(), &runtime).await?;
                if let AsyncTcpStream::Plain(stream) = &stream {
                    *wire.0.lock() = Some(stream.get_ref().as_fd().try_clone_to_owned()?);
                }
                match uri.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, config.as_ref()).await,
                }
            };
            let opened = timeout(SOCKET_PATIENCE, opening).await;
            opened.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(lapin::Error::from)
        },
        properties,
    );
    connecting.await
}

/// A channel on which the broker confirms what it takes.
pub(super) async fn confirming(connection: &Connection) -> Result<Channel, lapin::Error> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// Sent back when no queue takes the message.
pub(super) const MANDATORY: BasicPublishOptions = BasicPublishOptions { mandatory: true, immediate: false };
