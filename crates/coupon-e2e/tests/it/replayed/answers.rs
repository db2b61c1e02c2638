//! An answer as it came, also to what no HTTP client would send.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{
    RequestBuilder,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longest time until an answer has come.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// Status, headers and JSON of an answer.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Got {
    /// The answer to a request.
    pub(super) async fn of(request: RequestBuilder) -> Result<Self> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Self { status, headers, body: answer.json().await? })
    }

    /// A header of the answer.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Sends bytes as they are, and reads the one answer with its JSON.
pub(super) async fn raw(address: &str, request: &str) -> Result<Got> {
    let mut stream = TcpStream::connect(address).await?;
    // The server may answer, and close, before it has read everything.
    stream.write_all(request.as_bytes()).await.ok();
    let mut bytes = Vec::new();
    loop {
        let read = timeout(ANSWERED_WITHIN, stream.read_buf(&mut bytes)).await.context("no answer came")?;
        let is_over = !matches!(read, Ok(1..));
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            let mut lines = head.split("\r\n");
            let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).context("a status")?;
            let header = |line: &str| -> Option<(HeaderName, HeaderValue)> {
                let (name, value) = line.split_once(": ")?;
                Some((name.parse().ok()?, value.parse().ok()?))
            };
            return Ok(Got { status, headers: lines.filter_map(header).collect(), body });
        }
        if is_over {
            bail!("the connection ended after {text:?}");
        }
    }
}
