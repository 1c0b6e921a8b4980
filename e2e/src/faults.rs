//! Disks that fail at a moment of the test's choice. [`FaultyDisk`] is a library (`faults.c`) that is loaded into the server and
//! makes its writes or syncs fail while a trigger file exists: it needs only a C compiler. [`SmallDisk`] is a file system of
//! a few megabytes in a mount namespace of its own, which is really full: it needs a system that permits namespaces.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::server::Options;

const SOURCE: &str = include_str!("faults.c");

/// A directory whose disk can be told to fail.
#[derive(Debug)]
pub struct FaultyDisk {
    scratch: TempDir,
}

impl FaultyDisk {
    /// Compiles the library.
    pub fn new() -> Result<Self> {
        let scratch = TempDir::with_prefix("countersign-faults-")?;
        let (source, library) = (scratch.path().join("faults.c"), scratch.path().join("faults.so"));
        fs::write(&source, SOURCE)?;
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let output = Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .output()
            .context("a C compiler")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the faults don't compile: {said}");
        fs::create_dir(scratch.path().join("disk"))?;
        Ok(Self { scratch })
    }

    /// How to start a server on this disk.
    pub fn options(&self) -> Options {
        let variable = |name: &str, path: PathBuf| (name.to_owned(), path.display().to_string());
        Options {
            data_dir: Some(self.scratch.path().join("disk").join("data")),
            sqlite: true,
            env: vec![
                variable("LD_PRELOAD", self.scratch.path().join("faults.so")),
                variable("FAULTS_DIR", self.scratch.path().join("disk")),
                variable("FAULTS_FULL", self.full_trigger()),
                variable("FAULTS_SYNC", self.sync_trigger()),
            ],
            ..Options::default()
        }
    }

    /// From now on the disk is full, or has room again.
    pub fn set_full(&self, full: bool) -> Result<()> {
        set(&self.full_trigger(), full)
    }

    /// From now on syncs of the database's log fail, or work again.
    pub fn set_sync_fails(&self, fails: bool) -> Result<()> {
        set(&self.sync_trigger(), fails)
    }

    fn full_trigger(&self) -> PathBuf {
        self.scratch.path().join("full")
    }

    fn sync_trigger(&self) -> PathBuf {
        self.scratch.path().join("sync")
    }
}

fn set(trigger: &Path, exists: bool) -> Result<()> {
    if exists {
        File::create(trigger)?;
    } else {
        fs::remove_file(trigger)?;
    }
    Ok(())
}

/// A file system of its own, small enough to be filled up.
#[derive(Debug)]
pub struct SmallDisk {
    /// Holds the namespace, and ends when its standard input closes.
    keeper: Child,
    mount_point: TempDir,
    user_namespace: bool,
}

impl SmallDisk {
    /// Mounts it; `None` where this system permits no namespaces.
    pub fn mount(megabytes: u32) -> Result<Option<Self>> {
        for user_namespace in [false, true] {
            let mount_point = TempDir::with_prefix("countersign-disk-")?;
            let script = format!(
                "mount -t tmpfs -o size={megabytes}m,mode=700 tmpfs \"$0\" && echo mounted && exec cat >/dev/null"
            );
            let keeper = Command::new("unshare")
                .arg(if user_namespace { "-rm" } else { "-m" })
                .args(["sh", "-c", &script])
                .arg(mount_point.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn();
            let Ok(mut keeper) = keeper else { return Ok(None) };
            let mut line = String::new();
            let output = keeper.stdout.take().context("the keeper's output")?;
            BufReader::new(output).read_line(&mut line)?;
            if line.trim() == "mounted" {
                return Ok(Some(Self {
                    keeper,
                    mount_point,
                    user_namespace,
                }));
            }
            keeper.wait()?;
        }
        Ok(None)
    }

    /// How to start a server on this disk.
    pub fn options(&self) -> Options {
        let mut wrapper = vec![
            "nsenter".to_owned(),
            format!("--target={}", self.keeper.id()),
            "--mount".to_owned(),
        ];
        if self.user_namespace {
            wrapper.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
        }
        Options {
            data_dir: Some(self.mount_point.path().join("data")),
            wrapper,
            sqlite: true,
            ..Options::default()
        }
    }

    /// Writes a file until nothing more fits.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        loop {
            match ballast.write(&[0x5a; 4_096]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Deletes that file.
    pub fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    /// The file, seen from outside of the namespace.
    fn ballast(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        let inside = self.mount_point.path().join("ballast");
        root.join(inside.strip_prefix("/").unwrap_or(&inside))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The file system goes with the last process in its namespace.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
