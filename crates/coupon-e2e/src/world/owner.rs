//! Processes of this machine: who owns a claim and whether it still lives.

use std::process;

use procfs::process::{Process, all_processes};

/// Returns the name of this process: its pid, and its start time, which a later process with the same pid does not have.
pub fn this_process() -> String {
    let pid = process::id();
    format!("{pid}:{}", started(pid).unwrap_or_default())
}

/// Whether the owner written down earlier still lives.
pub fn lives(owner: &str) -> bool {
    let Some((pid, start)) = owner.split_once(':') else {
        return false;
    };
    pid.parse().ok().and_then(started).is_some_and(|now| now.to_string() == start)
}

/// Processes one of whose arguments contains this text.
pub fn with_argument(text: &str) -> Vec<u32> {
    let has_it = |process: &Process| process.cmdline().is_ok_and(|line| line.iter().any(|word| word.contains(text)));
    let those = all_processes().into_iter().flatten().flatten().filter(has_it);
    those.filter_map(|process| u32::try_from(process.pid).ok()).filter(|pid| *pid != process::id()).collect()
}

/// Start time of a process in clock ticks since boot.
fn started(pid: u32) -> Option<u64> {
    Some(Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?.starttime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_its_pid_at_another_time_does_not() {
        let me = this_process();
        assert!(lives(&me));
        assert!(!lives(&format!("{me}1")));
        assert!(!lives("no process"));
    }
}
