//! The other sides of channels that come from the npm registry or from PyPI: a script in `e2e/node` or `e2e/python` runs each. It
//! is told what to do by lines of JSON, and tells what it sees by lines of JSON, each with an `event`.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// What a test waits for comes within that time, or never.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running script. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Script {
    /// Ends it when dropped.
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// What was told and not asked for yet.
    told: VecDeque<Value>,
}

impl Script {
    /// Starts a script that needs a package of the npm registry.
    pub(crate) fn start(script: &str, argument: &str, package: &str) -> io::Result<Self> {
        let modules = modules(package)?;
        let mut command = Command::new("node");
        command.env("COUNTERSIGN_TEST_NODE", modules);
        Self::run(command, "e2e/node", script, argument)
    }

    /// Starts a script that runs in the environment of Python packages.
    pub(crate) fn start_python(script: &str, argument: &str) -> io::Result<Self> {
        Self::run(Command::new(python()?), "e2e/python", script, argument)
    }

    fn run(mut command: Command, folder: &str, script: &str, argument: &str) -> io::Result<Self> {
        let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut process = command
            .arg(repository.join(folder).join(script))
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::Error::other("the script has no pipes"));
        };
        Ok(Self {
            process,
            input,
            output: BufReader::new(output).lines(),
            told: VecDeque::new(),
        })
    }

    /// Tells it something (an object with `do`), and waits until it did that.
    pub(crate) async fn tell(&mut self, command: &Value) -> io::Result<()> {
        let line = format!("{command}\n");
        self.input.write_all(line.as_bytes()).await?;
        self.input.flush().await?;
        self.event("done").await.map(drop)
    }

    /// Waits for the next event of a kind. Events of other kinds stay where they are.
    pub(crate) async fn event(&mut self, kind: &str) -> io::Result<Value> {
        let is_it = |event: &Value| event.get("event").is_some_and(|event| event == kind);
        if let Some(event) = self.told.iter().position(is_it).and_then(|at| self.told.remove(at)) {
            return Ok(event);
        }
        let found = async {
            loop {
                let Some(line) = self.output.next_line().await? else {
                    return Err(io::Error::other(format!("the script ended before {kind:?}")));
                };
                let event: Value = serde_json::from_str(&line)?;
                if is_it(&event) {
                    return Ok(event);
                }
                self.told.push_back(event);
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| Err(io::Error::other(format!("the script tells no {kind:?}"))))
    }

    /// How many events of a kind were read and not asked for.
    pub(crate) fn left(&self, kind: &str) -> usize {
        let is_it = |event: &&Value| event.get("event").is_some_and(|event| event == kind);
        self.told.iter().filter(is_it).count()
    }

    /// Ends it, and waits until it has ended.
    pub(crate) async fn stop(mut self) -> io::Result<()> {
        self.process.kill().await
    }
}

/// Where `./test` puts what comes from the npm registry: named in `COUNTERSIGN_TEST_NODE`, else beside the build.
fn modules(package: &str) -> io::Result<PathBuf> {
    let path = if let Some(named) = std::env::var_os("COUNTERSIGN_TEST_NODE") {
        PathBuf::from(named)
    } else {
        target()?.join("test-node/node_modules")
    };
    if path.join(package).is_dir() {
        return Ok(path);
    }
    let problem = format!("{} has no npm package {package}: ./test puts it there", path.display());
    Err(io::Error::new(io::ErrorKind::NotFound, problem))
}

/// The interpreter of the environment that `./test` makes: named in `COUNTERSIGN_TEST_PYTHON`, else beside the build.
fn python() -> io::Result<PathBuf> {
    let path = if let Some(named) = std::env::var_os("COUNTERSIGN_TEST_PYTHON") {
        PathBuf::from(named)
    } else {
        target()?.join("test-python/bin/python3")
    };
    if path.is_file() {
        return Ok(path);
    }
    let problem = format!("{} is no Python: ./test makes its environment there", path.display());
    Err(io::Error::new(io::ErrorKind::NotFound, problem))
}

/// Where this build is.
fn target() -> io::Result<PathBuf> {
    // target/PROFILE/deps/this-test
    let own = std::env::current_exe()?;
    Ok(own.ancestors().nth(3).map(PathBuf::from).unwrap_or_default())
}
