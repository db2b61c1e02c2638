//! CPU time of services, and of the servers where they run on this machine: found by the port they listen on.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use coupon_e2e::process::Process as Service;
use procfs::{
    net::{TcpState, tcp, tcp6},
    process::{FDTarget, Process, Stat, all_processes},
};

use super::usage;
use crate::{environment::Environment, progress};

/// A server with all its processes. One that runs elsewhere has none, and uses no time here.
#[derive(Clone, Debug)]
pub struct Server {
    listening: Option<i32>,
}

impl Server {
    /// The server that listens on this TCP port. Of several processes that hold the socket the lowest, which is the parent
    /// of those that inherited it.
    pub fn on_port(port: u16) -> Self {
        let sockets = [tcp(), tcp6()].into_iter().flatten().flatten();
        let listening = sockets.filter(|one| one.state == TcpState::Listen && one.local_address.port() == port);
        let inodes: Vec<u64> = listening.map(|socket| socket.inode).collect();
        let holds = |process: &Process| {
            let mut open = process.fd().into_iter().flatten().flatten();
            open.any(|open| matches!(open.target, FDTarget::Socket(inode) if inodes.contains(&inode)))
        };
        Self { listening: processes().filter(holds).map(|process| process.pid).min() }
    }

    /// Whether the server runs on this machine.
    pub fn is_here(&self) -> bool {
        self.listening.is_some()
    }

    /// CPU time in ms of the process that listens and of all that it has started and that still run. PostgreSQL has a
    /// process for each connection: keep these open between two looks, or what they used is missing.
    pub fn cpu_ms(&self) -> u64 {
        let Some(root) = self.listening else { return 0 };
        let all: HashMap<i32, Stat> = processes().filter_map(|one| Some((one.pid, one.stat().ok()?))).collect();
        let ancestors = |stat| std::iter::successors(Some(stat), |stat: &&Stat| all.get(&stat.ppid));
        let own = all.values().filter(|stat| ancestors(*stat).any(|stat| stat.pid == root));
        own.map(usage::ms_of).sum()
    }
}

fn processes() -> impl Iterator<Item = Process> {
    all_processes().into_iter().flatten().flatten()
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

    /// CPU time so far of these services, each with its name in figures, and of the servers that run here.
    pub fn cpu(&self, services: &[(&'static str, &Service)]) -> Result<Cpu> {
        let mut all = BTreeMap::new();
        for (name, service) in services {
            let ms = usage::cpu_ms(service.pid()).with_context(|| format!("the process of {name} has ended"))?;
            *all.entry(*name).or_default() += ms;
        }
        let servers = [("redis", &self.redis), ("kafka", &self.kafka), ("postgres", &self.postgres)];
        all.extend(servers.into_iter().filter(|(_, server)| server.is_here()).map(|(name, it)| (name, it.cpu_ms())));
        Ok(Cpu(all))
    }
}

/// CPU time in ms by the name of who used it: services of one name together.
#[derive(Clone, Debug, Default)]
pub struct Cpu(BTreeMap<&'static str, u64>);

impl Cpu {
    /// What was used since then. A worker of PostgreSQL that ended meanwhile takes its time with it.
    pub fn since(&self, before: &Self) -> Self {
        Self(self.0.iter().map(|(name, ms)| (*name, ms.saturating_sub(before.of(name)))).collect())
    }

    /// The same with the CPU time in ms of one more, by its name in figures.
    pub fn with(mut self, name: &'static str, ms: u64) -> Self {
        *self.0.entry(name).or_default() += ms;
        self
    }

    /// CPU time of one of them; 0 for a server that runs elsewhere.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Returns the name and the CPU time in ms of each server.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, ms)| (*name, *ms))
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
        let this = i32::try_from(std::process::id()).unwrap();
        assert_eq!(Server::on_port(port).listening, Some(this));
        drop(listener);
        let nobody = Server::on_port(port);
        assert!(!nobody.is_here());
        assert_eq!(nobody.cpu_ms(), 0);
    }
}
