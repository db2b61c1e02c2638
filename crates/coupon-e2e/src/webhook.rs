//! A server for webhooks that misbehaves in each way on demand, and remembers what it got and when.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    proxy::hold,
    wait::{eventually, pause},
};

/// Part of every address of such a server; it must be found nowhere else.
pub const SECRET: &str = "s3cr3t-T0K3N";

/// Larger requests are no alarms.
const MOST_BYTES: usize = 1 << 20;

/// What the server does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Takes it, as Slack does: 200 and `ok`.
    Takes,
    /// Takes the alarm after this time.
    TakesLate(Duration),
    /// Answers this status and repeats the address it was asked for.
    Answers(u16),
    /// Answers 400 to what has a layout, as Slack does to one that it does not take; takes plain text.
    RefusesLayout,
    /// Answers 429 with this `Retry-After`.
    TooMany(String),
    /// Answers 200 and a page to log in.
    LogsIn,
    /// Reads it and never answers.
    Hangs,
    /// Hangs up in the middle of its answer.
    HangsUp,
    /// Answers bytes that are no HTTP.
    Babbles,
    /// Redirects to this address.
    SendsOn(String),
    /// Answers 500 and a body without an end.
    Floods,
    /// Refuses connections.
    Refuses,
}

/// A request that the server received.
#[derive(Clone, Debug)]
pub struct Received {
    /// Arrival of the request, UTC.
    pub at: DateTime<Utc>,
    /// Whether the server answered it with success.
    pub is_taken: bool,
    /// JSON body of the request.
    pub body: Value,
    /// The same as it came.
    pub text: String,
    /// Headers by their names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Received {
    /// All texts of a message for Slack, one a line, as a reader sees them.
    pub fn slack_text(&self) -> String {
        let mut texts = Vec::new();
        collect(&self.body, &mut texts);
        texts.join("\n").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    }

    /// Returns the number of dead letters and notices that the message reports.
    pub fn count(&self) -> u64 {
        let of_slack = || self.slack_text().split_once("*count*\n`")?.1.split('`').next()?.parse().ok();
        self.body["count"].as_u64().or_else(of_slack).unwrap_or(0)
    }
}

/// The server. It ends when this value is dropped.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    manner: watch::Sender<Manner>,
    listening: watch::Receiver<bool>,
    received: Arc<Mutex<Vec<Received>>>,
    server: JoinHandle<()>,
}

impl Webhook {
    /// Starts a server that takes every alarm.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (manner, manners) = watch::channel(Manner::Takes);
        let (told, listening) = watch::channel(true);
        let received = Arc::default();
        let server = tokio::spawn(serve(listener, address, manners, told, Arc::clone(&received)));
        Ok(Self { address, manner, listening, received, server })
    }

    /// Returns the URL of the webhook, which holds the secret.
    pub fn url(&self) -> String {
        format!("http://{}/services/T000/{SECRET}", self.address)
    }

    /// Changes how the server treats all later requests; returns once it does.
    pub async fn turn(&self, manner: Manner) -> Result<()> {
        let wanted = manner != Manner::Refuses;
        self.manner.send_replace(manner);
        eventually("the server has turned", Duration::from_secs(5), async || *self.listening.borrow() == wanted).await
    }

    /// Whether a message that came so far has these words.
    pub fn has_received(&self, words: &str) -> bool {
        self.received().iter().any(|received| received.slack_text().contains(words))
    }

    /// Returns all requests received so far.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.received).clone()
    }

    /// Returns the requests that were answered with success so far.
    pub fn taken(&self) -> Vec<Received> {
        self.received().into_iter().filter(|received| received.is_taken).collect()
    }

    /// Waits until so many were taken.
    pub async fn takes(&self, count: usize, within: Duration) -> Result<Vec<Received>> {
        eventually(&format!("{count} alarms are taken"), within, async || -> Result<Option<Vec<Received>>> {
            let taken = self.taken();
            if taken.len() >= count {
                Ok(Some(taken))
            } else {
                bail!("{} are, {} came", taken.len(), self.received().len())
            }
        })
        .await
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    first: TcpListener,
    address: SocketAddr,
    mut manners: watch::Receiver<Manner>,
    told: watch::Sender<bool>,
    received: Arc<Mutex<Vec<Received>>>,
) {
    let (mut listener, mut held) = (Some(first), None);
    loop {
        let refuses = *manners.borrow_and_update() == Manner::Refuses;
        if refuses && listener.is_some() {
            listener = None;
            held = hold(address).ok();
        } else if !refuses && listener.is_none() {
            listener = held.take().map_or_else(|| hold(address), Ok).and_then(|socket| socket.listen(64)).ok();
        }
        told.send_replace(listener.is_some());
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            client = accepted => if let Some((client, _)) = client {
                tokio::spawn(answer(client, manners.borrow().clone(), Arc::clone(&received)));
            },
            changed = manners.changed() => if changed.is_err() { return },
        }
    }
}

async fn answer(mut client: TcpStream, manner: Manner, received: Arc<Mutex<Vec<Received>>>) -> Result<()> {
    let (head, text) = read_whole(&mut client).await?;
    let (path, text) = (path_of(&head), String::from_utf8(text)?);
    let body: Value = serde_json::from_str(&text)?;
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let has_layout = body.get("blocks").is_some();
    let is_taken =
        matches!(manner, Manner::Takes | Manner::TakesLate(_)) || manner == Manner::RefusesLayout && !has_layout;
    lock(&received).push(Received { at: Utc::now(), is_taken, body, text, headers });
    let plain = |status: &str, headers: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
    };
    let text = match manner {
        Manner::TakesLate(wait) => {
            pause(wait).await;
            plain("200 OK", "", "ok")
        }
        Manner::RefusesLayout if has_layout => plain("400 Bad Request", "", "invalid_blocks"),
        Manner::Takes | Manner::RefusesLayout => plain("200 OK", "", "ok"),
        Manner::Answers(status) => plain(&format!("{status} Wrong"), "", &format!("Cannot POST {path}")),
        Manner::TooMany(wait) => plain("429 Too Many Requests", &format!("retry-after: {wait}\r\n"), "slow down"),
        Manner::LogsIn => plain("200 OK", "content-type: text/html\r\n", "<html>Log in to go on</html>"),
        Manner::HangsUp => "HTTP/1.1 200 OK\r\ncontent-le".to_owned(),
        Manner::Babbles => "\u{1b}[2J\u{0}\u{1}garbage\r\n\r\n".to_owned(),
        Manner::SendsOn(to) => plain("307 Temporary Redirect", &format!("location: {to}\r\n"), ""),
        Manner::Floods => {
            client.write_all(b"HTTP/1.1 500 Wrong\r\nconnection: close\r\n\r\n").await?;
            let chunk = vec![b'x'; 64 * 1024];
            loop {
                client.write_all(&chunk).await?;
            }
        }
        Manner::Hangs | Manner::Refuses => {
            // Until the client has had enough.
            client.read_to_end(&mut Vec::new()).await?;
            return Ok(());
        }
    };
    client.write_all(text.as_bytes()).await?;
    client.shutdown().await?;
    Ok(())
}

/// Reads a request with a `content-length`: its path and its body.
pub(crate) async fn read(client: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let (head, body) = read_whole(client).await?;
    Ok((path_of(&head), body))
}

fn path_of(head: &str) -> String {
    head.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Reads a request with a `content-length`: its head and its body.
async fn read_whole(client: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|some| some == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("no content-length")?.trim().parse()?;
            if bytes.len() >= end + 4 + length {
                return Ok((head, bytes[end + 4..].to_vec()));
            }
        }
        if client.read_buf(&mut bytes).await? == 0 || bytes.len() > MOST_BYTES {
            bail!("no request");
        }
    }
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            texts.extend(object.get("text").and_then(Value::as_str).map(str::to_owned));
            object.values().filter(|value| !value.is_string()).for_each(|value| collect(value, texts));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, texts)),
        _ => {}
    }
}

fn lock(received: &Mutex<Vec<Received>>) -> MutexGuard<'_, Vec<Received>> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}
