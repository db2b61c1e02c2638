//! What `doctor` prints: each check in one line, with what to do about it.

use std::io::{self, Write};
use std::process::ExitCode;

use super::Escaped;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in one or two words: `redis`, `topic coupon-issued`.
    pub name: String,
    /// What was found.
    pub outcome: CheckOutcome,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckOutcome {
    /// Good, with what was seen.
    Ok(String),
    /// The service works, but a promise is weaker than it should be.
    Warn {
        /// What is wrong.
        what: String,
        /// How to put it right.
        fix: String,
    },
    /// The service cannot work like this.
    Fail {
        /// What is wrong.
        what: String,
        /// How to put it right.
        fix: String,
    },
}

impl Finding {
    /// All is well.
    pub fn ok(name: impl Into<String>, seen: impl Into<String>) -> Finding {
        Finding { name: name.into(), outcome: CheckOutcome::Ok(seen.into()) }
    }

    /// It works, but it should be put right.
    pub fn warn(name: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { name: name.into(), outcome: CheckOutcome::Warn { what: what.into(), fix: fix.into() } }
    }

    /// It must be put right.
    pub fn fail(name: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { name: name.into(), outcome: CheckOutcome::Fail { what: what.into(), fix: fix.into() } }
    }
}

/// Prints the findings to standard output; the exit code is 1 if one of them failed, else 0.
pub fn print(findings: impl IntoIterator<Item = Finding>) -> ExitCode {
    let findings: Vec<Finding> = findings.into_iter().collect();
    // A reader that went away, such as `head`, has seen what it wanted.
    drop(io::stdout().write_all(lines(&findings).as_bytes()));
    if has_failed(&findings) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn has_failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| matches!(finding.outcome, CheckOutcome::Fail { .. }))
}

fn lines(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
    let line = |finding: &Finding| {
        let (verdict, text) = match &finding.outcome {
            CheckOutcome::Ok(seen) => ("ok  ", Escaped(seen).to_string()),
            CheckOutcome::Warn { what, fix } => ("warn", format!("{} — {}", Escaped(what), Escaped(fix))),
            CheckOutcome::Fail { what, fix } => ("FAIL", format!("{} — {}", Escaped(what), Escaped(fix))),
        };
        format!("{verdict}  {:width$}  {text}\n", finding.name)
    };
    findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_one_line_and_a_failure_decides() {
        let mut findings = vec![
            Finding::ok("kafka", "3 brokers"),
            Finding::warn("redis aof", "append-only is off", "set appendonly yes"),
        ];
        assert!(!has_failed(&findings));
        findings.push(Finding::fail("redis", "evicts\nkeys", "set maxmemory-policy noeviction"));
        assert!(has_failed(&findings));
        assert_eq!(
            lines(&findings),
            "ok    kafka      3 brokers\n\
             warn  redis aof  append-only is off — set appendonly yes\n\
             FAIL  redis      evicts\\nkeys — set maxmemory-policy noeviction\n"
        );
    }
}
