//! `coupon-bench size`: whether an issue costs more the more coupons of a campaign are issued.

mod log;
mod place;
mod script;

use anyhow::{Context, Result};
use clap::Args;

use self::{
    place::{Sized, Written, label},
    script::Called,
};
use crate::{
    environment::Environment,
    figures::{Figure, Goal, Unit},
    measure::servers::Machines,
    progress,
    rounds::{Rounds, look_at_build},
};

/// The size that all others are held against.
const SMALLEST_SIZE: u32 = 10_000;

/// Number of issued coupons of the middle size.
const MIDDLE_SIZE: u32 = 1_000_000;

/// Arguments: how many events, and how often.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  coupon-bench size --largest 1000000 --json size.json")]
pub struct SizeArgs {
    /// Coupons issued of the largest campaign; the others have 10,000 and 1,000,000.
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(20_000..=50_000_000))]
    largest: u32,
    /// Reservations in each round.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1000..=1_000_000))]
    calls: u32,
    /// Events that are written in each round between two checkpoints, at most five times as many as are issued before.
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1000..=5_000_000))]
    events: u32,
    #[command(flatten)]
    rounds: Rounds,
}

/// What each round has shown at each size, smallest first.
type Round = Vec<(Called, Written)>;

/// Measures all rounds, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &SizeArgs) -> Result<()> {
    let SizeArgs { largest, calls, events, rounds } = arguments;
    look_at_build()?;
    let redis = Machines::find(environment).redis;
    let mut sizes = Vec::new();
    for count in [SMALLEST_SIZE, MIDDLE_SIZE].into_iter().filter(|count| count < largest).chain([*largest]) {
        sizes.push(Sized::fill(environment, count).await.with_context(|| label(u64::from(count)))?);
    }
    let round = async |round| {
        let mut called = Vec::new();
        for sized in &mut sizes {
            let what = format!("reserving at {}", sized.label());
            called.push(script::measure(sized, &redis, *calls, round).await.context(what)?);
        }
        let mut all: Round = Vec::new();
        for (sized, called) in sizes.iter_mut().zip(called) {
            let what = format!("writing at {}", sized.label());
            let written = sized.write(*events, round).await.context(what)?;
            let (script, row) = (called.script_us, written.us_per_row());
            progress::say(&format!("  at {}: script {script:.1} µs, row {row:.1} µs", sized.label()));
            all.push((called, written));
        }
        Ok(all)
    };
    let all = rounds.each(round).await?;
    rounds.finish(environment, figures(&sizes, &all)).await
}

fn figures(sizes: &[Sized], rounds: &[Round]) -> Vec<Figure> {
    let labels: Vec<String> = sizes.iter().map(Sized::label).collect();
    let mut figures = of_each(&labels, rounds);
    let Some(sized) = sizes.iter().find(|sized| sized.members.count == u64::from(MIDDLE_SIZE)).or(sizes.last()) else {
        return figures;
    };
    let bytes =
        Figure::new("size.redis_bytes", "memory of Redis for each issued member", Unit::Bytes, [sized.entry_bytes])
            .goal(Goal::AtMost(150.0))
            .remark(format!(
                "used_memory after filling {} holder entries less that before; measured once",
                sized.label()
            ));
    figures.push(bytes);
    figures
}

fn of_each(labels: &[String], rounds: &[Round]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut each = |short: &str, name: &str, unit, remark: &str, read: fn(&(Called, Written)) -> f64| {
        for (place, label) in labels.iter().enumerate() {
            let id = format!("size.{short}_{label}");
            let of_rounds = rounds.iter().filter_map(|round| round.get(place).map(read));
            figures.push(Figure::new(&id, &format!("{name}, {label} issued"), unit, of_rounds).remark(remark));
        }
    };
    each("script_us", "time of reserve.lua", Unit::Us, "from Redis' own commandstats", |(called, _)| called.script_us);
    each("redis_cpu_us", "CPU of Redis for each reservation", Unit::Us, "64 at once", |(called, _)| called.cpu_us);
    let row = "PostgreSQL and issue-consumer together, from the end of one checkpoint to the end of the next";
    each("write_us", "CPU for each row written", Unit::Us, row, |(_, written)| written.us_per_row());
    let next = "the next checkpoint alone; in the figure above";
    each("checkpoint_us", "CPU of the checkpoint for each row", Unit::Us, next, |(_, written)| written.checkpoint_us);
    let whole = "with the page images below";
    each("write_wal_bytes", "log of PostgreSQL for each row", Unit::Bytes, whole, |(_, written)| written.log.bytes);
    let image = "a page is logged as a whole when it is touched for the first time after a checkpoint";
    each("page_images", "pages in the log for 1,000 rows", Unit::Count, image, |(_, written)| {
        written.log.images * 1000.0
    });
    let between = "more than 0: an interval of this server is shorter (max_wal_size, checkpoint_timeout)";
    each("checkpoints", "checkpoints that the server made meanwhile", Unit::Count, between, |(_, written)| {
        written.log.checkpoints
    });
    let one = "one issue-consumer with its defaults";
    each("write_per_second", "rows written", Unit::PerSecond, one, |(_, written)| written.drained.rows_per_second);
    let mut against = |short: &str, name: &str, most: [f64; 2], read: fn(&(Called, Written)) -> f64| {
        for (place, label) in labels.iter().enumerate().skip(1) {
            let id = format!("size.{short}_{label}");
            let of_rounds = rounds.iter().filter_map(|round| Some(read(round.get(place)?) / read(round.first()?)));
            let ratio = Figure::new(&id, &format!("{name}, {label} issued"), Unit::Times, of_rounds);
            let most = most[usize::from(place > 1)];
            figures.push(ratio.goal(Goal::AtMost(most)).remark("limit: the cost with the fewest issued, same round"));
        }
    };
    against("script_ratio", "cost of reserving", [1.1, 1.1], |(called, _)| called.script_us);
    against("write_ratio", "cost of writing", [1.2, 1.5], |(_, written)| written.us_per_row());
    figures
}

#[cfg(test)]
mod tests {
    use super::{log::Logged, *};
    use crate::drain::watch::Drained;

    fn round(script_us: f64, consumer_us: f64) -> (Called, Written) {
        let drained = Drained {
            rows_per_second: 1000.0,
            consumer_us,
            consumer_whole_us: 1.0,
            postgres_us: 10.0,
            kafka_us: 0.0,
            peak_mib: 1.0,
            batch_rows: 1.0,
        };
        let log = Logged { bytes: 1.0, images: 0.0, checkpoints: 0.0 };
        (Called { script_us, cpu_us: 1.0 }, Written { drained, checkpoint_us: 5.0, log })
    }

    #[test]
    fn each_size_is_held_against_the_smallest_of_its_round() {
        let rounds = [vec![round(10.0, 10.0), round(12.0, 30.0)], vec![round(20.0, 10.0), round(20.0, 10.0)]];
        let figures = of_each(&["10k".to_owned(), "1m".to_owned()], &rounds);
        let found = |id: &str| figures.iter().find(|figure| figure.id == id).map(|figure| figure.rounds.clone());
        assert_eq!(found("size.script_ratio_1m"), Some(vec![1.2, 1.0]));
        assert_eq!(found("size.write_ratio_1m"), Some(vec![1.8, 1.0]));
        assert_eq!(found("size.write_us_10k"), Some(vec![25.0, 25.0]));
        assert_eq!(found("size.script_ratio_10k"), None);
    }
}
