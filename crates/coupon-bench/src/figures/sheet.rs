//! Figures as a text in Markdown: where they are from, the table, what has to be known to read it, and the commands.

use std::fmt::{Display, Formatter, Result};

use chrono::SecondsFormat;
use comfy_table::{Table, presets};

use super::{Figure, Measured};

/// What was measured by one command or by several, as it is shown on a terminal and in a README.
pub struct Sheet<'a>(pub &'a [Measured]);

/// A table in Markdown, with these columns and no row yet.
pub fn table<const N: usize>(columns: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(columns);
    table
}

impl Display for Sheet<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let machines = self.machines();
        for machine in &machines {
            writeln!(f, "Measured on {machine}.")?;
        }
        writeln!(f, "\n{}", self.table())?;
        let remarked = self.figures().filter(|figure| !figure.remark.is_empty());
        for (place, figure) in remarked.enumerate() {
            let gap = if place == 0 { "\n" } else { "" };
            writeln!(f, "{gap}- {}: {}", self.title(figure), figure.remark)?;
        }
        writeln!(f)?;
        for measured in self.0 {
            let at = measured.at.to_rfc3339_opts(SecondsFormat::Secs, true);
            let rounds =
                if measured.rounds == 1 { "one round".to_owned() } else { format!("{} rounds", measured.rounds) };
            let machine = if machines.len() == 1 { String::new() } else { format!(", on {}", measured.machine.line()) };
            writeln!(f, "- `{}`, {rounds}, {at}{machine}", measured.command)?;
        }
        Ok(())
    }
}

impl Sheet<'_> {
    /// All figures, in the order in which they are shown.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.0.iter().flat_map(|measured| &measured.figures)
    }

    /// Returns the machines of all figures, each once.
    fn machines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for line in self.0.iter().map(|measured| measured.machine.line()) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
    }

    fn table(&self) -> Table {
        let mut table = table(["figure", "median (least – most)", "goal", "kept"]);
        for figure in self.figures() {
            table.add_row(self.row(figure));
        }
        table
    }

    /// The name of a figure; where two stages have figures of one name, with the stage.
    pub fn title(&self, figure: &Figure) -> String {
        let is_alone = self.figures().filter(|other| other.name == figure.name).count() == 1;
        let stage = figure.id.split('.').next().unwrap_or_default();
        if is_alone { figure.name.clone() } else { format!("{} ({stage})", figure.name) }
    }

    fn row(&self, figure: &Figure) -> [String; 4] {
        let value = |spread: crate::measure::spread::Spread| spread.text(|value| figure.unit.text(value));
        let kept = figure.is_kept().map_or("", |kept| if kept { "yes" } else { "**no**" });
        [
            // A bar would end the cell.
            self.title(figure).replace('|', "\\|"),
            figure.spread().map_or_else(|| "–".to_owned(), value),
            figure.goal.map_or_else(String::new, |goal| goal.text(figure.unit)),
            kept.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        figures::{Goal, Unit},
        machine::Machine,
    };

    fn measured(processor: &str, figures: Vec<Figure>) -> Measured {
        let machine = Machine { processor: processor.to_owned(), cores: 2, memory_mib: 1024, ..Machine::default() };
        Measured { command: "coupon-bench x".to_owned(), at: chrono::DateTime::UNIX_EPOCH, machine, rounds: 3, figures }
    }

    #[test]
    fn a_figure_is_shown_with_its_spread_its_goal_and_whether_it_was_kept() {
        let figures = vec![
            Figure::new("a.ratio", "a|b", Unit::Ratio, [0.5, 0.6, 0.9])
                .goal(Goal::AtLeast(0.7))
                .remark("the limit is c"),
            Figure::new("a.us", "cost", Unit::Us, [3.0]).goal(Goal::AtMost(3.0)),
            Figure::new("a.none", "nothing", Unit::Count, []).goal(Goal::AtMost(3.0)),
        ];
        let text = Sheet(&[measured("One", figures)]).to_string();
        let cells = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("| {name} "))).unwrap();
            line.split("  ").flat_map(|part| part.split(" | ")).map(str::trim).collect::<Vec<_>>().join(";")
        };
        assert!(cells("a\\|b").contains("60.0 % (50.0 % – 90.0 %);≥ 70 %;**no**"), "{text}");
        assert!(cells("cost").contains("3.0 µs;") && cells("cost").contains("≤ 3 µs;yes"), "{text}");
        assert!(cells("nothing").contains('–') && !cells("nothing").contains("yes"), "{text}");
        assert!(text.contains("\n- a|b: the limit is c\n"), "{text}");
        assert!(text.ends_with("- `coupon-bench x`, 3 rounds, 1970-01-01T00:00:00Z\n"), "{text}");
    }

    #[test]
    fn figures_of_one_name_are_told_apart_by_their_stage() {
        let figure = |id, name| Figure::new(id, name, Unit::Us, [1.0]);
        let (drain, mixed) = (figure("drain.us", "CPU of a row"), figure("mixed.us", "CPU of a row").remark("many"));
        let text =
            Sheet(&[measured("One", vec![drain, figure("drain.x", "x")]), measured("One", vec![mixed])]).to_string();
        for part in ["| CPU of a row (drain) |", "| CPU of a row (mixed) |", "| x  ", "- CPU of a row (mixed): many\n"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn where_the_machines_differ_each_command_says_its_own() {
        let (one, other) = (measured("One", Vec::new()), measured("Other", Vec::new()));
        let same = Sheet(&[one.clone(), one.clone()]).to_string();
        assert_eq!(same.matches("Measured on 2 × One, 1024 MiB").count(), 1, "{same}");
        let differing = Sheet(&[one, other]).to_string();
        assert!(differing.contains("00Z, on 2 × One") && differing.contains("00Z, on 2 × Other"), "{differing}");
    }
}
