//! Opening a listener, with an error that says which setting to change.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`. At the
/// opening of a campaign they arrive all at once.
const BACKLOG: u32 = 4096;

/// Listens on `address`; `key` is the setting it came from, such as `http.listen`, for the error.
///
/// Needs a tokio runtime.
pub async fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, BindError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restarted process must not wait for connections of its predecessor in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| BindError { address, key, source })
}

/// An address that cannot be listened on, with what to set instead.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.advice())]
pub struct BindError {
    /// The address wanted.
    pub address: SocketAddr,
    /// The setting the address came from.
    pub key: &'static str,
    /// What the operating system says.
    pub source: io::Error,
}

impl BindError {
    fn advice(&self) -> String {
        let Self { address, key, source } = self;
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                format!("address {address} is in use by another process, set {key} to a free one")
            }
            io::ErrorKind::PermissionDenied => {
                format!("listening on {address} is not permitted, set {key} to a port above 1023")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("this machine has no address {}, set {key} to one it has, or to 0.0.0.0", address.ip())
            }
            _ => format!("cannot listen on {address}, the value of {key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_names_the_setting_to_change() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = bind(any, "admin.listen").await.expect("a free port");
        let taken = first.local_addr().expect("bound");
        let error = bind(taken, "admin.listen").await.expect_err("in use").to_string();
        assert_eq!(error, format!("address {taken} is in use by another process, set admin.listen to a free one"));
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
        let error = bind(elsewhere, "http.listen").await.expect_err("not here").to_string();
        assert_eq!(error, "this machine has no address 192.0.2.1, set http.listen to one it has, or to 0.0.0.0");
    }
}
