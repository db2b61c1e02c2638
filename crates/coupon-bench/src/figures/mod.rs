//! What a run has measured: figures, each with the rounds it comes from, the limit it is held against and its goal. This
//! is also the form of the files that `report` and `model` read.

mod files;
pub mod finish;
mod sheet;
mod text;

use std::{fs, path::Path};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use self::{
    files::Files,
    finish::{finish, finish_on},
    sheet::{Sheet, table},
    text::whole,
};
use crate::{machine::Machine, measure::spread::Spread};

/// All figures of one command, with the machine and the time of measuring.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The command with its arguments, as it was typed.
    pub command: String,
    /// End of the measurement, UTC.
    pub at: DateTime<Utc>,
    /// The machine and the servers that were measured.
    pub machine: Machine,
    /// Number of rounds of each figure.
    pub rounds: u32,
    /// What was measured, in the order in which it is shown.
    pub figures: Vec<Figure>,
}

/// One figure over all rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// Short name that stays the same from run to run, such as `accept.ratio`: the stage, a dot, and what of it.
    pub id: String,
    /// Name of the figure, as tables show it.
    pub name: String,
    /// Unit of the values.
    pub unit: Unit,
    /// The figure of each round, in their order.
    pub rounds: Vec<f64>,
    /// Goal of the figure, if there is one.
    pub goal: Option<Goal>,
    /// What has to be known to read it, such as the limit it was divided by; may be empty.
    pub remark: String,
}

/// Unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share of a limit: 0.7 is 70 %.
    Ratio,
    /// A multiple, such as 1.7 times as much.
    Times,
    /// Events, requests or rows a second.
    PerSecond,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Mebibytes.
    MiB,
    /// Bytes.
    Bytes,
    /// Instructions.
    Instructions,
    /// A plain number.
    Count,
}

/// Goal of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The median must be this or more.
    AtLeast(f64),
    /// The median must be this or less.
    AtMost(f64),
}

impl Measured {
    /// Writes the figures to a file, as JSON.
    pub fn write(&self, file: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        fs::write(file, json + "\n").with_context(|| format!("{} cannot be written", file.display()))
    }

    /// Reads a file that [`Measured::write`] has written.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        serde_json::from_slice(&text).with_context(|| {
            format!("{} holds no figures of coupon-bench (--json of a command writes such a file)", file.display())
        })
    }

    /// Returns the figure with this id, if it was measured.
    pub fn figure(&self, id: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.id == id)
    }
}

impl Figure {
    /// Makes a figure without a goal, from the values of all rounds.
    pub fn new(id: &str, name: &str, unit: Unit, rounds: impl IntoIterator<Item = f64>) -> Self {
        let rounds = rounds.into_iter().collect();
        Self { id: id.to_owned(), name: name.to_owned(), unit, rounds, goal: None, remark: String::new() }
    }

    /// Adds a goal.
    pub fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// Adds a remark, which tables show below.
    pub fn remark(self, remark: impl Into<String>) -> Self {
        Self { remark: remark.into(), ..self }
    }

    /// Median and spread; none without a round.
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().copied())
    }

    /// Whether the median kept the goal; none without a goal.
    pub fn is_kept(&self) -> Option<bool> {
        let median = self.spread()?.median;
        self.goal.map(|goal| match goal {
            Goal::AtLeast(least) => median >= least,
            Goal::AtMost(most) => median <= most,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_held_against_the_median() {
        let figure = Figure::new("accept.ratio", "accepted", Unit::Ratio, [0.5, 0.71, 0.9]);
        assert_eq!(figure.is_kept(), None);
        assert_eq!(figure.clone().goal(Goal::AtLeast(0.7)).is_kept(), Some(true));
        assert_eq!(figure.clone().goal(Goal::AtLeast(0.72)).is_kept(), Some(false));
        assert_eq!(figure.clone().goal(Goal::AtMost(0.72)).is_kept(), Some(true));
        assert_eq!(figure.goal(Goal::AtMost(0.7)).is_kept(), Some(false));
    }
}
