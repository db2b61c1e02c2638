//! Following the services' log files from where they end when the demo begins.

use std::{
    collections::VecDeque,
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use uuid::Uuid;

use crate::{process::logs::LogLine, wait::eventually};

/// Reads the log of one service from the beginning of the demo on.
pub(super) struct Follower {
    /// Name of the service.
    pub service: &'static str,
    path: PathBuf,
    file: File,
    /// Bytes of a line that is still being written.
    rest: Vec<u8>,
    read: VecDeque<LogLine>,
}

impl Follower {
    /// Follows `SERVICE.log` in this folder.
    pub fn at_end_of(folder: &Path, service: &'static str) -> Result<Self> {
        let path = folder.join(format!("{service}.log"));
        let mut file = File::open(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { service, path, file, rest: Vec::new(), read: VecDeque::new() })
    }

    /// Returns the next line about a request whose message begins with one of these texts; lines before it are skipped.
    pub async fn next(&mut self, request_id: Uuid, beginnings: &[&str], within: Duration) -> Result<LogLine> {
        let what = format!("{:?} about {request_id} in {}", beginnings.join(" or "), self.path.display());
        eventually(&what, within, async || -> Result<Option<LogLine>> {
            self.read_on()?;
            let wanted = |line: &LogLine| {
                line.is_about(request_id) && beginnings.iter().any(|beginning| line.message().starts_with(beginning))
            };
            Ok(std::iter::from_fn(|| self.read.pop_front()).find(wanted))
        })
        .await
    }

    /// Every line so far about a request whose message begins so; nothing is passed over.
    pub fn all(&mut self, request_id: Uuid, beginning: &str) -> Result<Vec<LogLine>> {
        self.read_on()?;
        let wanted = |line: &&LogLine| line.is_about(request_id) && line.message().starts_with(beginning);
        Ok(self.read.iter().filter(wanted).cloned().collect())
    }

    fn read_on(&mut self) -> Result<()> {
        let mut chunk = [0; 8 * 1024];
        loop {
            match self.file.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(length) => self.take(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.read.push_back(LogLine::parse(&String::from_utf8_lossy(&self.rest)));
                self.rest.clear();
            } else {
                self.rest.push(*byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn only_whole_lines_behind_the_beginning_are_read() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut log = File::create(folder.path().join("some.log"))?;
        let id = Uuid::now_v7();
        let line = format!(r#"{{"fields":{{"message":"attempt failed","request_id":"{id}"}}}}"#);
        writeln!(log, "{line}")?;
        let mut follower = Follower::at_end_of(folder.path(), "some")?;
        let (half, other_half) = line.split_at(20);
        write!(log, "{half}")?;
        assert_eq!(follower.all(id, "attempt failed")?.len(), 0);
        writeln!(log, "{other_half}")?;
        assert_eq!(follower.all(id, "attempt failed")?.len(), 1);
        assert!(follower.next(id, &["attempt"], Duration::from_secs(1)).await.is_ok());
        assert!(follower.next(id, &["attempt"], Duration::ZERO).await.is_err());
        Ok(())
    }
}
