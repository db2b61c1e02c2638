//! The figures of `coupon-bench rows`, in the order in which they are shown.

use super::{CAMPAIGNS, Compared, label};
use crate::figures::{
    Figure,
    Unit::{self, Ms, PerSecond, Times, Us},
};

/// A figure of each number of campaigns: the end of its id, its name, its unit, how to read it, and a remark.
type Row = (&'static str, &'static str, Unit, fn(&Compared) -> f64, &'static str);

const PARTS: &str = "API and PostgreSQL";
const WHOLE: &str = "all services and servers, until the last row is written";
const PLANNED: &str = "from the planned moment of sending, at half of its own rate";

const ROWS: &[Row] = &[
    ("per_second", "accepted by rows", PerSecond, |it| it.rows.0.per_second, "committed, with fsync"),
    (
        "pipeline_per_second",
        "accepted by the pipeline",
        PerSecond,
        |it| it.pipeline.0.per_second,
        "acknowledged by Kafka, while an issue-consumer writes along",
    ),
    (
        "rate_ratio",
        "rate of rows against the pipeline",
        Times,
        |it| it.rows.0.per_second / it.pipeline.0.per_second,
        "",
    ),
    ("cpu_us", "CPU for each accepted by rows", Us, |it| it.rows.0.cost.whole_us(), PARTS),
    ("api_cpu_us", "… of the API", Us, |it| it.rows.0.cost.api_us, ""),
    ("postgres_cpu_us", "… of PostgreSQL", Us, |it| it.rows.0.cost.postgres_us, ""),
    ("pipeline_cpu_us", "CPU for each accepted by the pipeline", Us, |it| it.pipeline.0.cost.whole_us(), WHOLE),
    ("pipeline_api_cpu_us", "… of issuer-api", Us, |it| it.pipeline.0.cost.api_us, ""),
    ("pipeline_postgres_cpu_us", "… of PostgreSQL behind it", Us, |it| it.pipeline.0.cost.postgres_us, ""),
    (
        "cpu_ratio",
        "CPU of rows against the pipeline",
        Times,
        |it| it.rows.0.cost.whole_us() / it.pipeline.0.cost.whole_us(),
        "",
    ),
    ("p50_ms", "answer of rows, p50", Ms, |it| it.rows.1.p50_ms, PLANNED),
    ("p99_ms", "answer of rows, p99", Ms, |it| it.rows.1.p99_ms, PLANNED),
    ("half_cpu_us", "CPU for each accepted by rows at half load", Us, |it| it.rows.1.cost.whole_us(), PARTS),
    ("pipeline_p50_ms", "answer of the pipeline, p50", Ms, |it| it.pipeline.1.p50_ms, PLANNED),
    ("pipeline_p99_ms", "answer of the pipeline, p99", Ms, |it| it.pipeline.1.p99_ms, PLANNED),
    (
        "same_p50_ms",
        "answer of the pipeline at the rate of rows, p50",
        Ms,
        |it| it.pipeline_at_rate_of_rows.p50_ms,
        SAME,
    ),
    (
        "same_p99_ms",
        "answer of the pipeline at the rate of rows, p99",
        Ms,
        |it| it.pipeline_at_rate_of_rows.p99_ms,
        SAME,
    ),
    (
        "same_cpu_us",
        "CPU for each accepted by the pipeline at the rate of rows",
        Us,
        |it| it.pipeline_at_rate_of_rows.cost.whole_us(),
        WHOLE,
    ),
];

const SAME: &str = "at half of the rate of rows";

/// Returns the figures of all rounds.
pub fn figures(rounds: &[[Compared; CAMPAIGNS.len()]]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (place, campaigns) in CAMPAIGNS.into_iter().enumerate() {
        let of_rounds = || rounds.iter().map(|round| &round[place]);
        let busiest = of_rounds().flat_map(|it| [it.rows.0.client_busy, it.pipeline.0.client_busy]).fold(0.0, f64::max);
        for (short, name, unit, read, remark) in ROWS {
            let name = format!("{name}, {}", label(campaigns));
            let figure = Figure::new(&format!("rows.{short}_{campaigns}"), &name, *unit, of_rounds().map(read));
            let own = *unit == PerSecond && busiest > 0.9;
            let odd = if own { "; the load generator was busy: this may be its own limit" } else { "" };
            figures.push(figure.remark(format!("{remark}{odd}")));
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::{
        super::contender::{Cost, Full, Steady},
        *,
    };

    #[test]
    fn each_share_is_taken_within_its_round_and_of_its_own_number_of_campaigns() {
        let compared = |rows: f64, pipeline: f64| {
            let full = |per_second, api_us| Full {
                per_second,
                cost: Cost { api_us, postgres_us: 5.0, others_us: 0.0 },
                client_busy: 0.95,
            };
            Compared {
                rows: (full(rows, 15.0), Steady { p99_ms: 3.0, ..Steady::default() }),
                pipeline: (full(pipeline, 35.0), Steady { p99_ms: 7.0, ..Steady::default() }),
                pipeline_at_rate_of_rows: Steady { p99_ms: 6.0, ..Steady::default() },
            }
        };
        let figures =
            figures(&[[compared(10.0, 40.0), compared(30.0, 40.0)], [compared(20.0, 40.0), compared(40.0, 40.0)]]);
        let found =
            |id: &str| figures.iter().find(|figure| figure.id == id).map(|figure| figure.rounds.clone()).unwrap();
        assert_eq!((found("rows.rate_ratio_1"), found("rows.rate_ratio_100")), (vec![0.25, 0.5], vec![0.75, 1.0]));
        assert_eq!(found("rows.cpu_ratio_1"), [0.5, 0.5]);
        assert_eq!(found("rows.p99_ms_1"), [3.0, 3.0]);
        assert_eq!((found("rows.pipeline_p99_ms_1"), found("rows.same_p99_ms_1")), (vec![7.0, 7.0], vec![6.0, 6.0]));
        let remarks = |id: &str| figures.iter().find(|figure| figure.id == id).unwrap().remark.clone();
        assert!(remarks("rows.per_second_1").contains("its own limit") && !remarks("rows.cpu_us_1").contains("limit"));
    }
}
