//! The real binary as a child process: started on a free port with its own data directory, killed, ended, started again.
//! Whatever happens to the test, the child is gone when its [`Server`] is.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use countersign_store::testing;
use serde::Deserialize;
use tempfile::TempDir;

use crate::api::Api;
use crate::binary::binary;

/// How long a start may take before the test gives up. Far above what is promised: a loaded machine is no error.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// How long a clean end may take.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// Names the books' database, to the server and to the command line.
const DATABASE_VARIABLE: &str = "COUNTERSIGN_DATABASE_URL";

/// How to start a server.
#[derive(Debug, Default)]
pub struct Options {
    /// Arguments after `serve --listen 127.0.0.1:0 --data-dir DIR --json`.
    pub args: Vec<String>,
    /// Environment variables besides the test's own.
    pub env: Vec<(String, String)>,
    /// The data directory; a temporary one where none is named.
    pub data_dir: Option<PathBuf>,
    /// A command that starts the binary in surroundings of its own: a program and its arguments, to which the binary is added.
    pub wrapper: Vec<String>,
    /// The PostgreSQL database with its books, where a test has one of its own.
    pub database: Option<String>,
    /// Its books are SQLite's also where tests take PostgreSQL: for tests about that file and the disk below it.
    pub sqlite: bool,
    /// No file may grow beyond so many KiB: a disk that is full at a known moment.
    pub max_file_kib: Option<u32>,
}

/// The line that a server prints once it takes calls.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    /// Where the API is.
    pub api_url: String,
    /// The sandbox account's token; production prints none.
    #[serde(default)]
    pub token: Option<String>,
    /// Where the inbox page is, if there is one.
    #[serde(default)]
    pub inbox_url: Option<String>,
    /// Where the API is over TLS, if it is.
    #[serde(default)]
    pub tls_url: Option<String>,
    /// Where its metrics are, if anywhere.
    #[serde(default)]
    pub metrics_url: Option<String>,
    /// The file with the sandbox's CA certificate, if it made one.
    #[serde(default)]
    pub sandbox_ca: Option<PathBuf>,
}

/// A server that runs, or ran.
#[derive(Debug)]
pub struct Server {
    options: Options,
    data_dir: PathBuf,
    /// The PostgreSQL database with its books; `None`: SQLite in the data directory.
    database: Option<String>,
    child: Child,
    ready: Ready,
    ready_in: Duration,
    /// Holds the child's log and, where no directory was named, its data; deleted after the child is gone.
    scratch: TempDir,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub fn start(options: Options) -> Result<Self> {
        let scratch = TempDir::with_prefix("countersign-e2e-")?;
        let data_dir = match &options.data_dir {
            Some(named) => named.clone(),
            None => scratch.path().join("data"),
        };
        let database = match &options.database {
            Some(named) => Some(named.clone()),
            None if options.sqlite => None,
            None => testing::database_url(&data_dir)?,
        };
        let log = scratch.path().join("server.log");
        let (child, ready, ready_in) = spawn(&options, &data_dir, database.as_deref(), &log)?;
        Ok(Self {
            options,
            data_dir,
            database,
            child,
            ready,
            ready_in,
            scratch,
        })
    }

    /// What it printed once it was ready.
    pub const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// From the start of the process to its readiness line.
    pub const fn ready_in(&self) -> Duration {
        self.ready_in
    }

    /// Where its API is.
    pub fn api_url(&self) -> &str {
        &self.ready.api_url
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its log since its last start.
    pub fn log(&self) -> String {
        read_log(&self.scratch.path().join("server.log"))
    }

    /// A caller with the sandbox account's token.
    pub fn api(&self) -> Result<Api> {
        let token = self.ready.token.as_deref().context("the server printed no token")?;
        Api::new(self.api_url(), token)
    }

    /// `kill -9`: the process ends in the middle of whatever it does.
    pub fn kill9(&mut self) -> Result<()> {
        self.child.kill().context("kill -9")?;
        self.child.wait().context("waiting for the killed server")?;
        Ok(())
    }

    /// SIGTERM, and how the process ended.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        // The shell's own `kill`: the standard library has no signals, and this needs no crate for one.
        let sent = Command::new("sh")
            .args(["-c", "kill -TERM \"$0\"", &self.child.id().to_string()])
            .status()
            .context("kill -TERM")?;
        ensure!(sent.success(), "kill -TERM {} failed", self.child.id());
        self.wait_for_end()
    }

    /// Gives the next start a disk with room again.
    pub fn lift_file_limit(&mut self) {
        self.options.max_file_kib = None;
    }

    /// Waits until the process has ended by itself.
    pub fn wait_for_end(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + END_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the server did not end; its log:\n{}", self.log());
            }
            // Polls a process for its end: the standard library can't wait for one with a deadline.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it again after it ended, on the same data and on another free port.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_some(), "the server still runs");
        let log = self.scratch.path().join("server.log");
        (self.child, self.ready, self.ready_in) = spawn(&self.options, &self.data_dir, self.database.as_deref(), &log)?;
        Ok(())
    }

    /// Runs the command line of the same binary against this server: its data directory and its address are set.
    pub fn cli<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Output> {
        let mut command = wrapped(&self.options.wrapper)?;
        command
            .args(args)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .env("COUNTERSIGN_URL", self.api_url())
            .env_remove("COUNTERSIGN_OPERATOR_KEY")
            .envs(self.database.iter().map(|url| (DATABASE_VARIABLE, url)))
            .stdin(Stdio::null());
        if let Some(token) = &self.ready.token {
            command.env("COUNTERSIGN_TOKEN", token);
        }
        command.output().context("countersign's command line")
    }

    /// Like [`Server::cli`] with `--json`: what it printed, read as JSON.
    pub fn cli_json<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<serde_json::Value> {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = self.cli(
            args.iter()
                .map(std::ffi::OsString::as_os_str)
                .chain([OsStr::new("--json")]),
        )?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{args:?} ended with {}: {said}", output.status);
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{args:?} printed {}", String::from_utf8_lossy(&output.stdout)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; either way nothing of it stays behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, behind the wrapper where there is one.
fn wrapped(wrapper: &[String]) -> Result<Command> {
    let Some((program, arguments)) = wrapper.split_first() else {
        return Ok(Command::new(binary()?));
    };
    let mut command = Command::new(program);
    command.args(arguments).arg(binary()?);
    Ok(command)
}

fn spawn(options: &Options, data_dir: &Path, database: Option<&str>, log: &Path) -> Result<(Child, Ready, Duration)> {
    let mut command = match options.max_file_kib {
        None => wrapped(&options.wrapper)?,
        Some(kib) => {
            // The shell counts blocks of 512 bytes. Signal 25 (XFSZ) is ignored, so that a write fails as on a full disk.
            let mut command = Command::new("sh");
            let script = format!("trap '' 25; ulimit -f {}; exec \"$0\" \"$@\"", 2 * kib);
            command.args(["-c", &script]).arg(binary()?);
            command
        }
    };
    // A developer's own settings must not reach the server under test.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COUNTERSIGN_") {
            command.env_remove(name);
        }
    }
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir)
        .arg("--json")
        .args(&options.args)
        .envs(few_connections(database))
        .envs(options.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(log).context("the server's log")?);
    let started = Instant::now();
    let mut child = command.spawn().context("countersign serve")?;
    let stdout = child.stdout.take().context("the server's output")?;
    match wait_until_ready(stdout) {
        Ok(ready) => Ok((child, ready, started.elapsed())),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error.context(format!("the server did not become ready; its log:\n{}", read_log(log))))
        }
    }
}

/// What tells a server its database, and that it isn't alone on it: many tests run at once.
fn few_connections(database: Option<&str>) -> Vec<(&'static str, String)> {
    let Some(url) = database else { return Vec::new() };
    vec![
        (DATABASE_VARIABLE, url.to_owned()),
        ("COUNTERSIGN_DATABASE_LANES", "2".to_owned()),
        ("COUNTERSIGN_DATABASE_READERS", "3".to_owned()),
    ]
}

/// Reads the readiness line; then a thread of its own swallows what else comes, so that the child never blocks.
fn wait_until_ready(stdout: std::process::ChildStdout) -> Result<Ready> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Nobody listens after the first line, and that is fine.
            let _ = sender.send(line);
        }
    });
    let line = receiver
        .recv_timeout(READY_DEADLINE)
        .context("no readiness line came")?;
    serde_json::from_str(&line).with_context(|| format!("the readiness line is {line:?}"))
}

fn read_log(path: &Path) -> String {
    std::fs::read(path).map_or_else(
        |error| error.to_string(),
        |log| String::from_utf8_lossy(&log).into_owned(),
    )
}
