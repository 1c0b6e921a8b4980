//! Finds the binary under test, beside the test's own executable, and builds it where it is missing or older than its
//! sources, so that `cargo test -p countersign-e2e` never tests yesterday's server.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};

/// The path of the `countersign` binary. `COUNTERSIGN_BIN` names another one.
pub fn binary() -> Result<PathBuf> {
    static CHECKED: Mutex<Option<PathBuf>> = Mutex::new(None);
    if let Some(named) = std::env::var_os("COUNTERSIGN_BIN") {
        return Ok(PathBuf::from(named));
    }
    // Tests run side by side: the first one looks, and builds; the others wait here.
    let mut checked = CHECKED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(path) = &*checked {
        return Ok(path.clone());
    }
    let path = find_or_build()?;
    *checked = Some(path.clone());
    Ok(path)
}

fn find_or_build() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this test is")?;
    // target/PROFILE/deps/this-test, or target/PROFILE/this-binary
    let beside = own.parent().context("this test lies in no directory")?;
    let profile_dir = match beside.file_name().and_then(OsStr::to_str) {
        Some("deps") => beside
            .parent()
            .context("this test doesn't lie in a cargo target directory")?,
        _ => beside,
    };
    let binary = profile_dir.join(format!("countersign{}", std::env::consts::EXE_SUFFIX));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace's directory")?;
    let built = binary.metadata().and_then(|meta| meta.modified()).ok();
    let newest_source = newest_source(&workspace.join("crates"))?;
    if built.is_none_or(|built| built < newest_source) {
        build(workspace, profile_dir)?;
    }
    ensure!(binary.exists(), "cargo built no {}", binary.display());
    Ok(binary)
}

fn build(workspace: &Path, profile_dir: &Path) -> Result<()> {
    let profile = match profile_dir.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let target_dir = profile_dir.parent().context("cargo's target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace)
        .args([
            "build",
            "--quiet",
            "-p",
            "countersign",
            "--profile",
            profile,
            "--target-dir",
        ])
        .arg(target_dir)
        .status()
        .context("cargo build -p countersign")?;
    ensure!(status.success(), "cargo build -p countersign failed");
    Ok(())
}

/// When a source of the binary last changed; tests and benchmarks of the crates don't count.
fn newest_source(directory: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir()
                && !["tests", "benches", "target"]
                    .map(OsStr::new)
                    .contains(&&*entry.file_name())
            {
                directories.push(entry.path());
            } else if kind.is_file() {
                newest = newest.max(entry.metadata()?.modified()?);
            }
        }
    }
    Ok(newest)
}
