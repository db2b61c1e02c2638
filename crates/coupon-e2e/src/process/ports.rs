//! Finds free ports on loopback.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, TcpListener},
    sync::{LazyLock, Mutex, PoisonError},
};

use anyhow::Result;

/// Each port that was given, so that tests which run side by side, and two listeners of one service, get different ones.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port that was free a moment ago, and that this process has not given before. A foreign process may take it before it is
/// used, so whoever uses it tries again.
pub fn free() -> Result<u16> {
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let is_new = GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        if is_new {
            return Ok(port);
        }
    }
}

/// The same for a node of a Redis Cluster: the nodes talk at a port that is 10,000 higher.
pub fn free_for_a_node() -> Result<u16> {
    loop {
        let port = free()?;
        if port <= u16::MAX - 10_000 {
            return Ok(port);
        }
    }
}
