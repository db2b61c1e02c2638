//! Signals, by the `kill` program: the crate forbids unsafe code.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

/// Sends a signal such as `TERM`, `KILL`, `STOP` or `CONT`.
pub fn send(signal: &str, pid: u32) -> Result<()> {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "kill -{signal} {pid} failed");
    Ok(())
}
