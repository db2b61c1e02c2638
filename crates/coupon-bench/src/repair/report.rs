//! What was measured, as a table and as JSON.

use std::{
    fmt::{Display, Formatter, Result},
    path::PathBuf,
};

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{Table, presets};
use indicatif::HumanCount;
use serde::Serialize;

use super::{rounds::Run, verb::Verb};
use crate::{
    machine::Machine,
    measure::{
        client::ms,
        spread::{Spread, time},
    },
};

/// Longest stall that a client may see, in ms: the goal.
const GOAL_MS: f64 = 20.0;

/// Everything that one run of the bench has measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Where.
    pub machine: Machine,
    /// What.
    pub binary: PathBuf,
    /// Issued members of the coupon.
    pub members: u32,
    /// Rounds.
    pub rounds: u32,
    /// Marks that were missing before `reconcile --apply`.
    pub missing: u32,
    /// Every run of every round.
    pub runs: Vec<Run>,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let at = self.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        writeln!(f, "{at}, {}", self.machine.line())?;
        let (members, missing) = (HumanCount(self.members.into()), HumanCount(self.missing.into()));
        writeln!(f, "{members} issued members of one coupon; {missing} marks missing before reconcile --apply")?;
        let rounds = if self.rounds == 1 {
            "one round".to_owned()
        } else {
            format!("{} rounds: median (least – most)", self.rounds)
        };
        writeln!(f, "{rounds}")?;
        writeln!(f, "{}", self.table())?;
        write!(f, "{}", self.goal())
    }
}

impl Report {
    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(std::iter::once("").chain(Verb::ALL.map(Verb::name)));
        let mut figure = |name: &str, unit: &dyn Fn(f64) -> String, read: &dyn Fn(&Run) -> f64| {
            let cells = Verb::ALL.map(|verb| {
                let spread = Spread::of(self.of(verb).map(read));
                spread.map_or_else(String::new, |spread| spread.text(unit))
            });
            table.add_row(std::iter::once(name.to_owned()).chain(cells));
        };
        figure("time", &time, &|run| run.wall_ms);
        figure("members a second", &thousands, &|run| f64::from(self.members) / run.wall_ms * 1000.0);
        figure("peak memory", &mebibytes, &|run| count(run.peak_memory_kib));
        figure("CPU time", &time, &|run| count(run.cpu_ms));
        figure("stall seen by a client, p50", &time, &|run| run.stalls.p50_ms);
        figure("… p99", &time, &|run| run.stalls.p99_ms);
        figure("… longest", &time, &|run| run.stalls.max_ms);
        figure("… client itself late, at most", &time, &|run| run.stalls.late_ms);
        figure("same client, idle server, p50", &time, &|run| run.idle.p50_ms);
        figure("… p99", &time, &|run| run.idle.p99_ms);
        figure("… longest", &time, &|run| run.idle.max_ms);
        figure("… client itself late, at most", &time, &|run| run.idle.late_ms);
        figure("commands of 1 ms or longer", &|many| format!("{many:.0}"), &|run| whole(run.redis.slow_commands));
        table.add_row(self.words("longest command in Redis", slowest_command));
        table.add_row(self.words("longest events in Redis", longest_events));
        table
    }

    /// A row of words instead of figures.
    fn words(&self, name: &str, read: fn(&[&Run]) -> String) -> Vec<String> {
        let cells = Verb::ALL.map(|verb| read(&self.of(verb).collect::<Vec<_>>()));
        std::iter::once(name.to_owned()).chain(cells).collect()
    }

    /// Whether the goal was kept, by the longest stall of all.
    fn goal(&self) -> String {
        let longest = self.runs.iter().max_by(|a, b| a.stalls.max_ms.total_cmp(&b.stalls.max_ms));
        longest.map_or_else(String::new, |run| {
            let outcome = if run.stalls.max_ms < GOAL_MS { "kept" } else { "missed" };
            let (stall, goal) = (time(run.stalls.max_ms), time(GOAL_MS));
            format!(
                "goal, no stall of {goal}: {outcome}; the longest was {stall}, in round {}, {}",
                run.round,
                run.verb.name()
            )
        })
    }

    fn of(&self, verb: Verb) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.verb == verb)
    }
}

/// The slowest command of all rounds.
fn slowest_command(runs: &[&Run]) -> String {
    let slowest = runs.iter().filter_map(|run| run.redis.longest.as_ref()).max_by_key(|slow| slow.micros);
    slowest.map_or_else(|| "below 1 ms".to_owned(), |slow| format!("{} {}", slow.name, time(ms(slow.micros))))
}

/// The longest of each kind of event of all rounds: the three longest kinds.
fn longest_events(runs: &[&Run]) -> String {
    let mut events: Vec<(&str, u64)> = Vec::new();
    for event in runs.iter().flat_map(|run| &run.redis.events) {
        match events.iter_mut().find(|(name, _)| *name == event.name) {
            Some((_, longest)) => *longest = event.max_ms.max(*longest),
            None => events.push((&event.name, event.max_ms)),
        }
    }
    events.sort_by_key(|(_, longest)| std::cmp::Reverse(*longest));
    let words: Vec<String> = events.iter().take(3).map(|(name, longest)| format!("{name} {longest} ms")).collect();
    if words.is_empty() { "below 1 ms".to_owned() } else { words.join(", ") }
}

fn mebibytes(kib: f64) -> String {
    format!("{:.1} MiB", kib / 1024.0)
}

fn thousands(count: f64) -> String {
    format!("{:.0} k", count / 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "no process uses 2^53 KiB or ms")]
fn count(number: u64) -> f64 {
    number as f64
}

fn whole(number: usize) -> f64 {
    count(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{
        client::Stalls,
        redis_log::{Event, SlowCommand, SlowMoments},
    };

    fn run(verb: Verb, round: u32, wall_ms: f64, max_ms: f64) -> Run {
        let stalls = Stalls { asked: 1000, p50_ms: 0.1, p99_ms: 0.5, max_ms, late_ms: 0.2 };
        let longest = SlowCommand { name: "HSCAN".to_owned(), micros: 1000 + u64::from(round) };
        let events = vec![Event { name: "fork".to_owned(), max_ms: u64::from(round) }];
        let redis = SlowMoments { slow_commands: 3, longest: Some(longest), events };
        Run { verb, round, wall_ms, cpu_ms: 40, peak_memory_kib: 2048, stalls, idle: stalls, redis }
    }

    fn report(longest_ms: f64) -> Report {
        let machine = Machine {
            processor: "A Processor".to_owned(),
            cores: 2,
            memory_mib: 1024,
            kernel: "6".to_owned(),
            postgresql: "17".to_owned(),
            redis: "7".to_owned(),
        };
        let mut runs = Vec::new();
        for (round, wall) in [(1, 900.0), (2, 1100.0), (3, 1000.0)] {
            runs.extend(Verb::ALL.map(|verb| run(verb, round, wall, 2.0)));
        }
        runs.push(run(Verb::Rebuild, 4, 1000.0, longest_ms));
        Report {
            at: Utc::now(),
            machine,
            binary: "dlq-consumer".into(),
            members: 1_000_000,
            rounds: 3,
            missing: 1000,
            runs,
        }
    }

    #[test]
    fn the_table_shows_the_median_and_the_spread_of_each_verb() {
        let text = report(2.0).to_string();
        let row = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(text.contains("1,000,000 issued members"), "{text}");
        assert!(row("| time").contains("1.00 s (900.0 ms – 1.10 s)"), "{text}");
        assert!(row("| members a second").contains("1000 k (909 k – 1111 k)"), "{text}");
        assert!(row("| peak memory").contains("2.0 MiB  "), "{text}");
        assert!(row("| longest command").contains("HSCAN 1.0 ms"), "{text}");
        assert!(row("| longest events").contains("fork 3 ms"), "{text}");
    }

    #[test]
    fn the_goal_is_judged_by_the_longest_stall_of_all() {
        assert!(report(2.0).to_string().ends_with("kept; the longest was 2.0 ms, in round 4, rebuild"));
        assert!(report(20.0).goal().contains("missed; the longest was 20.0 ms, in round 4, rebuild"));
    }

    #[test]
    fn the_json_has_every_figure_of_every_run() {
        let json = serde_json::to_value(report(7.5)).unwrap();
        assert_eq!(json["members"], 1_000_000);
        assert_eq!(json["runs"].as_array().unwrap().len(), 10);
        let last = &json["runs"][9];
        assert_eq!((&last["verb"], &last["stalls"]["max_ms"]), (&"rebuild".into(), &7.5.into()));
        assert_eq!(last["redis"]["longest"]["name"], "HSCAN");
    }
}
