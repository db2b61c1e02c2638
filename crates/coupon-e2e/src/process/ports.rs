//! Free ports on loopback.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;

/// A port that was free a moment ago. Somebody may take it before it is used, so whoever uses it tries again.
pub fn free() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
