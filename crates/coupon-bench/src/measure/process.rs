//! A process run to its end, with the time and the memory it used.

use std::{
    ffi::OsStr,
    fmt::Write,
    fs::File,
    io::Read,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    process::{Child, Command},
    time::{MissedTickBehavior, interval},
};

use super::usage::{self, Stat};

/// How often the process is looked at. Its end is seen so much late at most.
const EVERY: Duration = Duration::from_millis(5);

/// Lines of its output that are shown when it ends otherwise than it should.
const LINES: usize = 20;

/// What one process used.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// From its start to its end, at most 5 ms too much.
    pub wall: Duration,
    /// CPU time of all its threads, in steps of 10 ms.
    pub cpu_ms: u64,
    /// Peak resident memory. What it grew by in its last 5 ms may be missing.
    pub peak_memory_kib: u64,
}

/// Runs a program with these arguments and nothing in its environment but the `PATH` and these variables. An exit code
/// other than 0 is an error that shows the end of what it said. Dropping the future kills the process.
pub async fn run<A: AsRef<OsStr>>(program: &Path, arguments: &[A], variables: &[(&str, &str)]) -> Result<Used> {
    // Files take whatever is said without anybody reading meanwhile.
    let mut said = tempfile::tempfile()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs(variables.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?);
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
    let (cpu_ms, peak_memory_kib) = watch(&child).await?;
    let wall = started.elapsed();
    let status = child.wait().await?;
    if !status.success() {
        let words: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
        bail!("{} {} ended with {status}:\n{}", program.display(), words.join(" "), end_of(&mut said)?);
    }
    Ok(Used { wall, cpu_ms, peak_memory_kib })
}

/// Watches a process until it has ended. Nobody has asked yet how it ended, so its last times can still be read.
async fn watch(child: &Child) -> Result<(u64, u64)> {
    let pid = child.id().context("the process has no id")?;
    let (status, stat) = (format!("/proc/{pid}/status"), format!("/proc/{pid}/stat"));
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut peak = 0;
    loop {
        ticks.tick().await;
        peak = usage::peak_memory_kib(&std::fs::read_to_string(&status)?).unwrap_or(0).max(peak);
        let stat = Stat::parse(&std::fs::read_to_string(&stat)?).context("/proc is not as proc(5) says")?;
        if stat.has_ended {
            return Ok((stat.cpu_ms, peak));
        }
    }
}

/// The last lines of what it said. It may hold stored text, whose control characters are shown and not executed.
fn end_of(said: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    // The process has moved the position that both share.
    std::io::Seek::rewind(said)?;
    said.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let mut end = String::new();
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        end.push_str("  ");
        for character in line.chars() {
            if character.is_control() { write!(end, "{}", character.escape_debug())? } else { end.push(character) }
        }
        end.push('\n');
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str) -> Result<Used> {
        run(Path::new("/bin/sh"), &["-c", script], &[("WORD", "given")]).await
    }

    #[tokio::test]
    async fn time_and_memory_of_a_process_are_measured() {
        let used = shell("n=0; while [ $n -lt 100000 ]; do n=$((n + 1)); done; test \"$WORD\" = given").await.unwrap();
        assert!(used.cpu_ms > 0, "{used:?}");
        assert!(used.peak_memory_kib > 100, "{used:?}");
        assert!(u128::from(used.cpu_ms) <= used.wall.as_millis() + 20, "{used:?}");
    }

    #[tokio::test]
    async fn another_exit_code_is_an_error_that_shows_what_was_said_without_executing_it() {
        let error = shell("printf 'bad \\033[31m thing\\n' >&2; exit 3").await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("bad \\u{1b}[31m thing"), "{error}");
    }

    #[tokio::test]
    async fn what_is_not_there_cannot_be_started() {
        assert!(run(Path::new("/nowhere"), &["x"], &[]).await.is_err());
    }
}
