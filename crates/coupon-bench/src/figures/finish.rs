//! The end of every measurement: the table on stdout, and the file.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use redis::AsyncConnectionConfig;
use sqlx::{Connection, PgConnection};

use super::{Figure, Measured, Sheet};
use crate::{environment::Environment, machine::Machine};

/// Longest time Redis may take to say what it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Prints what was measured, and writes it to the file if there is one. A figure with a round that is no number is an
/// error: it was divided by something that was not measured.
pub async fn finish(environment: &Environment, rounds: u32, figures: Vec<Figure>, json: Option<&Path>) -> Result<()> {
    finish_on(on_servers(environment).await?, rounds, figures, json)
}

/// Prints and saves figures of a measurement without servers, of the machine alone.
pub fn finish_on(machine: Machine, rounds: u32, figures: Vec<Figure>, json: Option<&Path>) -> Result<()> {
    for figure in &figures {
        ensure!(figure.rounds.iter().all(|round| round.is_finite()), "{} is no number: {:?}", figure.id, figure.rounds);
    }
    let measured = Measured { command: command(std::env::args()), at: Utc::now(), machine, rounds, figures };
    print!("{}", Sheet(std::slice::from_ref(&measured)));
    json.map_or(Ok(()), |file| measured.write(file))
}

async fn on_servers(environment: &Environment) -> Result<Machine> {
    let mut database = PgConnection::connect(environment.database()).await.context("PostgreSQL does not answer")?;
    let redis = redis::Client::open(environment.redis())?;
    // Patient: what was measured, perhaps for an hour, must not be lost to a server that is still busy with it.
    let patient = AsyncConnectionConfig::new()
        .set_response_timeout(Some(ANSWER_WITHIN))
        .set_connection_timeout(Some(ANSWER_WITHIN));
    let connection = redis.get_multiplexed_async_connection_with_config(&patient);
    let mut redis = connection.await.context("Redis does not answer")?;
    let machine = Machine::look(&mut database, &mut redis).await?;
    database.close().await?;
    Ok(machine)
}

/// The command as it was typed, without the path of the program.
fn command(arguments: impl Iterator<Item = String>) -> String {
    std::iter::once("coupon-bench".to_owned()).chain(arguments.skip(1)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Unit;

    #[test]
    fn what_was_measured_is_read_again_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("figures.json");
        let figures = vec![Figure::new("a.b", "name", Unit::Us, [1.5, 2.5])];
        finish_on(Machine::default(), 2, figures, Some(&file)).unwrap();
        let read = Measured::read(&file).unwrap();
        assert_eq!((read.rounds, read.figure("a.b").unwrap().rounds.as_slice()), (2, &[1.5, 2.5][..]));
    }

    #[tokio::test]
    async fn the_servers_are_named_by_their_versions() {
        let machine = on_servers(&Environment::of_process().unwrap()).await.unwrap();
        assert!(!machine.postgresql.is_empty() && !machine.redis.is_empty(), "{machine:?}");
    }

    #[test]
    fn a_figure_that_is_no_number_is_no_result() {
        let figures = vec![Figure::new("a.ratio", "name", Unit::Ratio, [1.0, f64::NAN])];
        let error = finish_on(Machine::default(), 2, figures, None).unwrap_err().to_string();
        assert!(error.contains("a.ratio is no number"), "{error}");
    }

    #[test]
    fn the_path_of_the_program_is_not_shown() {
        let typed = ["/some/where/coupon-bench", "accept", "--rounds", "5"];
        assert_eq!(command(typed.into_iter().map(str::to_owned)), "coupon-bench accept --rounds 5");
    }
}
