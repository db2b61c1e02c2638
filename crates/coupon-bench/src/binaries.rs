//! Where the binaries are that are measured.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

/// The binaries of one build.
#[derive(Clone, Debug, Args)]
pub struct Binaries {
    /// Folder of the binaries; without it they are looked for beside coupon-bench.
    #[arg(long, value_name = "FOLDER", env = "COUPON_BIN_DIR")]
    bin_dir: Option<PathBuf>,
    /// This dlq-consumer instead.
    #[arg(long, value_name = "PATH")]
    dlq_consumer: Option<PathBuf>,
}

impl Binaries {
    /// The one that repairs.
    pub fn dlq_consumer(&self) -> Result<PathBuf> {
        match &self.dlq_consumer {
            Some(path) => there(path.clone()),
            None => self.find("dlq-consumer"),
        }
    }

    /// The one that owns the schema.
    pub fn issue_consumer(&self) -> Result<PathBuf> {
        self.find("issue-consumer")
    }

    fn find(&self, name: &str) -> Result<PathBuf> {
        let folder = match &self.bin_dir {
            Some(folder) => folder.clone(),
            None => {
                let this = std::env::current_exe().context("this program has no path")?;
                this.parent().map(Path::to_path_buf).unwrap_or_default()
            }
        };
        there(folder.join(name))
    }
}

fn there(path: PathBuf) -> Result<PathBuf> {
    ensure!(
        path.is_file(),
        "{} is not there; build it with `cargo build --release --workspace --bins`, or say with --bin-dir where it is",
        path.display()
    );
    Ok(path)
}
