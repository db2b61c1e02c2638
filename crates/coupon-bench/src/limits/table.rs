//! Values of all rounds by the id of their figure, and the figures made of them.

use std::collections::HashMap;

use crate::{
    figures::{Figure, Goal, Unit},
    measure::{servers::Cpu, spread::each_us},
};

/// What is known of a figure before it is measured.
#[derive(Debug)]
pub struct Row {
    /// Id of the figure.
    pub id: &'static str,
    /// Name of the figure, as tables show it.
    pub name: &'static str,
    /// Unit of the values.
    pub unit: Unit,
    /// Goal of the figure, if it has one.
    pub goal: Option<Goal>,
    /// Condition of the measurement that a reader has to know.
    pub remark: &'static str,
}

/// Makes a row without a goal.
pub const fn row(id: &'static str, name: &'static str, unit: Unit, remark: &'static str) -> Row {
    Row { id, name, unit, goal: None, remark }
}

/// Makes a row with a goal.
pub const fn goal(id: &'static str, name: &'static str, unit: Unit, goal: Goal, remark: &'static str) -> Row {
    Row { id, name, unit, goal: Some(goal), remark }
}

/// Values by figure id, one a round.
#[derive(Debug, Default)]
pub struct Collected {
    values: HashMap<String, Vec<f64>>,
    remarks: HashMap<String, String>,
}

impl Collected {
    /// Adds the value of one more round.
    pub fn put(&mut self, id: impl Into<String>, value: f64) {
        self.values.entry(id.into()).or_default().push(value);
    }

    /// Notes the CPU time that each of `count` has cost services and servers, and the load generator, as
    /// `STAGE.NAME_cpu_us`.
    pub fn put_cpu(&mut self, stage: &str, used: &Cpu, load_ms: u64, count: usize) {
        for (name, ms) in used.each().chain([("load", load_ms)]) {
            self.put(format!("{stage}.{name}_cpu_us"), each_us(ms, count as u64));
        }
    }

    /// Notes what was odd in a round; the last remark of a figure is kept.
    pub fn remark(&mut self, id: &str, text: String) {
        self.remarks.insert(id.to_owned(), text);
    }

    /// The figures of these rows that were measured.
    pub fn figures(&self, rows: &[Row]) -> Vec<Figure> {
        let measured = rows.iter().filter_map(|row| Some((row, self.values.get(row.id)?)));
        let figure = |(row, values): (&Row, &Vec<f64>)| {
            let figure = Figure::new(row.id, row.name, row.unit, values.iter().copied());
            let odd = self.remarks.get(row.id).map_or("", String::as_str);
            let between = if row.remark.is_empty() || odd.is_empty() { "" } else { "; " };
            let figure = figure.remark(format!("{}{between}{odd}", row.remark));
            match row.goal {
                Some(goal) => figure.goal(goal),
                None => figure,
            }
        };
        measured.map(figure).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_the_values_of_all_rounds_and_what_was_odd() {
        let rows = [
            goal("a.ratio", "a", Unit::Ratio, Goal::AtLeast(0.5), "of the limit"),
            row("b.ms", "b", Unit::Ms, ""),
            row("c.ms", "c", Unit::Ms, ""),
        ];
        let mut collected = Collected::default();
        for value in [0.6, 0.8] {
            collected.put("a.ratio", value);
        }
        collected.put("c.ms", 1.0);
        collected.remark("a.ratio", "busy".to_owned());
        let figures = collected.figures(&rows);
        let ids: Vec<&str> = figures.iter().map(|figure| &*figure.id).collect();
        assert_eq!(ids, ["a.ratio", "c.ms"]);
        assert_eq!((figures[0].rounds.as_slice(), figures[0].is_kept()), ([0.6, 0.8].as_slice(), Some(true)));
        assert_eq!((&*figures[0].remark, &*figures[1].remark), ("of the limit; busy", ""));
    }
}
