//! The model against a measured run at a size that one machine can do: the whole chain on it.

use std::fmt::{Display, Formatter};

use anyhow::{Context, Result, ensure};

use super::costs::Medians;
use crate::figures::{Figure, Files, Unit, table};

/// Largest difference of a prediction from what was measured, as a share of the latter.
const MAX_DIFFERENCE: f64 = 0.25;

/// The stages of the chain: name, prefix of the ids of figures, and whether one thread does all of its work, on one core at
/// most.
const PARTS: [(&str, &str, bool); 6] = [
    ("load generator", "load", true),
    ("issuer-api", "api", false),
    ("Redis", "redis", true),
    ("Kafka, both sides", "kafka", false),
    ("issue-consumer", "consumer", false),
    ("PostgreSQL", "postgres", false),
];

/// A prediction of `chain.per_second` beside what was measured.
pub struct Check {
    /// Cores of the machine, which all parts share.
    cores: f64,
    parts: [Part; 6],
    measured: Figure,
}

/// What one part of the chain costs for a request, in µs of CPU time.
struct Part {
    name: &'static str,
    /// At half load: a live stream has smaller batches than a backlog, and costs more.
    alone: f64,
    /// CPU time in the whole chain in µs, if that was measured.
    chain: Option<f64>,
    /// Whether one thread does the part, so that one core bounds it.
    one_thread: bool,
}

impl Check {
    /// From the parts in the files. All must be of one machine.
    pub fn of(files: &Files) -> Result<Self> {
        let mut of = Medians { files, missing: Vec::new() };
        let parts = PARTS.map(|(name, who, one_thread)| Part {
            name,
            alone: of.needed(&format!("half.{who}_cpu_us")),
            chain: files.median(&format!("chain.{who}_cpu_us")),
            one_thread,
        });
        of.needed("chain.per_second");
        of.are_complete()?;
        let (run, measured) = files.figure("chain.per_second").context("looked for above")?;
        let (other, _) = files.figure("half.api_cpu_us").context("looked for above")?;
        let (one, other) = (run.machine.line(), other.machine.line());
        ensure!(one == other, "half.api_cpu_us is from another machine than chain.per_second: {other}, and not {one}");
        let cores = f64::from(u32::try_from(run.machine.cores)?);
        Ok(Self { cores, parts, measured: measured.clone() })
    }

    /// Requests a second: all cores busy with all parts, and no single thread with more than one core.
    fn predicted(&self) -> f64 {
        let shared = self.cores * 1e6 / self.sum();
        self.longest_thread().map_or(shared, |thread| shared.min(1e6 / thread.alone))
    }

    /// The part that a single thread does and that takes longest.
    fn longest_thread(&self) -> Option<&Part> {
        let threads = self.parts.iter().filter(|part| part.one_thread);
        threads.max_by(|one, other| one.alone.total_cmp(&other.alone))
    }

    /// Returns the calculation of the prediction as text.
    fn arithmetic(&self) -> String {
        match self.longest_thread() {
            Some(thread) if thread.alone * self.cores > self.sum() => {
                format!("1 core / {} of {}", Unit::Us.text(thread.alone), thread.name)
            }
            _ => format!("{} cores / {}", self.cores, Unit::Us.text(self.sum())),
        }
    }

    /// CPU time of a request in all parts, in µs.
    fn sum(&self) -> f64 {
        self.parts.iter().map(|part| part.alone).sum()
    }

    /// Error of the prediction, as a share of what was measured: above 0 the prediction is too high.
    fn difference(&self) -> f64 {
        self.measured.spread().map_or(f64::NAN, |spread| self.predicted() / spread.median - 1.0)
    }

    /// An error where the prediction is too far off.
    pub fn is_near(&self) -> Result<()> {
        let difference = self.difference();
        ensure!(
            difference.abs() <= MAX_DIFFERENCE,
            "the prediction is {} off, and {} is the most it may be",
            Unit::Ratio.text(difference.abs()),
            Unit::Ratio.text(MAX_DIFFERENCE)
        );
        Ok(())
    }
}

impl Display for Check {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let us = |value| Unit::Us.text(value);
        let mut table = table(["CPU time of a request", "at half load", "whole chain"]);
        for part in &self.parts {
            table.add_row([part.name.to_owned(), us(part.alone), part.chain.map_or_else(String::new, us)]);
        }
        let chain: Option<f64> = self.parts.iter().map(|part| part.chain).sum();
        table.add_row(["together".to_owned(), us(self.sum()), chain.map_or_else(String::new, us)]);
        let per_second = |value| Unit::PerSecond.text(value);
        let measured = self.measured.spread().map_or_else(String::new, |spread| spread.text(per_second));
        writeln!(f, "{table}\n")?;
        writeln!(f, "Predicted: {} = {}. Measured: {measured}.", self.arithmetic(), per_second(self.predicted()))?;
        writeln!(
            f,
            "The prediction is {:+.1} % off; {:.0} % are allowed.",
            self.difference() * 100.0,
            MAX_DIFFERENCE * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{super::costs::tests::files, *};

    fn check(load: f64, per_second: f64) -> Check {
        let figures = [
            ("half.load_cpu_us", load),
            ("half.api_cpu_us", 40.0),
            ("half.redis_cpu_us", 15.0),
            ("half.kafka_cpu_us", 25.0),
            ("half.consumer_cpu_us", 10.0),
            ("half.postgres_cpu_us", 20.0),
            ("chain.per_second", per_second),
            ("chain.api_cpu_us", 44.0),
        ];
        Check::of(&files(&figures)).unwrap()
    }

    #[test]
    fn the_cores_are_shared_by_all_parts() {
        // 2 cores / (10 + 40 + 15 + 25 + 10 + 20 µs).
        assert!((check(10.0, 1.0).predicted() - 2e6 / 120.0).abs() < 1e-6);
        // A load generator of one thread that takes 200 µs sends 5,000 a second, whatever the other core could do.
        assert!((check(200.0, 1.0).predicted() - 5000.0).abs() < 1e-6);
        assert_eq!(check(200.0, 1.0).arithmetic(), "1 core / 200.0 µs of load generator");
    }

    #[test]
    fn a_prediction_beyond_a_quarter_is_an_error_on_either_side() {
        let predicted = 2e6 / 120.0;
        for (measured, is_near) in [
            (predicted, true),
            (predicted / 1.24, true),
            (predicted / 1.26, false),
            (predicted / 0.76, true),
            (predicted / 0.74, false),
        ] {
            assert_eq!(check(10.0, measured).is_near().is_ok(), is_near, "{measured}");
        }
        let text = check(10.0, 20_000.0).to_string();
        assert!(text.contains("2 cores / 120.0 µs = 16.7 k/s") && text.contains("Measured: 20.0 k/s."), "{text}");
        assert!(text.ends_with("The prediction is -16.7 % off; 25 % are allowed.\n"), "{text}");
        assert!(text.lines().any(|line| line.contains("issuer-api") && line.contains("44.0 µs")), "{text}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Check::of(&files(&[("accept.api_cpu_us", 1.0)])).err().unwrap().to_string();
        assert!(error.contains("chain.per_second, which `coupon-bench accept` measures"), "{error}");
    }
}
