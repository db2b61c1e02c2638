//! What Linux says of a running process in `/proc/PID/status` and `/proc/PID/stat`.

/// Units in which `/proc/PID/stat` counts time: `USER_HZ`, 100 a second for every program on the platforms Rust has.
const TICK_MS: u64 = 10;

/// Peak resident memory in KiB (`VmHWM`) from the text of `/proc/PID/status`; none for a process that has ended.
pub fn peak_memory_kib(status: &str) -> Option<u64> {
    kib(status, "VmHWM:")
}

/// The same for what is resident now (`VmRSS`).
pub fn resident_kib(status: &str) -> Option<u64> {
    kib(status, "VmRSS:")
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim_end().parse().ok()
}

/// What a running process has used so far.
pub fn stat(pid: u32) -> Option<Stat> {
    Stat::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Resident memory of a running process in MiB: now, and at its peak.
#[expect(clippy::cast_precision_loss, reason = "KiB of a process are far below 2^53")]
pub fn memory_mib(pid: u32) -> Option<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some((resident_kib(&status)? as f64 / 1024.0, peak_memory_kib(&status)? as f64 / 1024.0))
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Whether it has ended and only waits for its parent to ask how.
    pub has_ended: bool,
    /// CPU time of all its threads so far, in ms: its own and the kernel's on its behalf.
    pub cpu_ms: u64,
    /// The process that started it.
    pub parent: u32,
}

impl Stat {
    /// Reads the text of `/proc/PID/stat`.
    pub fn parse(text: &str) -> Option<Self> {
        // The name stands in brackets and may hold spaces and brackets itself; what follows the last one is regular.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
        Some(Self {
            has_ended: matches!(*fields.first()?, "Z" | "X"),
            // utime and stime, fields 14 and 15 of proc(5); the state is field 3.
            cpu_ms: (ticks(11)? + ticks(12)?) * TICK_MS,
            parent: fields.get(1)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_now_and_at_its_peak_is_read_from_the_status() {
        let status = "Name:\tdlq-consumer\nVmPeak:\t  310988 kB\nVmHWM:\t   41236 kB\nVmRSS:\t   40004 kB\n";
        assert_eq!(peak_memory_kib(status), Some(41_236));
        assert_eq!(resident_kib(status), Some(40_004));
        assert_eq!(peak_memory_kib("Name:\tdlq-consumer\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn the_state_and_the_time_are_read_past_any_name() {
        let rest = "4 1 1 0 -1 4194304 1 0 0 0 123 45 7 8 20 0 9 0 100 1 1";
        let running = Stat { has_ended: false, cpu_ms: 1680, parent: 4 };
        assert_eq!(Stat::parse(&format!("17 (dlq) R 1 (x) S {rest}")), Some(running));
        assert_eq!(Stat::parse(&format!("17 (dlq) Z {rest}")), Some(Stat { has_ended: true, ..running }));
        assert_eq!(Stat::parse("17 (dlq) S 4"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
        assert!(peak_memory_kib(&read("status")).unwrap() > 0);
        assert!(!Stat::parse(&read("stat")).unwrap().has_ended);
    }
}
