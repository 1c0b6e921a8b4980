//! PostgreSQL of a test's own, which it may stop, kill and start again: the scripts in `postgres/` as values. Tests that only need
//! books take a database on the server of the whole run instead (`COUNTERSIGN_TEST_POSTGRES`).

use std::ffi::OsStr;
use std::path::Path;
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
    script: Script,
    url: String,
}

impl Postgres {
    /// Starts one with settings of the server's own (`fsync=off`), or what else the script takes. `None` where PostgreSQL isn't installed.
    pub fn start(settings: &[&str]) -> Result<Option<Self>> {
        Self::start_in(&[], settings)
    }

    /// The same in surroundings of its own: a program and its arguments, to which the command is added.
    pub fn start_in(wrapper: &[String], settings: &[&str]) -> Result<Option<Self>> {
        let script = Script::new("cluster", wrapper)?;
        let (program, before) = script.command.split_first().context("the script's name")?;
        let installed = Command::new(program)
            .args(before)
            .arg("binaries")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !installed.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        script.start(settings)?;
        script.run(
            "psql",
            ["-d", "postgres", "-c", "CREATE DATABASE books OWNER countersign"],
        )?;
        let url = script.run("url", ["books"])?.trim().to_owned();
        Ok(Some(Self { script, url }))
    }

    /// The URL of an empty database that belongs to its role.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What its superuser is answered in that database: a line for each row, columns apart by `|`.
    pub fn psql(&self, sql: &str) -> Result<String> {
        self.script.run("psql", ["-d", "books", "-A", "-t", "-c", sql])
    }

    /// Stops the server; its data stay.
    pub fn stop(&self, how: Stop) -> Result<()> {
        let mode = match how {
            Stop::Immediate => "immediate",
            Stop::Kill => "kill",
        };
        self.script.run("down", [mode]).map(drop)
    }

    /// Starts it again, at the same address, and waits until it takes connections.
    pub fn restart(&self) -> Result<()> {
        self.script.run("up", [""; 0]).map(drop)
    }
}

/// What of a primary is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The server and the Patroni beside it, as when a machine is gone.
    Machine,
    /// The server alone, as when it crashes.
    Server,
}

/// A cluster of three members, of which Patroni makes one the primary; it is gone with this value, or with the process.
#[derive(Debug)]
pub struct Patroni {
    script: Script,
    url: String,
}

impl Patroni {
    /// Starts it, which takes some ten seconds, with a database that belongs to its role.
    pub fn start() -> Result<Self> {
        let script = Script::new("patroni", &[])?;
        let url = script.start(&[])?.trim().to_owned();
        Ok(Self { script, url })
    }

    /// The URL with the hosts of all members, of which the one that takes writes is to be used.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `kill -9` of the primary, which is named.
    pub fn kill(&self, what: Lost) -> Result<String> {
        let what = match what {
            Lost::Machine => "both",
            Lost::Server => "postgres",
        };
        Ok(self.script.run("kill", [what])?.trim().to_owned())
    }

    /// Starts a member whose Patroni was killed.
    pub fn revive(&self, member: &str) -> Result<()> {
        self.script.run("revive", [member]).map(drop)
    }

    /// Waits until there is a primary with a synchronous standby, and every member runs.
    pub fn whole(&self) -> Result<()> {
        self.script.run("whole", [""; 0]).map(drop)
    }
}

/// One of the scripts, with the folder of its cluster.
#[derive(Debug)]
struct Script {
    /// In surroundings of its own where the cluster is.
    command: Vec<String>,
    /// The cluster's own folder is inside: a folder that others may pass through, since PostgreSQL refuses to be root.
    scratch: TempDir,
}

impl Script {
    fn new(name: &str, wrapper: &[String]) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres").join(name);
        let mut command = wrapper.to_vec();
        command.push(script.display().to_string());
        Ok(Self {
            command,
            scratch: open_folder()?,
        })
    }

    fn start(&self, arguments: &[&str]) -> Result<String> {
        // Also gone where this test is killed.
        let own_id = std::process::id().to_string();
        self.run("start", ["--for", &own_id].iter().chain(arguments))
    }

    fn run<A: AsRef<OsStr>>(&self, action: &str, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        let (program, before) = self.command.split_first().context("the script's name")?;
        let output = Command::new(program)
            .args(before)
            .arg(action)
            .arg(self.scratch.path().join("cluster"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{:?} {action}", self.command))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{:?} {action} failed: {said}", self.command);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Script {
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
