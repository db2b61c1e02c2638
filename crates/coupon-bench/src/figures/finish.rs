//! The end of a command: what it has measured, shown and written down.

use std::path::Path;

use anyhow::Result;
use chrono::Utc;
use sqlx::{Connection, PgConnection};

use super::{Figure, Measured};
use crate::{environment::Environment, machine::Machine};

/// Prints the figures with the machine they are true of, and writes them to the file.
pub async fn finish(environment: &Environment, rounds: u32, figures: Vec<Figure>, json: Option<&Path>) -> Result<()> {
    let mut database = PgConnection::connect(environment.database()).await?;
    let mut redis = redis::Client::open(environment.redis_numbered(0))?.get_multiplexed_async_connection().await?;
    let machine = Machine::look(&mut database, &mut redis).await?;
    for figure in &figures {
        let spread = figure.spread().map(|spread| spread.text(|value| format!("{value:.3}"))).unwrap_or_default();
        println!("{:32} {spread}  {:?}  {}", figure.id, figure.is_kept(), figure.remark);
    }
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let measured = Measured { command: format!("coupon-bench {command}"), at: Utc::now(), machine, rounds, figures };
    json.map_or(Ok(()), |file| measured.write(file))
}
