//! An identity provider that publishes its JWK Set, or misbehaves on demand, by HTTP or HTTPS.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};

/// Longest time that a client may take for its request.
const PATIENCE: Duration = Duration::from_secs(2);

/// The provider; it ends when this is dropped.
#[derive(Debug)]
pub struct IdentityProvider {
    address: SocketAddr,
    root: Option<String>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// What is answered; empty: the connection is closed without an answer.
    answer: Mutex<String>,
    asked: AtomicU64,
    is_over: AtomicBool,
}

impl IdentityProvider {
    /// One that speaks HTTP.
    pub fn plain() -> Result<Self> {
        Self::start(None, None)
    }

    /// One that speaks HTTPS, with a certificate that only [`IdentityProvider::root_certificate`] vouches for.
    pub fn with_tls() -> Result<Self> {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)?;
        Self::start(Some(Arc::new(config)), Some(certified.cert.pem()))
    }

    fn start(tls: Option<Arc<ServerConfig>>, root: Option<String>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, shared) = (listener.local_addr()?, Arc::<Shared>::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for client in listener.incoming().flatten() {
                    if shared.is_over.load(Ordering::Acquire) {
                        return;
                    }
                    // A client that hangs up, or does not believe the certificate, is a matter of the client.
                    let _ = shared.serve(client, tls.clone());
                }
            }
        });
        Ok(Self { address, root, shared, thread: Some(thread) })
    }

    /// Where the set is.
    pub fn url(&self) -> String {
        format!("{}://{}/keys?client=s3cr3t", if self.root.is_some() { "https" } else { "http" }, self.address)
    }

    /// The certificate by which the provider is verified, as PEM; empty without TLS.
    pub fn root_certificate(&self) -> &str {
        self.root.as_deref().unwrap_or_default()
    }

    /// Publishes these keys from now on.
    pub fn publish(&self, keys: &[Value]) {
        self.answer(200, "", &json!({ "keys": keys }).to_string());
    }

    /// Answers with this status, further header lines, and body from now on.
    pub fn answer(&self, status: u16, headers: &str, body: &str) {
        let head =
            format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        *self.shared.lock() = head + body;
    }

    /// Closes every connection without an answer from now on.
    pub fn go_away(&self) {
        self.shared.lock().clear();
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Acquire)
    }
}

impl Shared {
    fn serve(&self, client: TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<()> {
        client.set_read_timeout(Some(PATIENCE))?;
        match tls {
            Some(config) => self.reply(&mut StreamOwned::new(ServerConnection::new(config)?, client)),
            None => self.reply(&mut &client),
        }
    }

    fn reply(&self, client: &mut (impl Read + Write)) -> Result<()> {
        let (mut request, mut some) = (Vec::new(), [0; 1024]);
        while !request.ends_with(b"\r\n\r\n") {
            let count = client.read(&mut some)?;
            anyhow::ensure!(count > 0, "the client has hung up");
            request.extend_from_slice(&some[..count]);
        }
        self.asked.fetch_add(1, Ordering::AcqRel);
        let answer = self.lock().clone();
        client.write_all(answer.as_bytes())?;
        Ok(client.flush()?)
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for IdentityProvider {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // Wakes the thread, which then looks.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
