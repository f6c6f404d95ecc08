//! A network that can be cut: everything goes through it to one server.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// What is sent arrives, and nothing comes back.
    Mute,
    /// Connections stay, and carry nothing.
    Frozen,
    /// Connections break, and new ones are closed at once.
    Down,
}

/// Lives as long as the test's runtime.
#[derive(Debug)]
pub struct Network {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
}

impl Network {
    /// `server`: host and port.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, weather) = (listener.local_addr().unwrap(), watch::Sender::new(Weather::Fair));
        let (server, sky) = (server.to_owned(), weather.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), sky.clone()));
            }
        });
        Self { address, weather }
    }

    /// The URL with this network before its server.
    pub async fn before(url: &str) -> (Self, String) {
        let authority = url.split("://").nth(1).unwrap().split('/').next().unwrap();
        let server = authority.rsplit('@').next().unwrap();
        let network = Self::to(server).await;
        let through = url.replacen(server, &network.address.to_string(), 1);
        (network, through)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn carry(client: TcpStream, server: String, mut sky: watch::Receiver<Weather>) {
    // A frozen network does not even let one in; the kernel has done so already.
    let _ = sky.wait_for(|weather| *weather != Weather::Frozen).await;
    if *sky.borrow() == Weather::Down {
        return;
    }
    let Ok(upstream) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = upstream.into_split();
    // Whichever ends first ends both.
    tokio::select! {
        () = pass(from_client, to_server, sky.clone(), &[Weather::Fair, Weather::Mute]) => {}
        () = pass(from_server, to_client, sky.clone(), &[Weather::Fair]) => {}
        _ = sky.wait_for(|weather| *weather == Weather::Down) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut sky: watch::Receiver<Weather>,
    in_weather: &[Weather],
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        let _ = sky.wait_for(|weather| in_weather.contains(weather)).await;
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
