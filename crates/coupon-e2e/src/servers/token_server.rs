//! A token server as an identity provider has one, over TLS: tokens by the client credentials grant.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;

use super::{brokers, certificates::Certificate};

/// The key that signs tokens, and what the brokers need to believe them.
#[derive(Clone)]
pub struct TokenKey {
    key: EncodingKey,
    /// The set of public keys.
    pub jwks: String,
}

/// The server. It serves until the process ends.
#[derive(Debug)]
pub struct TokenServer {
    port: u16,
    given: Arc<AtomicU32>,
    refuses: Arc<AtomicBool>,
}

impl TokenKey {
    /// Makes a key.
    pub fn new() -> Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let key = EncodingKey::from_ec_pem(rcgen::KeyPair::generate()?.serialize_pem().as_bytes())?;
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::ES256)?)?;
        jwk["kid"] = json!("of-a-test");
        Ok(Self { key, jwks: json!({ "keys": [jwk] }).to_string() })
    }

    fn token(&self, subject: &str, lifetime_s: i64) -> Result<String> {
        let now = chrono::Utc::now().timestamp();
        let claims = json!({
            "iss": brokers::ISSUER, "aud": brokers::AUDIENCE, "sub": subject, "scope": "kafka",
            "iat": now, "exp": now + lifetime_s,
        });
        let header = Header { kid: Some("of-a-test".to_owned()), ..Header::new(Algorithm::ES256) };
        Ok(jsonwebtoken::encode(&header, &claims, &self.key)?)
    }
}

impl TokenServer {
    /// Gives tokens of this lifetime to whoever knows the secret; the subject is the client's id.
    pub fn start(key: TokenKey, certificate: &Certificate, secret: &str, lifetime_s: i64) -> Result<Self> {
        let chain = vec![CertificateDer::from_pem_file(&certificate.certificate)?];
        let private = PrivateKeyDer::from_pem_file(&certificate.key)?;
        let config = Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private)?);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = Self { port: listener.local_addr()?.port(), given: Arc::default(), refuses: Arc::default() };
        let (given, refuses, secret) = (Arc::clone(&server.given), Arc::clone(&server.refuses), secret.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(connection) = ServerConnection::new(Arc::clone(&config)) else { continue };
                let is_refused = refuses.load(Ordering::SeqCst);
                // A client that hangs up is no matter.
                if answer(StreamOwned::new(connection, stream), &key, &secret, lifetime_s, is_refused).unwrap_or(false)
                {
                    given.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Ok(server)
    }

    /// Address of the token endpoint.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/token", self.port)
    }

    /// How many tokens it has given.
    pub fn given(&self) -> u32 {
        self.given.load(Ordering::SeqCst)
    }

    /// Whether it answers everybody with 503 from now on.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Writes the file of the secret.
    pub fn write_secret(path: &Path, secret: &str) -> Result<()> {
        std::fs::write(path, format!("{secret}\n")).with_context(|| path.display().to_string())
    }
}

/// Reads one request and answers it; whether a token was given.
fn answer(
    mut stream: impl Read + Write,
    key: &TokenKey,
    secret: &str,
    lifetime_s: i64,
    is_refused: bool,
) -> Result<bool> {
    let mut reader = BufReader::new(&mut stream);
    let (mut length, mut login) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse()?;
        }
        login = login.or(line.strip_prefix("authorization: basic ").map(str::to_owned));
    }
    let mut form = vec![0; length];
    reader.read_exact(&mut form)?;
    let form = String::from_utf8(form)?;
    // The line was put into lower case, so is what it must be.
    let is_known = login.is_some_and(|login| login == basic(&format!("pipeline:{secret}")).to_ascii_lowercase());
    let (status, body) = match (is_refused, is_known && form.contains("grant_type=client_credentials")) {
        (true, _) => ("503 Service Unavailable", json!({})),
        (_, false) => ("401 Unauthorized", json!({ "error": "invalid_client" })),
        (_, true) => {
            ("200 OK", json!({ "access_token": key.token(brokers::ADMIN, lifetime_s)?, "expires_in": lifetime_s }))
        }
    };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.flush()?;
    Ok(status == "200 OK")
}

/// The text in base64.
fn basic(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[((bits >> (18 - 6 * place)) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}
