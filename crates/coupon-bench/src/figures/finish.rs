//! What every command does at its end.

use std::path::Path;

use anyhow::Result;

use super::Figure;
use crate::environment::Environment;

/// Prints the figures, one on a line.
#[expect(clippy::unused_async, reason = "the machine and its servers are to be asked here")]
pub async fn finish(_: &Environment, _rounds: u32, figures: Vec<Figure>, _json: Option<&Path>) -> Result<()> {
    for figure in figures {
        let Some(spread) = figure.spread() else { continue };
        println!(
            "{:32} {:10?} {} {:?} {}",
            figure.id,
            figure.unit,
            spread.text(|value| format!("{value:.3}")),
            figure.is_kept(),
            figure.remark
        );
    }
    Ok(())
}
