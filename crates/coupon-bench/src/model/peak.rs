//! The peak that is to be carried, and how much of each stage it needs.

use clap::Args;

use super::costs::Costs;
use crate::figures::{Unit, whole};

/// So many requests, all of them answered within a while. Arrivals may stand in line meanwhile; what is asked for is
/// that the work of the peak is done in that time, the rows a while later.
#[derive(Clone, Debug, Args)]
pub struct Peak {
    /// Requests of the peak, each of another member.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub requests: u32,
    /// Seconds in which they are answered.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = positive)]
    pub within: f64,
    /// Coupons that there are, of all campaigns together; who comes later is refused.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub coupons: u32,
    /// Coupon codes over which requests and coupons are spread evenly. One code lives on one shard of Redis.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub campaigns: u32,
    /// Seconds until the last row is written.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = positive)]
    pub drain_within: f64,
    /// Share of each core and thread that may be used, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 70.0, value_parser = percent)]
    pub target: f64,
    /// Replicas of each Kafka partition. Each costs as much as the one that was measured, which is rather too much.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub kafka_replicas: u32,
    /// Cores of one replica of issuer-api.
    #[arg(long, value_name = "CORES", default_value_t = 2.0, value_parser = positive)]
    pub cores_per_api: f64,
    /// Cores of one replica of issue-consumer.
    #[arg(long, value_name = "CORES", default_value_t = 1.0, value_parser = positive)]
    pub cores_per_consumer: f64,
    /// Bytes of a row in PostgreSQL with its indexes: ten million take about 2 GB.
    #[arg(long, value_name = "BYTES", default_value_t = 200.0, value_parser = positive)]
    pub row_bytes: f64,
    /// Bytes of an event in Kafka, before compression.
    #[arg(long, value_name = "BYTES", default_value_t = 250.0, value_parser = positive)]
    pub event_bytes: f64,
}

/// A stage that is scaled by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// issuer-api.
    Api,
    /// Redis.
    Redis,
    /// Kafka.
    Kafka,
    /// issue-consumer.
    Consumer,
    /// PostgreSQL.
    Postgres,
}

/// CPU time that a stage needs: some of one kind of work, some of another.
pub struct Load {
    terms: Vec<Term>,
}

struct Term {
    count: f64,
    cost_us: f64,
    within: f64,
}

impl Stage {
    /// All of them, in the order in which a request meets them.
    pub const ALL: [Self; 5] = [Self::Api, Self::Redis, Self::Kafka, Self::Consumer, Self::Postgres];

    /// Returns the name of the stage.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "issuer-api",
            Self::Redis => "Redis",
            Self::Kafka => "Kafka",
            Self::Consumer => "issue-consumer",
            Self::Postgres => "PostgreSQL",
        }
    }
}

impl Peak {
    /// Requests that get a coupon.
    pub fn accepted(&self) -> f64 {
        f64::from(self.requests.min(self.coupons))
    }

    /// Requests that come too late.
    pub fn refused(&self) -> f64 {
        f64::from(self.requests) - self.accepted()
    }

    /// Returns the load of a stage at this peak.
    pub fn load(&self, costs: &Costs, stage: Stage) -> Load {
        let (accepted, refused) = (self.accepted(), self.refused());
        let peak = |count, cost_us| Term { count, cost_us, within: self.within };
        let drain = |cost_us| Term { count: accepted, cost_us, within: self.drain_within };
        let terms = match stage {
            Stage::Api => vec![peak(accepted, costs.api_accept), peak(refused, costs.api_refuse)],
            Stage::Redis => vec![peak(accepted, costs.redis_accept), peak(refused, costs.redis_refuse())],
            Stage::Kafka => {
                let replicated = accepted * f64::from(self.kafka_replicas);
                vec![peak(replicated, costs.kafka_accept), drain(costs.kafka_row)]
            }
            Stage::Consumer => vec![drain(costs.consumer_row)],
            Stage::Postgres => vec![drain(costs.postgres_row)],
        };
        Load { terms: terms.into_iter().filter(|term| term.count > 0.0).collect() }
    }

    /// Cores of a stage, or threads of Redis, each used up to the target.
    pub fn cores(&self, costs: &Costs, stage: Stage) -> f64 {
        self.load(costs, stage).busy() / (self.target / 100.0)
    }
}

impl Load {
    /// Cores that are busy all the time.
    pub fn busy(&self) -> f64 {
        self.terms.iter().map(|term| term.count * term.cost_us / 1e6 / term.within).sum()
    }

    /// Returns the arithmetic of the load as text.
    pub fn arithmetic(&self) -> String {
        let term =
            |term: &Term| format!("{} × {} in {} s", whole(term.count), Unit::Us.text(term.cost_us), term.within);
        self.terms.iter().map(term).collect::<Vec<_>>().join(" + ")
    }
}

/// A number with its noun, of which the plural has an s.
pub fn many(number: f64, noun: &str) -> String {
    format!("{number} {noun}{}", if number.to_bits() == 1_f64.to_bits() { "" } else { "s" })
}

/// So many whole ones, and one at least. A last digit that floating point has invented asks for no further one.
pub fn pieces(share: f64) -> f64 {
    (share - 1e-9).ceil().max(1.0)
}

pub fn positive(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    if value > 0.0 && value.is_finite() { Ok(value) } else { Err("not above 0".to_owned()) }
}

fn percent(text: &str) -> Result<f64, String> {
    positive(text).and_then(|value| if value <= 100.0 { Ok(value) } else { Err("above 100".to_owned()) })
}

#[cfg(test)]
pub mod tests {
    use super::{super::costs::tests::costs, *};

    /// A million requests in a second for 100,000 coupons of four campaigns, their rows within ten seconds.
    pub fn peak() -> Peak {
        Peak {
            requests: 1_000_000,
            within: 1.0,
            coupons: 100_000,
            campaigns: 4,
            drain_within: 10.0,
            target: 50.0,
            kafka_replicas: 3,
            cores_per_api: 2.0,
            cores_per_consumer: 1.0,
            row_bytes: 200.0,
            event_bytes: 250.0,
        }
    }

    #[test]
    fn each_stage_is_reckoned_as_by_hand() {
        let busy = |stage| peak().load(&costs(), stage).busy();
        for (stage, cores) in [
            (Stage::Api, 0.1 * 50.0 + 0.9 * 10.0),
            (Stage::Redis, 0.1 * 14.0 + 0.9 * 7.0),
            (Stage::Kafka, 3.0 * 0.1 * 20.0 + 0.1 * 10.0 / 10.0),
            (Stage::Consumer, 0.1),
            (Stage::Postgres, 0.3),
        ] {
            assert!((busy(stage) - cores).abs() < 1e-9, "{stage:?}: {}", busy(stage));
            assert!((peak().cores(&costs(), stage) - 2.0 * cores).abs() < 1e-9, "half of each core is used");
        }
        let arithmetic = peak().load(&costs(), Stage::Api).arithmetic();
        assert_eq!(arithmetic, "100,000 × 50.0 µs in 1 s + 900,000 × 10.0 µs in 1 s");
    }

    #[test]
    fn nobody_is_refused_while_there_are_coupons() {
        let peak = Peak { requests: 1000, coupons: 100_000, ..peak() };
        assert_eq!((peak.accepted().to_bits(), peak.refused().to_bits()), (1000_f64.to_bits(), 0_f64.to_bits()));
        assert_eq!(peak.load(&costs(), Stage::Redis).arithmetic(), "1,000 × 14.0 µs in 1 s");
    }

    #[test]
    fn a_piece_is_never_half_and_never_invented() {
        for (share, count) in [(0.01, "1"), (2.0, "2"), (2.1, "3"), (0.3 / 0.1 + 1e-12, "3")] {
            assert_eq!(whole(pieces(share)), count);
        }
        assert!(positive("0").is_err() && positive("inf").is_err() && percent("101").is_err());
    }
}
