//! What a peak needs of each stage, with the arithmetic.

use std::fmt::{Display, Formatter, Result};

use super::{
    costs::Costs,
    limits,
    peak::{Peak, Stage, many, pieces},
};
use crate::figures::{Unit, table, whole};

/// The sizes of all stages for a peak.
pub struct Plan<'a> {
    pub costs: &'a Costs,
    pub peak: &'a Peak,
}

impl Display for Plan<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Peak { requests, within, coupons, campaigns, drain_within, target, .. } = *self.peak;
        writeln!(
            f,
            "{} requests in {within} s for {} coupons of {}, the last row after {drain_within} s; each core and thread \
             used to {target} %:\n",
            whole(requests.into()),
            whole(coupons.into()),
            many(campaigns.into(), "code"),
        )?;
        let mut table = table(["stage", "CPU time", "needs"]);
        for stage in Stage::ALL {
            table.add_row([stage.name().to_owned(), self.peak.load(self.costs, stage).arithmetic(), self.needs(stage)]);
        }
        for kept in self.bytes() {
            table.add_row(kept);
        }
        writeln!(f, "{table}\n")?;
        if self.costs.refuse_measured.is_none() && self.peak.refused() > 0.0 {
            writeln!(
                f,
                "refuse.redis_cpu_us was not measured: a refusal is taken to cost Redis what a reservation does.\n"
            )?;
        }
        let exceeded = limits::exceeded(self.costs, self.peak);
        if exceeded.is_empty() {
            writeln!(
                f,
                "No coupon asks more of its shard and of its counter than they do; every stage grows by replicas."
            )?;
        }
        for (place, limit) in exceeded.iter().enumerate() {
            writeln!(f, "{}: {limit}.", if place == 0 { "First bottleneck" } else { "Then" })?;
        }
        Ok(())
    }
}

impl Plan<'_> {
    fn needs(&self, stage: Stage) -> String {
        let Peak { campaigns, cores_per_api, cores_per_consumer, within, drain_within, .. } = *self.peak;
        let cores = self.peak.cores(self.costs, stage);
        match stage {
            Stage::Api => replicas(cores, cores_per_api),
            Stage::Redis => {
                // More shards than coupons are of no use: a coupon lives on one.
                let (wanted, shards) = (pieces(cores), pieces(cores).min(f64::from(campaigns)));
                let longer = if wanted > shards {
                    format!(", which take {:.1} s for it", within * cores / shards)
                } else {
                    String::new()
                };
                format!("{cores:.2} threads: {}{longer}", many(shards, "shard"))
            }
            // Each consumer needs a partition; as many again let their number grow without moving keys. And each partition
            // is led by one broker, so that fewer than cores leave some idle.
            Stage::Kafka => {
                let consumers = pieces(self.peak.cores(self.costs, Stage::Consumer) / cores_per_consumer);
                let partitions = (2.0 * consumers).max(pieces(cores));
                format!("{cores:.2} cores of all brokers; {} at least", many(partitions, "partition"))
            }
            Stage::Consumer => replicas(cores, cores_per_consumer),
            Stage::Postgres => {
                let rows = self.peak.accepted() / drain_within;
                let copy = self
                    .costs
                    .copy_rows
                    .map_or_else(String::new, |copy| format!(", {} of what COPY did", Unit::Ratio.text(rows / copy)));
                format!("{cores:.2} cores; {} rows{copy}", Unit::PerSecond.text(rows))
            }
        }
    }

    /// What is kept of each accepted request: what, how it is reckoned, and how much that is.
    fn bytes(&self) -> [[String; 3]; 3] {
        let Peak { row_bytes, event_bytes, kafka_replicas, .. } = *self.peak;
        let accepted = self.peak.accepted();
        let kept = |what: &str, bytes: f64, replicas: u32| {
            let times = if replicas == 1 { String::new() } else { format!(" × {replicas} replicas") };
            let arithmetic = format!("{} × {}{times}", whole(accepted), Unit::Bytes.text(bytes));
            [what.to_owned(), arithmetic, size(accepted * bytes * f64::from(replicas))]
        };
        [
            kept("memory of Redis", self.costs.redis_bytes, 1),
            kept("disk of Kafka", event_bytes, kafka_replicas),
            kept("disk of PostgreSQL", row_bytes, 1),
        ]
    }
}

fn replicas(cores: f64, each: f64) -> String {
    let replicas = pieces(cores / each);
    format!("{cores:.2} cores: {} of {each}", many(replicas, "replica"))
}

fn size(bytes: f64) -> String {
    if bytes < 1e9 { format!("{:.1} MB", bytes / 1e6) } else { format!("{:.1} GB", bytes / 1e9) }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{costs::tests::costs, peak::tests::peak},
        *,
    };

    fn needs(peak: &Peak, stage: Stage) -> String {
        Plan { costs: &costs(), peak }.needs(stage)
    }

    #[test]
    fn what_is_needed_is_counted_in_what_can_be_bought() {
        // 14 busy cores of which each is used to a half.
        assert_eq!(needs(&peak(), Stage::Api), "28.00 cores: 14 replicas of 2");
        // 7.7 busy threads.
        assert_eq!(needs(&peak(), Stage::Redis), "15.40 threads: 4 shards, which take 3.8 s for it");
        assert_eq!(needs(&Peak { campaigns: 16, ..peak() }, Stage::Redis), "15.40 threads: 16 shards");
        assert_eq!(needs(&peak(), Stage::Kafka), "12.20 cores of all brokers; 13 partitions at least");
        assert_eq!(needs(&peak(), Stage::Consumer), "0.20 cores: 1 replica of 1");
        assert_eq!(needs(&peak(), Stage::Postgres), "0.60 cores; 10.0 k/s rows, 10.0 % of what COPY did");
        let hurried = Peak { drain_within: 0.5, ..peak() };
        assert_eq!(needs(&hurried, Stage::Consumer), "4.00 cores: 4 replicas of 1");
        let few = Peak { kafka_replicas: 1, within: 10.0, ..hurried };
        assert_eq!(needs(&few, Stage::Kafka), "4.40 cores of all brokers; 8 partitions at least");
    }

    #[test]
    fn the_plan_shows_the_arithmetic_and_names_what_does_not_grow() {
        let text = Plan { costs: &costs(), peak: &peak() }.to_string();
        assert!(
            text.starts_with("1,000,000 requests in 1 s for 100,000 coupons of 4 codes, the last row after 10 s"),
            "{text}"
        );
        for part in [
            "300,000 × 20.0 µs in 1 s + 100,000 × 10.0 µs in 10 s",
            "100,000 × 250 B × 3 replicas",
            "75.0 MB",
            "12.0 MB",
            "20.0 MB",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("\nFirst bottleneck: Redis: a coupon lives on one shard"), "{text}");
        let spread = Plan { costs: &costs(), peak: &Peak { campaigns: 16, ..peak() } }.to_string();
        assert!(spread.ends_with("every stage grows by replicas.\n"), "{spread}");
        assert_eq!(size(2.5e9), "2.5 GB");
    }
}
