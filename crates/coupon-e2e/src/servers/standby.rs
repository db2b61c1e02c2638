//! A hot standby of a PostgreSQL: it answers what is asked, and takes no writes.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::{process::ports, process::signal, servers::with_address, wait::eventually};

/// A copy and a start on a busy machine.
const FOLLOWS_WITHIN: Duration = Duration::from_mins(1);

/// A `postgres` that follows another one. It ends, and its data is deleted, when this value is dropped.
#[derive(Debug)]
pub struct Standby {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Standby {
    /// Copies the primary of this URL and waits until the copy answers.
    pub async fn of(url: &str) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, ports::free()?);
        let data = folder.path().join("data");
        if is_root()? {
            // PostgreSQL refuses to run as root.
            let owned = Command::new("chown").arg("postgres:").arg(folder.path()).status()?;
            ensure!(owned.success(), "chown postgres");
        }
        let copied = program("pg_basebackup")?
            .args(["--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf", "--dbname", url, "--pgdata"])
            .arg(&data)
            .current_dir(folder.path())
            .output()?;
        ensure!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        let child = program("postgres")?
            .arg("-D")
            .arg(&data)
            .args(["-c", &format!("port={port}"), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "hot_standby=on", "-c", "max_connections=300"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("postgres does not start")?;
        let url = with_address(url, ([127, 0, 0, 1], port).into())?;
        let standby = Self { child, url, _folder: folder };
        eventually("the standby answers", FOLLOWS_WITHIN, async || -> Result<bool> {
            let mut connection = PgConnection::connect(&standby.url).await?;
            Ok(sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut connection).await?)
        })
        .await?;
        Ok(standby)
    }

    /// Where it is: the URL of the primary with another address.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        // An immediate stop: SIGKILL would leave children behind.
        signal::send("QUIT", self.child.id()).ok();
        self.child.wait().ok();
    }
}

fn is_root() -> Result<bool> {
    let id = Command::new("id").arg("-u").output()?;
    Ok(id.stdout.trim_ascii() == b"0")
}

/// A program of the newest PostgreSQL installed, as a user who may run it.
fn program(name: &str) -> Result<Command> {
    let path = newest(Path::new("/usr/lib/postgresql"))?.join("bin").join(name);
    if !is_root()? {
        return Ok(Command::new(path));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(path);
    Ok(command)
}

fn newest(folder: &Path) -> Result<PathBuf> {
    let versions = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let versions = versions.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().with_context(|| format!("a version in {}", folder.display()))?;
    Ok(folder.join(newest.to_string()))
}
