//! Processes of this machine: who owns a claim and whether it still lives.

use std::{fs, process};

/// This process, told apart from a later one with the same pid by its start time.
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
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != process::id())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text)
        })
        .collect()
}

/// Start time of a process in clock ticks since boot: field 22 of proc(5)'s stat, counted behind the name,
/// which may itself hold blanks and brackets.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let behind_name = stat.rsplit_once(") ")?.1;
    behind_name.split(' ').nth(19)?.parse().ok()
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
