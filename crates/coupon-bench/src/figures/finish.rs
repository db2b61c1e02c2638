//! The end of a command: what it has measured, shown and written down.

use std::path::Path;

use anyhow::Result;

use super::Figure;
use crate::environment::Environment;

/// Prints the figures.
pub async fn finish(_environment: &Environment, _rounds: u32, figures: Vec<Figure>, json: Option<&Path>) -> Result<()> {
    for figure in &figures {
        let spread = figure.spread().map(|spread| spread.text(|value| format!("{value:.3}"))).unwrap_or_default();
        println!("{:32} {spread}  {:?}  {}", figure.id, figure.is_kept(), figure.remark);
    }
    if let Some(file) = json {
        std::fs::write(file, serde_json::to_string_pretty(&figures)? + "\n")?;
    }
    Ok(())
}
