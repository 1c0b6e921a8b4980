//! A message centre for tests: runs `e2e/node/smsc.js`, whose protocol is the npm package `smpp`. How it behaves and what it tells is
//! said there; here are its process and its lines.

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

/// A running message centre. It ends when this is dropped.
#[derive(Debug)]
pub struct Smsc {
    /// Ends it when dropped.
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// What was told and not asked for yet.
    told: VecDeque<Value>,
    port: u16,
}

impl Smsc {
    /// Starts one and waits until it listens on 127.0.0.1. `options` are its settings and its behaviour; without a port it takes a free
    /// one.
    pub async fn start(options: Value) -> io::Result<Self> {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../e2e/node/smsc.js");
        let mut process = Command::new("node")
            .arg(script)
            .arg(options.to_string())
            .env("COUNTERSIGN_TEST_NODE", node_modules()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::Error::other("node has no pipes"));
        };
        let mut smsc = Self {
            process,
            input,
            output: BufReader::new(output).lines(),
            told: VecDeque::new(),
            port: 0,
        };
        let listening = smsc.event("listening").await?;
        let port = listening["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        smsc.port = port.ok_or_else(|| io::Error::other("it listens on no port"))?;
        Ok(smsc)
    }

    /// Where it listens.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Tells it something (an object with `do`), and waits until it did that.
    pub async fn tell(&mut self, command: Value) -> io::Result<()> {
        let line = format!("{command}\n");
        self.input.write_all(line.as_bytes()).await?;
        self.input.flush().await?;
        self.event("done").await.map(drop)
    }

    /// Waits for the next event of a kind. Events of other kinds stay where they are.
    pub async fn event(&mut self, kind: &str) -> io::Result<Value> {
        let is_it = |event: &Value| event["event"] == kind;
        if let Some(event) = self.told.iter().position(is_it).and_then(|at| self.told.remove(at)) {
            return Ok(event);
        }
        let found = async {
            loop {
                let Some(line) = self.output.next_line().await? else {
                    return Err(io::Error::other(format!("the message centre ended before {kind:?}")));
                };
                let event: Value = serde_json::from_str(&line)?;
                if is_it(&event) {
                    return Ok(event);
                }
                self.told.push_back(event);
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| Err(io::Error::other(format!("the message centre tells no {kind:?}"))))
    }

    /// Ends it, and waits until it has ended.
    pub async fn stop(mut self) -> io::Result<()> {
        self.process.kill().await
    }

    /// How many events of a kind were read and not asked for.
    pub fn left(&self, kind: &str) -> usize {
        self.told.iter().filter(|event| event["event"] == kind).count()
    }
}

/// Where `./test` puts what comes from the npm registry: named in `COUNTERSIGN_TEST_NODE`, else beside the build.
fn node_modules() -> io::Result<PathBuf> {
    let path = if let Some(named) = std::env::var_os("COUNTERSIGN_TEST_NODE") {
        PathBuf::from(named)
    } else {
        // target/PROFILE/deps/this-test
        let own = std::env::current_exe()?;
        let target = own.ancestors().nth(3).map(PathBuf::from).unwrap_or_default();
        target.join("test-node/node_modules")
    };
    if path.join("smpp").is_dir() {
        return Ok(path);
    }
    let problem = format!("{} has no npm package smpp: ./test puts it there", path.display());
    Err(io::Error::new(io::ErrorKind::NotFound, problem))
}
