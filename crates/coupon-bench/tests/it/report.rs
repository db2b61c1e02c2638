//! `coupon-bench report`, which needs no server: what it makes of two small files is compared word by word with what
//! stands beside them. After a change that is meant, the command of the first test makes them anew.

use std::{fs, path::PathBuf, process::Stdio};

use anyhow::Result;
use tokio::process::Command;

use crate::bench::{Ended, ended};

fn file(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "report", name].iter().collect();
    path.to_string_lossy().into_owned()
}

/// Runs it without any address in its environment.
pub async fn run(arguments: &[&str]) -> Result<Ended> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coupon-bench"));
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ended(command.output()).await
}

#[tokio::test]
async fn two_files_become_one_table_and_one_plot() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("plots");
    let run = run(&["report", &file("accept.json"), &file("drain.json"), "--out", out.to_str().unwrap()]).await?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stdout, fs::read_to_string(file("expected.md"))?);
    assert_eq!(fs::read_to_string(out.join("figures.svg"))?, fs::read_to_string(file("expected.svg"))?);
    Ok(())
}

#[tokio::test]
async fn what_is_no_file_of_figures_or_comes_twice_is_refused() -> Result<()> {
    let none = run(&["report", &file("expected.md")]).await?;
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""));
    assert!(none.stderr.contains("expected.md holds no figures of coupon-bench"), "{}", none.stderr);
    let twice = run(&["report", &file("drain.json"), &file("drain.json")]).await?;
    assert_eq!((twice.code, twice.stdout.as_str()), (Some(1), ""));
    assert!(twice.stderr.contains("drain.ratio is in "), "{}", twice.stderr);
    assert_eq!(run(&["report"]).await?.code, Some(2));
    Ok(())
}
