//! Where things are measured: a world of their own on the servers of the environment.

use anyhow::Result;
use coupon_e2e::{
    servers::Servers,
    world::{Setup, World},
};

/// A fresh world with as many partitions as a campaign of production has.
pub async fn world() -> Result<World> {
    World::with(Setup { servers: Servers::from_env()?, partitions: 8, dlq_partitions: 4 }).await
}
