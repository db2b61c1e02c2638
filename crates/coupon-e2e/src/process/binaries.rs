//! Where the real binaries are.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

/// Path of one of the binaries: in `COUPON_BIN_DIR`, or beside the running program (for a test: above its `deps`).
pub fn find(name: &str) -> Result<PathBuf> {
    let folder = match env::var_os("COUPON_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => beside_this_program()?,
    };
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{} is not there; build the workspace first, or say where the binaries are with COUPON_BIN_DIR",
        path.display()
    );
    Ok(path)
}

fn beside_this_program() -> Result<PathBuf> {
    let program = env::current_exe().context("this program has no path")?;
    let folder = program.parent().context("this program has no folder")?;
    Ok(if folder.ends_with("deps") {
        folder.parent().map(Path::to_path_buf).unwrap_or_default()
    } else {
        folder.to_owned()
    })
}
