//! CPU time of the servers, where they run on this machine: found by the port they listen on.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use super::usage::{self, Stat};
use crate::{environment::Environment, progress};

/// A server with all its processes. One that runs elsewhere has none, and uses no time here.
#[derive(Clone, Debug)]
pub struct Server {
    listening: Option<u32>,
}

impl Server {
    /// The server that listens on this TCP port.
    pub fn on_port(port: u16) -> Self {
        Self { listening: listening_inodes(port).into_iter().find_map(|inode| owner(&inode)) }
    }

    /// Whether it runs here.
    pub fn is_here(&self) -> bool {
        self.listening.is_some()
    }

    /// CPU time in ms of the process that listens and of all that it has started and that still run. PostgreSQL has a
    /// process for each connection: keep these open between two looks, or what they used is missing.
    pub fn cpu_ms(&self) -> u64 {
        let Some(root) = self.listening else { return 0 };
        let parents = parents();
        let descends = |mut pid: u32| loop {
            if pid == root {
                return true;
            }
            match parents.get(&pid) {
                Some(parent) => pid = *parent,
                None => return false,
            }
        };
        parents.keys().filter(|pid| descends(**pid)).filter_map(|pid| Some(usage::stat(*pid)?.cpu_ms)).sum()
    }
}

/// Sockets in the state LISTEN (0A) on a port, as `/proc/net/tcp` counts them.
fn listening_inodes(port: u16) -> HashSet<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| fs::read_to_string(file).unwrap_or_default());
    let suffix = format!(":{port:04X}");
    let lines = tables.iter().flat_map(|table| table.lines());
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_listening = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A";
        if is_listening { fields.get(9).map(|inode| (*inode).to_owned()) } else { None }
    };
    lines.filter_map(inode).collect()
}

/// The process that has a socket open; the lowest, which is the parent of those that inherited it.
fn owner(inode: &str) -> Option<u32> {
    let socket = format!("socket:[{inode}]");
    let holds = |pid: &u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target.as_os_str() == socket.as_str())
    };
    let mut pids: Vec<u32> = pids().collect();
    pids.sort_unstable();
    pids.into_iter().find(holds)
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Each process with its parent.
fn parents() -> HashMap<u32, u32> {
    pids().filter_map(|pid| Some((pid, usage::stat(pid)?.parent))).collect()
}

impl Stat {
    /// CPU time of this program so far, in ms: the load generator's own.
    pub fn own_cpu_ms() -> u64 {
        usage::stat(std::process::id()).map_or(0, |stat| stat.cpu_ms)
    }
}

/// The servers whose time counts.
#[derive(Clone, Debug)]
pub struct Machines {
    /// PostgreSQL.
    pub postgres: Server,
    /// Redis.
    pub redis: Server,
    /// Kafka.
    pub kafka: Server,
}

impl Machines {
    /// Those that the environment names, as far as they run here; says of the others that their time is not known.
    pub fn find(environment: &Environment) -> Self {
        let (postgres, redis, kafka) = environment.ports();
        let server = |name: &str, port| {
            let server = Server::on_port(port);
            if !server.is_here() {
                progress::say(&format!("{name} does not run on this machine: its CPU time is told as 0"));
            }
            server
        };
        Self { postgres: server("PostgreSQL", postgres), redis: server("Redis", redis), kafka: server("Kafka", kafka) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found_by_its_port_and_none_where_nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(Server::on_port(port).listening, Some(std::process::id()));
        drop(listener);
        let nobody = Server::on_port(port);
        assert!(!nobody.is_here());
        assert_eq!(nobody.cpu_ms(), 0);
    }
}
