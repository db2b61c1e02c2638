//! This program under `valgrind --tool=callgrind`.

use std::{collections::HashMap, ffi::OsString, io::ErrorKind, process::Stdio};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::pure::Part;

/// The functions by which Rust asks its allocator, which is mimalloc, and C asks its own, for memory or for more of it.
const ALLOCATING: [&str; 6] =
    ["mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned", "malloc", "calloc", "realloc"];

/// What a whole run of `coupon-bench pure` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Instructions.
    pub instructions: u64,
    /// Calls that ask for memory.
    pub allocations: u64,
}

/// Counts a whole run of `coupon-bench pure`.
pub async fn count(part: Part, events: u32) -> Result<Counted> {
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
    let instructions = total(&text).context("the file of callgrind names no total")?;
    let allocations = allocations(&text);
    // A program without any would be one whose functions have no names.
    ensure!(allocations > 0, "the file of callgrind names no function that allocates");
    Ok(Counted { instructions, allocations })
}

/// The total of the one event that is counted without further settings: Ir, instructions read.
fn total(text: &str) -> Option<u64> {
    let counts_instructions = text.lines().any(|line| line.trim_end() == "events: Ir");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "))?;
    total.trim().parse().ok().filter(|_| counts_instructions)
}

/// Calls of all functions of [`ALLOCATING`]. A name stands behind its number where the number comes first, `(3) malloc`, and
/// the number alone stands for it from there on; `calls=` counts those of the callee (`cfn=`) above it.
fn allocations(text: &str) -> u64 {
    let (mut names, mut callee, mut calls) = (HashMap::new(), "", 0);
    for line in text.lines() {
        if let Some((number, name)) = line.strip_prefix("fn=").or(line.strip_prefix("cfn=")).map(number_and_name) {
            if let Some(name) = name {
                names.insert(number, name);
            }
            if line.starts_with('c') {
                callee = names.get(number).copied().unwrap_or_default();
            }
        } else if let Some(count) = line.strip_prefix("calls=")
            && ALLOCATING.contains(&callee)
        {
            calls += count.split(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    calls
}

fn number_and_name(text: &str) -> (&str, Option<&str>) {
    text.split_once(' ').map_or((text, None), |(number, name)| (number, Some(name)))
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

    #[test]
    fn calls_of_what_allocates_are_counted_by_name_and_by_number() {
        let text = "fn=(1) main\n16 400\ncfi=(2) alloc.c\ncfn=(2) mi_malloc_aligned\ncalls=3 50\n16 400\n\
                    cfn=(3) free\ncalls=9 60\n16 1\n\nfn=(4) other\ncfn=(2)\ncalls=4 50\n16 4\ncfn=(3)\ncalls=9 60\n16 1\n\
                    fn=(2)\ncfn=(5) mi_malloc_aligned_inner\ncalls=7 1\n16 1\n";
        assert_eq!(allocations(text), 7);
        assert_eq!(allocations("events: Ir\ntotals: 1\n"), 0);
    }
}
