//! This program under `valgrind --tool=callgrind`.

use std::{ffi::OsString, io::ErrorKind, process::Stdio};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::pure::Part;

/// Instructions of a whole run of `coupon-bench pure`.
pub async fn instructions(part: Part, events: u32) -> Result<u64> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("callgrind.out");
    let mut out = OsString::from("--callgrind-out-file=");
    out.push(&file);
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(out).arg(std::env::current_exe().context("this program has no path")?);
    command.args(["pure", &part.name(), &events.to_string()]);
    // The environment is part of the memory of a process; without it each run is laid out alike.
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match command.output().await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "valgrind is not installed, which counts the instructions; `scripts/stack install valgrind` installs it"
            )
        }
        output => output.context("valgrind cannot be started")?,
    };
    if !output.status.success() {
        bail!("valgrind ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let text = std::fs::read_to_string(&file).context("valgrind has written no file")?;
    total(&text).context("the file of callgrind names no total")
}

/// The total of the one event that is counted without further settings: Ir, instructions read.
fn total(text: &str) -> Option<u64> {
    let counts_instructions = text.lines().any(|line| line.trim_end() == "events: Ir");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "))?;
    total.trim().parse().ok().filter(|_| counts_instructions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_where_instructions_are_counted_and_nothing_else() {
        assert_eq!(total("version: 1\nevents: Ir\nfn=(1) main\n1 200\n\ntotals: 12345\n"), Some(12_345));
        assert_eq!(total("version: 1\nevents: Ir Dr\ntotals: 12345 7\n"), None);
        assert_eq!(total("version: 1\nevents: Dr\ntotals: 12345\n"), None);
        assert_eq!(total("version: 1\nevents: Ir\n"), None);
    }
}
