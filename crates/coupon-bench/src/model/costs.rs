//! What one request or row costs each stage, as it was measured.

use anyhow::{Result, ensure};

use crate::figures::Files;

/// Medians of what was measured; CPU times in µs.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    /// issuer-api for a request that is accepted.
    pub api_accept: f64,
    /// issuer-api for one that is refused because everything is gone.
    pub api_refuse: f64,
    /// Redis for a request that is accepted.
    pub redis_accept: f64,
    /// Redis for one that is refused, if that was measured.
    pub refuse_measured: Option<f64>,
    /// Kafka for a request that is accepted, on one replica.
    pub kafka_accept: f64,
    /// Kafka for an event that is read.
    pub kafka_row: f64,
    /// CPU time of issue-consumer for a row, in µs.
    pub consumer_row: f64,
    /// CPU time of PostgreSQL for a row, in µs.
    pub postgres_row: f64,
    /// Memory of Redis for a member that has a coupon, in bytes.
    pub redis_bytes: f64,
    /// Rows a second of one coupon, as far as one machine has gone; if that was measured.
    pub coupon_rows: Option<f64>,
    /// Rows a second of `COPY` into the same table; if that was measured.
    pub copy_rows: Option<f64>,
}

impl Costs {
    /// Reads the costs from the files. An error names each missing figure and the command that measures it.
    pub fn of(files: &Files) -> Result<Self> {
        let mut of = Medians { files, missing: Vec::new() };
        let costs = Self {
            api_accept: of.needed("accept.api_cpu_us"),
            api_refuse: of.needed("refuse.api_cpu_us"),
            redis_accept: of.needed("accept.redis_cpu_us"),
            refuse_measured: files.median("refuse.redis_cpu_us"),
            kafka_accept: of.needed("accept.kafka_cpu_us"),
            kafka_row: of.needed("drain.kafka_cpu_us"),
            consumer_row: of.needed("drain.consumer_cpu_us"),
            postgres_row: of.needed("drain.postgres_cpu_us"),
            redis_bytes: of.needed("size.redis_bytes"),
            coupon_rows: files.median("drain.rows_per_second"),
            copy_rows: files.median("drain.copy_rows_per_second"),
        };
        of.are_complete()?;
        Ok(costs)
    }

    /// Redis for a request that is refused; where that was not measured, as much as for an accepted one, which is too much.
    pub fn redis_refuse(&self) -> f64 {
        self.refuse_measured.unwrap_or(self.redis_accept)
    }
}

/// Medians that a prediction needs.
pub struct Medians<'a> {
    /// Files in which the medians are looked for.
    pub files: &'a Files,
    /// Figures that were not found, each with the command that measures it.
    pub missing: Vec<String>,
}

impl Medians<'_> {
    /// The median of a figure. Where there is none, the return value says nothing, and [`Self::are_complete`] fails.
    pub fn needed(&mut self, id: &str) -> f64 {
        self.files.median(id).unwrap_or_else(|| {
            self.missing.push(format!("{id}, which `coupon-bench {}` measures", command(id)));
            f64::NAN
        })
    }

    /// Fails with everything that is missing.
    pub fn are_complete(&self) -> Result<()> {
        ensure!(self.missing.is_empty(), "the files lack {}", self.missing.join("; "));
        Ok(())
    }
}

/// The command that measures a figure.
fn command(id: &str) -> &str {
    match id.split('.').next().unwrap_or_default() {
        "chain" | "half" | "light" | "memory" => "accept",
        "copy" => "drain",
        own => own,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::{
        figures::{Figure, Measured, Unit},
        machine::Machine,
    };

    /// A file with one round of each figure, measured on a machine of two cores.
    pub fn files(figures: &[(&str, f64)]) -> Files {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("figures.json");
        let figures = figures.iter().map(|(id, value)| Figure::new(id, id, Unit::Us, [*value])).collect();
        let machine = Machine { cores: 2, ..Machine::default() };
        let at = chrono::DateTime::UNIX_EPOCH;
        Measured { command: String::new(), at, machine, rounds: 1, figures }.write(&file).unwrap();
        Files::read(&[file]).unwrap()
    }

    /// Round numbers to count with by hand.
    pub fn costs() -> Costs {
        Costs {
            api_accept: 50.0,
            api_refuse: 10.0,
            redis_accept: 14.0,
            refuse_measured: Some(7.0),
            kafka_accept: 20.0,
            kafka_row: 10.0,
            consumer_row: 10.0,
            postgres_row: 30.0,
            redis_bytes: 120.0,
            coupon_rows: Some(20_000.0),
            copy_rows: Some(100_000.0),
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_command_that_measures_it() {
        let some = [("accept.api_cpu_us", 1.0), ("accept.kafka_cpu_us", 2.0), ("refuse.api_cpu_us", 3.0)];
        let error = Costs::of(&files(&some)).unwrap_err().to_string();
        for (id, command) in [
            ("accept.redis_cpu_us", "coupon-bench accept"),
            ("drain.postgres_cpu_us", "coupon-bench drain"),
            ("size.redis_bytes", "coupon-bench size"),
        ] {
            assert!(error.contains(&format!("{id}, which `{command}` measures")), "{error}");
        }
        assert!(!error.contains("accept.api_cpu_us"), "{error}");
        assert_eq!(command("chain.per_second"), "accept");
    }

    #[test]
    fn a_refusal_that_was_not_measured_costs_redis_as_much_as_a_reservation() {
        let mut all = vec![
            ("accept.api_cpu_us", 1.0),
            ("refuse.api_cpu_us", 2.0),
            ("accept.redis_cpu_us", 3.0),
            ("accept.kafka_cpu_us", 4.0),
            ("drain.kafka_cpu_us", 5.0),
            ("drain.consumer_cpu_us", 6.0),
            ("drain.postgres_cpu_us", 7.0),
            ("size.redis_bytes", 8.0),
        ];
        let costs = Costs::of(&files(&all)).unwrap();
        let expected = Costs {
            api_accept: 1.0,
            api_refuse: 2.0,
            redis_accept: 3.0,
            refuse_measured: None,
            kafka_accept: 4.0,
            kafka_row: 5.0,
            consumer_row: 6.0,
            postgres_row: 7.0,
            redis_bytes: 8.0,
            coupon_rows: None,
            copy_rows: None,
        };
        assert_eq!((costs.redis_refuse().to_bits(), costs), (3.0_f64.to_bits(), expected));
        all.push(("refuse.redis_cpu_us", 0.5));
        assert_eq!(Costs::of(&files(&all)).unwrap().redis_refuse().to_bits(), 0.5_f64.to_bits());
    }
}
