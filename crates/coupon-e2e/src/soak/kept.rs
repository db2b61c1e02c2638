//! The files of a run: JSON lines below `target/soak/SEED`, from which it can be judged again.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::answers::{Answer, State};

const ANSWERS: &str = "answers.jsonl";

/// The folder of one run.
#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// Makes the folder anew.
    pub(super) fn new(seed: u64) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/soak").join(seed.to_string());
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(Self { folder: folder.canonicalize()? })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends a line to a file.
    pub(super) fn line(&self, file: &str, value: &Value) -> Result<()> {
        self.append(file, &format!("{value}\n"))
    }

    /// Appends whole lines to a file.
    pub(super) fn append(&self, file: &str, lines: &str) -> Result<()> {
        let path = self.folder.join(file);
        let mut file = File::options().create(true).append(true).open(&path)?;
        file.write_all(lines.as_bytes()).with_context(|| path.display().to_string())
    }

    /// Appends answers.
    pub(super) fn answers(&self, answers: &[Answer]) -> Result<()> {
        let mut lines = String::new();
        for answer in answers {
            writeln!(lines, "{}", to_json(answer))?;
        }
        self.append(ANSWERS, &lines)
    }

    /// Reads all answers again.
    pub(super) fn read_answers(&self) -> Result<Vec<Answer>> {
        self.read(ANSWERS)?.iter().map(|line| from_json(line).context("an answer that was kept")).collect()
    }

    /// Reads the lines of a file; none if there is none.
    pub(super) fn read(&self, file: &str) -> Result<Vec<Value>> {
        let Ok(file) = File::open(self.folder.join(file)) else { return Ok(Vec::new()) };
        BufReader::new(file).lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
    }

    /// Copies the log files of the services.
    pub(super) fn copy_logs(&self, from: &Path) -> Result<()> {
        for binary in ["issuer-api", "issue-consumer", "dlq-consumer"] {
            let name = format!("{binary}.log");
            fs::copy(from.join(&name), self.folder.join(&name)).with_context(|| name.clone())?;
        }
        Ok(())
    }
}

fn to_json(answer: &Answer) -> Value {
    json!({
        "at": answer.at, "took_ms": u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX),
        "member": answer.member, "coupon": answer.coupon, "question": answer.question.as_str(),
        "status": answer.status, "request_id": answer.request_id, "state": answer.state.map(State::as_str),
        "code": answer.code, "no_answer": answer.no_answer,
    })
}

/// What the oracle reads of an answer.
fn from_json(line: &Value) -> Option<Answer> {
    let text = |field: &str| line[field].as_str().map(str::to_owned);
    Some(Answer {
        at: line["at"].as_str()?.parse().ok()?,
        member: text("member")?,
        coupon: text("coupon")?,
        status: line["status"].as_u64().and_then(|status| status.try_into().ok()),
        request_id: line["request_id"].as_str().and_then(|id| id.parse().ok()),
        state: line["state"].as_str().and_then(State::parse),
        code: text("code"),
        ..Answer::default()
    })
}
