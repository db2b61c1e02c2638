//! The figures of `coupon-bench repair`: each verb with its times, its memory and the stalls that it causes.

use super::rounds::{Run, VERBS};
use crate::{
    figures::{Figure, Goal, Unit, whole},
    measure::spread::time,
};

/// Longest stall that a client may see, in ms: the goal.
const GOAL_MS: f64 = 20.0;

/// The figures of all runs, verb by verb.
pub fn of(runs: &[Run], members: u32, missing: u32) -> Vec<Figure> {
    let longest = runs.iter().map(|run| run.stalls.max_ms).fold(0.0, f64::max);
    let mut figures = vec![
        Figure::new("repair.longest_stall_ms", "longest stall of all runs", Unit::Ms, [longest])
            .goal(Goal::AtMost(GOAL_MS))
            .remark(format!(
                "{} issued members of one coupon; {} holder entries missing before reconcile --apply",
                whole(members.into()),
                whole(missing.into())
            )),
    ];
    for verb in VERBS {
        let of_verb: Vec<&Run> = runs.iter().filter(|run| run.verb == verb).collect();
        let mut figure = |short: &str, name: &str, unit, read: &dyn Fn(&Run) -> f64| {
            let (id, name) = (format!("repair.{}_{short}", verb.id), format!("{}: {name}", verb.name));
            figures.push(Figure::new(&id, &name, unit, of_verb.iter().map(|run| read(run))));
        };
        figure("time_ms", "time", Unit::Ms, &|run| run.used.wall_ms);
        figure("per_second", "members", Unit::PerSecond, &|run| f64::from(members) / run.used.wall_ms * 1000.0);
        figure("peak_mib", "peak memory", Unit::MiB, &|run| run.used.peak_mib);
        figure("cpu_ms", "CPU time", Unit::Ms, &|run| run.used.cpu_ms);
        figure("asked", "questions of a client", Unit::Count, &|run| run.stalls.asked);
        figure("stall_p50_ms", "stall seen by a client, p50", Unit::Ms, &|run| run.stalls.p50_ms);
        figure("stall_p99_ms", "stall seen by a client, p99", Unit::Ms, &|run| run.stalls.p99_ms);
        figure("stall_ms", "stall seen by a client, longest", Unit::Ms, &|run| run.stalls.max_ms);
        figure("late_ms", "client itself late, at most", Unit::Ms, &|run| run.stalls.late_ms);
        figure("idle_asked", "questions to an idle server", Unit::Count, &|run| run.idle.asked);
        figure("idle_p50_ms", "same client, idle server, p50", Unit::Ms, &|run| run.idle.p50_ms);
        figure("idle_p99_ms", "same client, idle server, p99", Unit::Ms, &|run| run.idle.p99_ms);
        figure("idle_ms", "same client, idle server, longest", Unit::Ms, &|run| run.idle.max_ms);
        figure("idle_late_ms", "client itself late, idle server, at most", Unit::Ms, &|run| run.idle.late_ms);
        figure("slow_commands", "commands of 1 ms or longer", Unit::Count, &|run| run.redis.slow_commands);
        if let Some(slow) = figures.pop() {
            figures.push(slow.remark(slowest(&of_verb)));
        }
    }
    figures
}

/// Returns as text what occupied Redis longest in all rounds: the slowest command, and the three longest kinds of events.
fn slowest(runs: &[&Run]) -> String {
    let command =
        runs.iter().filter_map(|run| run.redis.longest.as_ref()).max_by(|one, other| one.1.total_cmp(&other.1));
    let command = command.map_or_else(|| "below 1 ms".to_owned(), |(name, ms)| format!("{name} {}", time(*ms)));
    let mut events: Vec<(&str, u64)> = Vec::new();
    for (name, ms) in runs.iter().flat_map(|run| &run.redis.events) {
        match events.iter_mut().find(|(known, _)| known == name) {
            Some((_, longest)) => *longest = *ms.max(longest),
            None => events.push((name, *ms)),
        }
    }
    events.sort_by_key(|(_, longest)| std::cmp::Reverse(*longest));
    let events: Vec<String> = events.iter().take(3).map(|(name, longest)| format!("{name} {longest} ms")).collect();
    let events = if events.is_empty() { "below 1 ms".to_owned() } else { events.join(", ") };
    format!("longest command in Redis: {command}; longest events in Redis: {events}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{client::Stalls, process::Used, redis_log::SlowMoments};

    fn figures(longest_ms: f64) -> Vec<Figure> {
        let mut runs = Vec::new();
        for (round, wall_ms) in [(1_u8, 900.0), (2, 1100.0), (3, 1000.0)] {
            runs.extend(VERBS.map(|verb| {
                let stalls = Stalls { asked: 1000.0, p50_ms: 0.1, p99_ms: 0.5, max_ms: 2.0, late_ms: 0.2 };
                let longest = Some(("HSCAN".to_owned(), 1.0 + f64::from(round) / 1000.0));
                let events = vec![("fork".to_owned(), u64::from(round))];
                let redis = SlowMoments { slow_commands: 3.0, longest, events };
                Run { verb, used: Used { wall_ms, cpu_ms: 40.0, peak_mib: 2.0 }, stalls, idle: stalls, redis }
            }));
        }
        runs[8].stalls.max_ms = longest_ms;
        of(&runs, 1_000_000, 1000)
    }

    #[test]
    fn each_verb_has_the_figures_of_its_rounds() {
        let figures = figures(2.0);
        let found = |id: &str| figures.iter().find(|figure| figure.id == id).unwrap();
        assert_eq!(found("repair.apply_time_ms").rounds, [900.0, 1100.0, 1000.0]);
        assert!((found("repair.rebuild_per_second").spread().unwrap().median - 1_000_000.0).abs() < 0.001);
        assert_eq!(figures.len(), 1 + 3 * 15);
        assert!(found("repair.longest_stall_ms").remark.starts_with("1,000,000 issued members"));
        let slow = &found("repair.reconcile_slow_commands").remark;
        assert!(slow.contains("HSCAN 1.0 ms") && slow.contains("fork 3 ms"), "{slow}");
    }

    #[test]
    fn the_goal_is_judged_by_the_longest_stall_of_all() {
        assert_eq!(figures(2.0)[0].is_kept(), Some(true));
        assert_eq!(figures(20.1)[0].is_kept(), Some(false));
    }
}
