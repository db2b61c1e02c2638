//! Where things are measured: a world of their own on the servers of the environment.

use anyhow::Result;
use coupon_e2e::{
    servers::Servers,
    world::{Setup, World},
};

use crate::{environment::Environment, measure::servers::Server};

/// The servers, to ask for their CPU time.
#[derive(Debug)]
pub struct Machines {
    /// PostgreSQL with all its processes.
    pub postgres: Server,
    /// Redis.
    pub redis: Server,
    /// The first broker of Kafka.
    pub kafka: Server,
}

impl Machines {
    /// Finds them by their ports.
    pub fn find(environment: &Environment) -> Self {
        let (postgres, redis, kafka) = environment.ports();
        let [postgres, redis, kafka] = [postgres, redis, kafka].map(Server::on_port);
        Self { postgres, redis, kafka }
    }
}

/// A fresh world with as many partitions as a campaign of production has.
pub async fn world() -> Result<World> {
    World::with(Setup { servers: Servers::from_env()?, partitions: 8, dlq_partitions: 4 }).await
}
