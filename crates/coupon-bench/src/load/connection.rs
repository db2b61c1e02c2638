//! One keep-alive connection with at most one request in flight.

use std::{net::SocketAddr, ops::Range};

use anyhow::{Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::response;

/// Largest answer that is read; no answer of this API is larger.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A connection, made again when it was closed.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to the server.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let mut connection = Self { address, stream: None, buffer: vec![0; 2048] };
        connection.connect().await?;
        Ok(connection)
    }

    /// Sends a request and waits for its answer: the status, and where in [`Connection::bytes`] the body is. An error
    /// leaves open what the server has done.
    pub async fn ask(&mut self, request: &[u8]) -> Result<(u16, Range<usize>)> {
        if self.stream.is_none() {
            self.connect().await?;
        }
        let answer = self.exchange(request).await;
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    /// Drops a connection that the server has closed while nothing was in flight, which is its right and no lost answer.
    pub fn forget_if_closed(&mut self) {
        let would_wait = |stream: &TcpStream| {
            let read = stream.try_read(&mut [0; 1]);
            read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        };
        self.stream = self.stream.take().filter(would_wait);
    }

    /// Returns a range of the bytes that were read last.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<(u16, Range<usize>)> {
        let Some(stream) = &mut self.stream else { bail!("there is no connection") };
        stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                if filled >= MAX_ANSWER_BYTES {
                    bail!("the answer is too large");
                }
                self.buffer.resize(filled * 2, 0);
            }
            let read = stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                bail!("the connection was closed before the answer was there");
            }
            filled += read;
            if let Some(answer) = response::parse(&self.buffer[..filled])? {
                if answer.is_last {
                    self.stream = None;
                }
                return Ok((answer.status, answer.body..answer.end));
            }
        }
    }

    async fn connect(&mut self) -> Result<()> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        self.stream = Some(stream);
        Ok(())
    }
}
