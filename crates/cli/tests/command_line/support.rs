//! Runs the binary in an environment of its own: a temporary working directory, no variable of the developer's.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Far above what is promised: a loaded machine is no error.
const DEADLINE: Duration = Duration::from_mins(1);

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// What it printed, as JSON; it must have gone well.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.exit, 0, "{self:?}");
        assert_eq!(self.stdout.lines().count(), 1, "JSON is one line: {self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It failed with one sentence that holds these words, printed nothing, and showed no insides.
    pub(crate) fn failed_with(&self, words: &[&str]) {
        assert_eq!(self.exit, 1, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
        for inside in ["panicked", "RUST_BACKTRACE", "src/"] {
            assert!(!self.stderr.contains(inside), "{self:?}");
        }
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is missing: {self:?}");
        }
    }
}

/// A working directory in which commands run.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.current_dir(self.path()).args(arguments).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("COUNTERSIGN_") || name == "NO_COLOR" || name == "COLUMNS" {
                command.env_remove(name);
            }
        }
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        run(&mut self.command(arguments))
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        exit: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A sandbox that runs in a [`Place`], on a free port.
pub(crate) struct Sandbox {
    pub(crate) place: Place,
    child: Child,
    /// What it prints, line by line; ends when the process does.
    lines: Receiver<String>,
    pub(crate) ready: Value,
}

impl Sandbox {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let place = Place::new();
        let mut command = place.command(["serve", "--listen", "127.0.0.1:0", "--json"]);
        let (child, lines) = spawn(command.args(arguments).stderr(Stdio::null()));
        let ready = lines.recv_timeout(DEADLINE).expect("no readiness line");
        Self {
            place,
            child,
            lines,
            ready: serde_json::from_str(&ready).unwrap(),
        }
    }

    pub(crate) fn url(&self) -> &str {
        self.ready["api_url"].as_str().unwrap()
    }

    pub(crate) fn token(&self) -> &str {
        self.ready["token"].as_str().unwrap()
    }

    /// Runs a command beside it: the data directory and the address are found, the token is set.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        let mut command = self.place.command(arguments);
        run(command.env("COUNTERSIGN_TOKEN", self.token()))
    }

    /// Like [`Sandbox::run`] with `--json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.run(arguments.iter().chain(&["--json"])).json()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        terminate(&mut self.child, &self.lines)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It may have ended already; either way nothing of it stays behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a command whose standard output is read line by line.
pub(crate) fn spawn(command: &mut Command) -> (Child, Receiver<String>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            // Whoever asked may have enough.
            let _ = sender.send(line);
        }
    });
    (child, lines)
}

/// SIGTERM; the end of the output is the end of the process.
pub(crate) fn terminate(child: &mut Child, lines: &Receiver<String>) -> ExitStatus {
    // The shell's own `kill`: the standard library has no signals.
    let kill = ["-c", "kill -TERM \"$0\"", &child.id().to_string()];
    assert!(Command::new("sh").args(kill).status().unwrap().success());
    loop {
        match lines.recv_timeout(DEADLINE) {
            Ok(_) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return child.wait().unwrap(),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the server did not end after SIGTERM"),
        }
    }
}

/// The first lines of an output, up to an empty answer for a closed one.
pub(crate) fn next_line(lines: &Receiver<String>) -> String {
    lines.recv_timeout(DEADLINE).expect("no further line")
}

/// A listener that answers one connection with these bytes: something that is no Countersign server.
pub(crate) fn stranger(answer: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::Write as _;
        if let Ok((mut stream, _)) = listener.accept() {
            // One read holds the small requests of these tests; what the caller makes of the answer is the test's matter.
            let _ = stream.read(&mut [0; 8192]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}
