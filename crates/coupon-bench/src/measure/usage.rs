//! What running processes have used, as `/proc` tells it.

use procfs::{
    FromRead, ProcResult,
    process::{Process, Stat},
};

/// CPU time of all threads of a process so far, in ms: its own and the kernel's on its behalf.
pub fn cpu_ms(pid: u32) -> ProcResult<u64> {
    Ok(ms_of(&process(pid)?.stat()?))
}

/// CPU time of the calling thread so far, in ms.
pub fn thread_cpu_ms() -> u64 {
    Stat::from_file("/proc/thread-self/stat").map_or(0, |stat| ms_of(&stat))
}

/// Resident memory of a process in MiB: now, and at its peak. None for a process that has ended.
#[expect(clippy::cast_precision_loss, reason = "KiB of a process are far below 2^53")]
pub fn memory_mib(process: &Process) -> Option<(f64, f64)> {
    let status = process.status().ok()?;
    Some((status.vmrss? as f64 / 1024.0, status.vmhwm? as f64 / 1024.0))
}

/// Opens the process of this id in `/proc`.
pub fn process(pid: u32) -> ProcResult<Process> {
    Process::new(i32::try_from(pid).unwrap_or(i32::MAX))
}

/// Returns the CPU time of a process in ms.
pub fn ms_of(stat: &Stat) -> u64 {
    (stat.utime + stat.stime) * 1000 / procfs::ticks_per_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let this = process(std::process::id()).unwrap();
        let (now, peak) = memory_mib(&this).unwrap();
        assert!(now > 0.0 && peak >= now, "{now} of {peak}");
        assert!(thread_cpu_ms() <= cpu_ms(std::process::id()).unwrap());
        assert!(cpu_ms(u32::MAX).is_err());
    }
}
