//! What `doctor` prints: each check in one line, with what to do about it.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use super::Escaped;

const OK: &str = "ok  ";
const WARN: &str = "warn";
const FAIL: &str = "FAIL";

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was checked, in one or two words: `redis`, `topic coupon-issued`.
    name: String,
    verdict: &'static str,
    /// What was seen, or what is wrong and how to put it right.
    text: String,
}

impl Finding {
    /// The check passed; `seen` is what was found.
    pub fn ok(name: impl Into<String>, seen: impl Display) -> Finding {
        Finding { name: name.into(), verdict: OK, text: Escaped(seen).to_string() }
    }

    /// The service works, but a promise is weaker than it should be.
    pub fn warn(name: impl Into<String>, what: impl Display, fix: impl Display) -> Finding {
        Finding { verdict: WARN, ..Finding::fail(name, what, fix) }
    }

    /// The service cannot work like this.
    pub fn fail(name: impl Into<String>, what: impl Display, fix: impl Display) -> Finding {
        Finding { name: name.into(), verdict: FAIL, text: format!("{} — {}", Escaped(what), Escaped(fix)) }
    }

    /// What was checked, in one or two words.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The result: `ok`, `warn` or `FAIL`.
    pub fn verdict(&self) -> &'static str {
        self.verdict.trim_end()
    }

    /// What was seen, or what is wrong and how to put it right.
    pub fn text(&self) -> &str {
        &self.text
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
    findings.iter().any(|finding| finding.verdict == FAIL)
}

fn lines(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
    let line = |Finding { name, verdict, text }: &Finding| format!("{verdict}  {name:width$}  {text}\n");
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
