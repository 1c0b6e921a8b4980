//! A PostgreSQL cluster of a test's own, which it may stop, kill and start again: the script `postgres/cluster` as a value. Tests that
//! only need books take a database on the server of the whole run instead (`COUNTERSIGN_TEST_POSTGRES`).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// `immediate`: at once and without a word, as a crash; the server recovers at its start.
    Immediate,
    /// `kill -9` of the server and of what serves its connections.
    Kill,
}

/// A cluster that runs, or was stopped; it is gone with this value, or with the process.
#[derive(Debug)]
pub struct Postgres {
    /// The script, in surroundings of its own where the cluster is.
    script: Vec<String>,
    url: String,
    /// The cluster's own folder is inside: a folder that others may pass through, since PostgreSQL refuses to be root.
    scratch: TempDir,
}

impl Postgres {
    /// Starts one with settings of the server's own (`fsync=off`). `None` where PostgreSQL isn't installed.
    pub fn start(settings: &[&str]) -> Result<Option<Self>> {
        Self::start_in(&[], settings)
    }

    /// The same in surroundings of its own: a program and its arguments, to which the command is added.
    pub fn start_in(wrapper: &[String], settings: &[&str]) -> Result<Option<Self>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres/cluster");
        let installed = Command::new(&script)
            .arg("binaries")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !installed.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let mut command = wrapper.to_vec();
        command.push(script.display().to_string());
        let mut cluster = Self {
            script: command,
            url: String::new(),
            scratch: open_folder()?,
        };
        // Also gone where this test is killed.
        let own_id = std::process::id().to_string();
        cluster.run("start", ["--for", &own_id].iter().chain(settings))?;
        cluster.run(
            "psql",
            ["-d", "postgres", "-c", "CREATE DATABASE books OWNER countersign"],
        )?;
        cluster.run("url", ["books"])?.trim().clone_into(&mut cluster.url);
        Ok(Some(cluster))
    }

    /// The URL of an empty database that belongs to its role.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server; its data stay.
    pub fn stop(&self, how: Stop) -> Result<()> {
        let mode = match how {
            Stop::Immediate => "immediate",
            Stop::Kill => "kill",
        };
        self.run("down", [mode]).map(drop)
    }

    /// Starts it again, at the same address, and waits until it takes connections.
    pub fn restart(&self) -> Result<()> {
        self.run("up", [""; 0]).map(drop)
    }

    /// What a query answers to the superuser, whose sight nothing limits: rows by line, columns between `|`.
    pub fn query(&self, sql: &str) -> Result<String> {
        self.run("psql", ["-d", "books", "-At", "-c", sql])
    }

    fn run<A: AsRef<OsStr>>(&self, action: &str, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        let (program, before) = self.script.split_first().context("the script's name")?;
        let output = Command::new(program)
            .args(before)
            .arg(action)
            .arg(self.folder())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{:?} {action}", self.script))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{action} of the cluster failed: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path().join("cluster")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Where that fails, the script's own guard tries again once this process is gone.
        let _ = self.run("stop", [""; 0]);
    }
}

fn open_folder() -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("countersign-pg-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
    builder.tempdir().context("a folder for PostgreSQL")
}
