//! A TCP proxy before a server, so that one world can lose it while the others keep theirs.
//!
//! Kafka tells its clients where to go on, so a proxy before it needs a broker that names the proxy
//! ([`PrivateServers`](crate::servers::private::PrivateServers)).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    servers::{address_of, with_address},
    wait::{eventually, pause},
};

/// What the way to the server is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Bytes pass in both directions.
    Open,
    /// Connections are closed and new ones refused.
    Cut,
    /// Connections stay and are accepted, and nothing passes: the half-open connection of a lost host.
    Stalled,
    /// Each chunk of bytes takes this long, in each direction.
    Delayed(Duration),
}

/// The way, and from which connection on it can be gone: earlier ones carry nothing any more, whatever the way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    way: Way,
    first_living: u64,
    server: SocketAddr,
}

/// A way to a server that can be cut, stalled, delayed and restored. It ends when this value is dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    address: SocketAddr,
    state: watch::Sender<State>,
    connections: Arc<AtomicU64>,
    listening: watch::Receiver<bool>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// A proxy before the server of this URL.
    pub async fn before(url: &str) -> Result<Self> {
        let server = address_of(url).await?;
        let first = TcpListener::bind("127.0.0.1:0").await?;
        let address = first.local_addr()?;
        let (state, states) = watch::channel(State { way: Way::Open, first_living: 0, server });
        let (told, listening) = watch::channel(true);
        let connections = Arc::default();
        let listener = tokio::spawn(listen(first, address, states, told, Arc::clone(&connections)));
        Ok(Self { url: with_address(url, address)?, address, state, connections, listening, listener })
    }

    /// The URL by which the server is reached through this proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the address at which the proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Acts as a server that vanished without closing connections, and is back: existing ones carry nothing any more, new
    /// ones pass.
    pub fn abandon_connections(&self) {
        let next = self.connections.load(Ordering::SeqCst);
        self.state.send_modify(|state| state.first_living = next);
    }

    /// Another server has taken over: connections from now on lead there. Those there are stay where they are.
    pub async fn lead_to(&self, url: &str) -> Result<()> {
        let server = address_of(url).await?;
        self.state.send_modify(|state| state.server = server);
        Ok(())
    }

    /// Closes all connections and refuses new ones.
    pub async fn cut(&self) -> Result<()> {
        self.turn(Way::Cut).await
    }

    /// Lets nothing pass, without closing anything.
    pub async fn stall(&self) -> Result<()> {
        self.turn(Way::Stalled).await
    }

    /// Delays each chunk of bytes.
    pub async fn delay(&self, by: Duration) -> Result<()> {
        self.turn(Way::Delayed(by)).await
    }

    /// Lets everything pass again.
    pub async fn restore(&self) -> Result<()> {
        self.turn(Way::Open).await
    }

    async fn turn(&self, way: Way) -> Result<()> {
        self.state.send_modify(|state| state.way = way);
        let wanted = way != Way::Cut;
        eventually("the proxy has turned", Duration::from_secs(5), async || *self.listening.borrow() == wanted).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Accepts connections unless the way is cut. While it is cut, the port stays taken and nothing listens.
async fn listen(
    first: TcpListener,
    address: SocketAddr,
    mut states: watch::Receiver<State>,
    told: watch::Sender<bool>,
    connections: Arc<AtomicU64>,
) {
    let (mut listener, mut held) = (Some(first), None);
    loop {
        let cut = states.borrow_and_update().way == Way::Cut;
        if cut && listener.is_some() {
            listener = None;
            held = hold(address).ok();
        } else if !cut && listener.is_none() {
            let socket = held.take().map_or_else(|| hold(address), Ok);
            listener = socket.and_then(|socket| socket.listen(1024)).ok();
        }
        told.send_replace(listener.is_some());
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                // Somebody holds the port for a moment: tried again. While cut, only a change matters.
                None if !cut => {
                    pause(Duration::from_millis(50)).await;
                    None
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            client = accepted => if let Some((client, _)) = client {
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let server = states.borrow().server;
                tokio::spawn(carry(client, server, states.clone(), number));
            },
            changed = states.changed() => if changed.is_err() { return },
        }
    }
}

/// A socket that has the address and does not listen.
pub(crate) fn hold(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Carries bytes both ways until one side ends, the way is cut or the proxy is gone.
async fn carry(client: TcpStream, server: SocketAddr, states: watch::Receiver<State>, number: u64) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut gate = states.clone();
    tokio::select! {
        biased;
        _ = gate.wait_for(|state| state.way == Way::Cut && state.first_living <= number) => {},
        () = pump(from_client, to_server, states.clone(), number) => {},
        () = pump(from_server, to_client, states, number) => {},
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut states: watch::Receiver<State>,
    number: u64,
) {
    let passes = |state: &State| state.way != Way::Stalled && state.first_living <= number;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut chunk).await.unwrap_or(0);
        // The answer is looked at after the read: a chunk, or an end, that comes while nothing passes waits here.
        let Ok(way) = states.wait_for(passes).await.map(|state| state.way) else {
            return;
        };
        if let Way::Delayed(by) = way {
            pause(by).await;
        }
        if length == 0 || to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}
