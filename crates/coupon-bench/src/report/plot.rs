//! The figures that have a goal, each as a bar that is measured by it.

use super::svg::Svg;
use crate::figures::{Figure, Goal, Measured, Sheet};

const WIDTH: f64 = 960.0;
/// Where the bars begin; the names stand before them.
const LEFT: f64 = 400.0;
/// Length of a bar that is as long as its goal.
const GOAL_LENGTH: f64 = 190.0;
/// Most times its goal that a bar is drawn; what is longer ends in a gap, and its text says how long it is.
const MAX_GOALS: f64 = 1.6;
const ROW_HEIGHT: f64 = 26.0;
const BAR_HEIGHT: f64 = 14.0;
/// Longest name that is shown whole, in characters: as many as fit before [`LEFT`].
const MAX_NAME_CHARACTERS: usize = 54;

/// Returns the text of the SVG file.
pub fn draw(measured: &[Measured]) -> String {
    let sheet = Sheet(measured);
    let mut svg = Svg::new();
    let mut y = 34.0;
    svg.text("title", 20.0, y, "Each figure as a share of its goal");
    y += 20.0;
    let legend =
        "the dashed line is the goal, the bar the median, the thin line the spread; blue: kept, orange: missed";
    svg.text("quiet", 20.0, y, legend);
    let sections = [
        ("to be at least the goal: the bar has to reach the line", true),
        ("to be at most the goal: the bar must not pass the line", false),
    ];
    for (title, is_least) in sections {
        let rows: Vec<Row> =
            sheet.figures().filter_map(|figure| Row::of(&sheet.title(figure), figure, is_least)).collect();
        if rows.is_empty() {
            continue;
        }
        y += 34.0;
        svg.text("title", 20.0, y, title);
        y += 12.0;
        let top = y;
        for row in &rows {
            row.draw(&mut svg, y);
            y += ROW_HEIGHT;
        }
        svg.line("goal", (LEFT + GOAL_LENGTH, top), (LEFT + GOAL_LENGTH, y));
    }
    svg.finish("The figures of coupon-bench as shares of their goals", WIDTH, y + 20.0)
}

/// One bar of the plot.
struct Row {
    name: String,
    /// Least, median and most, as multiples of the goal.
    shares: [f64; 3],
    kept: bool,
    text: String,
}

impl Row {
    /// The bar of a figure that has a goal of this direction and was measured.
    fn of(title: &str, figure: &Figure, is_least: bool) -> Option<Self> {
        let goal = figure.goal?;
        let by = match goal {
            Goal::AtLeast(value) if is_least => value,
            Goal::AtMost(value) if !is_least => value,
            _ => return None,
        };
        let spread = figure.spread()?;
        Some(Self {
            name: shortened(title),
            shares: [spread.least, spread.median, spread.most].map(|value| share(value, by)),
            kept: figure.is_kept()?,
            text: format!("{}, goal {}", figure.unit.text(spread.median), goal.text(figure.unit)),
        })
    }

    fn draw(&self, svg: &mut Svg, y: f64) {
        let [least, median, most] = self.shares.map(|share| share.min(MAX_GOALS) * GOAL_LENGTH);
        let middle = y + ROW_HEIGHT / 2.0;
        svg.text("name", 20.0, middle + 4.5, &self.name);
        let class = if self.kept { "kept" } else { "missed" };
        svg.bar(class, (LEFT, middle - BAR_HEIGHT / 2.0), (median, BAR_HEIGHT));
        if self.shares[1] > MAX_GOALS {
            // The bar goes on beyond what is drawn.
            svg.bar("gap", (LEFT + median - 14.0, middle - BAR_HEIGHT / 2.0), (4.0, BAR_HEIGHT));
        }
        if least < most {
            svg.line("spread", (LEFT + least, middle), (LEFT + most, middle));
            for end in [least, most] {
                svg.line("spread", (LEFT + end, middle - 4.0), (LEFT + end, middle + 4.0));
            }
        }
        svg.text("value", LEFT + MAX_GOALS * GOAL_LENGTH + 16.0, middle + 4.5, &self.text);
    }
}

/// How many times the goal it is. A goal of nothing is kept by nothing alone.
fn share(value: f64, goal: f64) -> f64 {
    match () {
        () if goal > 0.0 => (value / goal).max(0.0),
        () if value > goal => f64::INFINITY,
        () => 0.0,
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= MAX_NAME_CHARACTERS {
        return name.to_owned();
    }
    let begin: String = name.chars().take(MAX_NAME_CHARACTERS - 1).collect();
    format!("{}…", begin.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Unit;

    #[test]
    fn a_bar_is_measured_by_its_goal_in_its_direction() {
        let figure = Figure::new("a.b", "name", Unit::Us, [2.0, 5.0, 20.0]).goal(Goal::AtMost(10.0));
        let row = Row::of("name", &figure, false).unwrap();
        assert!(row.kept && (row.shares[1] - 0.5).abs() < 1e-9 && (row.shares[2] - 2.0).abs() < 1e-9);
        assert_eq!(row.text, "5.0 µs, goal ≤ 10 µs");
        assert!(Row::of("name", &figure, true).is_none());
        assert!(!Row::of("name", &figure.goal(Goal::AtLeast(10.0)), true).unwrap().kept);
    }

    #[test]
    fn a_bar_never_leaves_the_plot() {
        let figure = Figure::new("a.b", "name", Unit::Us, [1e9, 3e9]).goal(Goal::AtMost(0.0));
        let mut svg = Svg::new();
        Row::of("name", &figure, false).unwrap().draw(&mut svg, 0.0);
        let file = svg.finish("", WIDTH, ROW_HEIGHT);
        assert!(
            file.contains(&format!(r#"class="missed" x="{LEFT:.1}" y="6.0" width="{:.1}""#, GOAL_LENGTH * MAX_GOALS)),
            "{file}"
        );
        assert!(!file.contains("inf") && !file.contains("NaN"), "{file}");
    }

    #[test]
    fn a_long_name_is_shortened_to_what_fits() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"é".repeat(MAX_NAME_CHARACTERS)).chars().count(), MAX_NAME_CHARACTERS);
        let long = shortened(&"é".repeat(MAX_NAME_CHARACTERS + 1));
        assert!(long.chars().count() == MAX_NAME_CHARACTERS && long.ends_with("é…"), "{long}");
    }
}
