//! A TCP proxy before PostgreSQL or Redis, so that one world can lose its server while the others keep theirs.
//! (Kafka tells its clients where it listens, so a proxy before it would be walked around.)

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
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
    /// Bytes pass.
    Open,
    /// Connections are closed and new ones refused.
    Cut,
    /// Connections stay and are accepted, and nothing passes: the half-open connection of a lost host.
    Stalled,
    /// Each chunk of bytes takes this long, in each direction.
    Delayed(Duration),
}

/// A way to a server that can be cut, stalled, delayed and restored. It ends when this value is dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    way: watch::Sender<Way>,
    listening: watch::Receiver<bool>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// A proxy before the server of this URL.
    pub async fn before(url: &str) -> Result<Self> {
        let server = address_of(url).await?;
        let first = TcpListener::bind("127.0.0.1:0").await?;
        let address = first.local_addr()?;
        let (way, ways) = watch::channel(Way::Open);
        let (told, listening) = watch::channel(true);
        let listener = tokio::spawn(listen(first, address, server, ways, told));
        Ok(Self { url: with_address(url, address)?, way, listening, listener })
    }

    /// The URL by which the server is reached through this proxy.
    pub fn url(&self) -> &str {
        &self.url
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
        self.way.send_replace(way);
        let wanted = way != Way::Cut;
        eventually("the proxy has turned", Duration::from_secs(5), async || *self.listening.borrow() == wanted).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Accepts while the way is not cut, and gives the port up while it is.
async fn listen(
    first: TcpListener,
    address: SocketAddr,
    server: SocketAddr,
    mut ways: watch::Receiver<Way>,
    told: watch::Sender<bool>,
) {
    let mut listener = Some(first);
    loop {
        let cut = *ways.borrow_and_update() == Way::Cut;
        if cut {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
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
                tokio::spawn(carry(client, server, ways.clone()));
            },
            changed = ways.changed() => if changed.is_err() { return },
        }
    }
}

/// Carries bytes both ways until one side ends, the way is cut or the proxy is gone.
async fn carry(client: TcpStream, server: SocketAddr, ways: watch::Receiver<Way>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut gate = ways.clone();
    tokio::select! {
        () = pump(from_client, to_server, ways.clone()) => {},
        () = pump(from_server, to_client, ways) => {},
        _ = gate.wait_for(|way| *way == Way::Cut) => {},
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut ways: watch::Receiver<Way>) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        // The answer is looked at after the read: a chunk that arrives while the way is stalled waits here.
        let Ok(way) = ways.wait_for(|way| *way != Way::Stalled).await.map(|way| *way) else {
            return;
        };
        if let Way::Delayed(by) = way {
            pause(by).await;
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}
