//! A deployment that is given: what each of its stages carries, and which gives in first.

use std::fmt::{Display, Formatter, Result};

use clap::Args;

use super::{
    costs::Costs,
    peak::{Peak, Stage, many, positive},
};
use crate::figures::{Unit, table};

/// Cores of a deployment, of all replicas together. A stage that is not given is taken to be large enough.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "A deployment instead of a plan")]
pub struct Given {
    /// Cores of issuer-api.
    #[arg(long, value_name = "CORES", value_parser = positive)]
    api_cores: Option<f64>,
    /// Shards of Redis. More of them than campaigns are of no use, and are not counted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    redis_shards: Option<u32>,
    /// Cores of the Kafka brokers.
    #[arg(long, value_name = "CORES", value_parser = positive)]
    kafka_cores: Option<f64>,
    /// Cores of issue-consumer.
    #[arg(long, value_name = "CORES", value_parser = positive)]
    consumer_cores: Option<f64>,
    /// Cores of PostgreSQL.
    #[arg(long, value_name = "CORES", value_parser = positive)]
    postgres_cores: Option<f64>,
}

/// What a deployment does with a peak; nothing where none is given.
pub struct Outcome<'a> {
    pub costs: &'a Costs,
    pub peak: &'a Peak,
    pub given: &'a Given,
}

impl Given {
    /// Cores, or threads of Redis, that can work for the peak.
    fn cores(&self, stage: Stage, peak: &Peak) -> Option<f64> {
        match stage {
            Stage::Api => self.api_cores,
            Stage::Redis => self.redis_shards.map(|shards| f64::from(shards.min(peak.campaigns))),
            Stage::Kafka => self.kafka_cores,
            Stage::Consumer => self.consumer_cores,
            Stage::Postgres => self.postgres_cores,
        }
    }
}

impl Outcome<'_> {
    /// Returns the multiple of the peak that a stage carries with the given cores.
    fn times(&self, stage: Stage) -> Option<f64> {
        Some(self.given.cores(stage, self.peak)? / self.peak.cores(self.costs, stage))
    }

    /// The stage that carries least.
    fn first(&self) -> Option<(Stage, f64)> {
        let all = Stage::ALL.into_iter().filter_map(|stage| Some((stage, self.times(stage)?)));
        all.min_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    /// What a stage carries, in what it is asked for: requests while the peak lasts, rows until the last is written.
    fn carries(&self, stage: Stage, times: f64) -> String {
        let (what, asked) = match stage {
            Stage::Api | Stage::Redis => ("requests", f64::from(self.peak.requests) / self.peak.within),
            Stage::Kafka => ("events", self.peak.accepted() / self.peak.within),
            Stage::Consumer | Stage::Postgres => ("rows", self.peak.accepted() / self.peak.drain_within),
        };
        let text = |value| Unit::PerSecond.text(value);
        format!("{} {what}, asked {}", text(asked * times), text(asked))
    }
}

impl Display for Outcome<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Some((first, least)) = self.first() else { return Ok(()) };
        let mut table = table(["stage", "given", "carries", "of the peak"]);
        for stage in Stage::ALL {
            let (Some(cores), Some(times)) = (self.given.cores(stage, self.peak), self.times(stage)) else { continue };
            let noun = if stage == Stage::Redis { "shard" } else { "core" };
            let (given, of_peak) = (many(cores, noun), Unit::Times.text(times));
            table.add_row([stage.name().to_owned(), given, self.carries(stage, times), of_peak]);
        }
        writeln!(f, "\nThe deployment that is given:\n\n{table}\n")?;
        let outcome = if least < 1.0 { "is carried only in part" } else { "is carried" };
        let (first, least) = (first.name(), Unit::Times.text(least));
        writeln!(f, "The peak {outcome}; the first bottleneck is {first}, at {least} of it.")
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{costs::tests::costs, peak::tests::peak},
        *,
    };

    fn given() -> Given {
        Given {
            api_cores: Some(14.0),
            redis_shards: Some(20),
            kafka_cores: Some(24.4),
            consumer_cores: Some(1.0),
            postgres_cores: None,
        }
    }

    #[test]
    fn the_stage_that_carries_least_is_the_first_bottleneck() {
        let (costs, peak, given) = (costs(), peak(), given());
        let outcome = Outcome { costs: &costs, peak: &peak, given: &given };
        // 28 cores are needed of issuer-api; 15.4 threads of Redis, where 4 of the 20 shards have a coupon.
        assert!((outcome.times(Stage::Api).unwrap() - 0.5).abs() < 1e-9);
        assert!((outcome.times(Stage::Redis).unwrap() - 4.0 / 15.4).abs() < 1e-9);
        assert!((outcome.times(Stage::Kafka).unwrap() - 2.0).abs() < 1e-9);
        assert_eq!((outcome.times(Stage::Postgres), outcome.first().unwrap().0), (None, Stage::Redis));
        assert_eq!(outcome.carries(Stage::Api, 0.5), "500 k/s requests, asked 1.00 M/s");
        assert_eq!(outcome.carries(Stage::Consumer, 5.0), "50.0 k/s rows, asked 10.0 k/s");
        let text = outcome.to_string();
        assert!(text.ends_with("carried only in part; the first bottleneck is Redis, at 0.26 × of it.\n"), "{text}");
        assert!(!text.contains("PostgreSQL") && text.contains("| 4 shards"), "{text}");

        let spread = Peak { campaigns: 20, ..peak.clone() };
        let outcome = Outcome { costs: &costs, peak: &spread, given: &given };
        assert_eq!(outcome.first().unwrap().0, Stage::Api);
    }

    #[test]
    fn without_a_deployment_nothing_is_said_of_it() {
        let (costs, peak, given) = (costs(), peak(), Given::default());
        assert_eq!(Outcome { costs: &costs, peak: &peak, given: &given }.to_string(), "");
    }
}
