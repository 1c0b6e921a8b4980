//! The servers under test as child processes: started, found ready, measured through /proc, ended by their own pid.
//! A server that is dropped is killed, so that a failing benchmark leaves nothing behind.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::numbers::float;

/// A server may take this long to become ready before the benchmark gives up.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// A server may take this long to end by itself after SIGTERM.
const END_WITHIN: Duration = Duration::from_secs(30);
/// Clock ticks a second in /proc/PID/stat: 100 on every Linux that Rust runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// From the start of the process to its first answered request.
    pub(super) ready_after: Duration,
}

impl Server {
    /// The real thing, in the sandbox with its inbox, on a free port; its books in the data directory.
    pub(super) fn countersign(binary: &Path, data_dir: &Path) -> Result<Self> {
        Self::node(binary, data_dir, &[])
    }

    /// The same with further options.
    pub(super) fn node(binary: &Path, data_dir: &Path, options: &[String]) -> Result<Self> {
        let mut command = Command::new(binary);
        command
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(options);
        Self::start(command, &data_dir.with_extension("log"), "api_url")
    }

    /// The ceiling: this program again.
    pub(super) fn ceiling(directory: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.args(["ceiling", "--listen", "127.0.0.1:0"]);
        Self::start(command, &directory.join("ceiling.log"), "api_url")
    }

    fn start(mut command: Command, log: &Path, url_field: &str) -> Result<Self> {
        let variables = std::env::vars_os().map(|(name, _)| name);
        for name in variables.filter(|name| name.to_string_lossy().starts_with("COUNTERSIGN_")) {
            command.env_remove(name);
        }
        // The sandbox reads its configuration from where it starts: there must be none.
        let directory = log.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let start = Instant::now();
        let child = command
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log).context("making the server's log")?)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let mut server = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            ready_after: Duration::ZERO,
        };
        let line = server.first_line().with_context(|| tail(log))?;
        server.address = address_in(&line, url_field)?;
        while http_get(server.address, "/healthz", None).is_err() {
            if start.elapsed() > READY_WITHIN {
                bail!("the server at {} answers no health check", server.address);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        server.ready_after = start.elapsed();
        Ok(server)
    }

    /// The first line of output; the rest is read and dropped, so that the pipe never fills.
    fn first_line(&mut self) -> Result<String> {
        let stdout = self
            .child
            .stdout
            .take()
            .ok_or_else(|| anyhow!("the server has no output"))?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            if let Some(Ok(line)) = lines.next() {
                // The receiver may have given up; then nobody needs the line.
                drop(sender.send(line));
            }
            lines.for_each(drop);
        });
        receiver
            .recv_timeout(READY_WITHIN)
            .map_err(|_| anyhow!("the server printed no readiness line"))
    }

    /// Ends it as an operator would: SIGTERM, and it must exit with 0.
    pub(super) fn stop(mut self) -> Result<()> {
        signal(self.child.id(), "TERM")?;
        let end = Instant::now() + END_WITHIN;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().context("waiting for the server")? {
                if status.success() {
                    return Ok(());
                }
                bail!("the server ended with {status}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the server did not end within {} s of SIGTERM", END_WITHIN.as_secs())
    }

    /// Ends it as a power cut would: SIGKILL.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill().context("killing the server")?;
        self.child.wait().context("killing the server")?;
        Ok(())
    }

    /// Its resident memory at this moment, in megabytes (10^6 bytes).
    pub(super) fn resident_mb(&self) -> Result<f64> {
        self.memory("VmRSS:")
    }

    /// The most resident memory it ever had, in megabytes.
    pub(super) fn peak_resident_mb(&self) -> Result<f64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).context("reading /proc")?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kibibytes = line.and_then(|rest| rest.split_whitespace().next()).unwrap_or("0");
        Ok(float(kibibytes.parse()?) * 1024.0 / 1e6)
    }

    /// The processor time that it used so far.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        Ok(ProcessTime::of(&self.child.id().to_string())?.own_seconds)
    }
}

/// What /proc says of a process's processor time, user and system.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ProcessTime {
    /// The process that started it.
    pub(super) parent: u32,
    /// Its own.
    pub(super) own_seconds: f64,
    /// That of the children which have ended and been waited for.
    pub(super) reaped_seconds: f64,
}

impl ProcessTime {
    /// That of a process, by its number or as `self`.
    pub(super) fn of(process: &str) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("reading /proc")?;
        Ok(Self::parse(&stat))
    }

    fn parse(stat: &str) -> Self {
        // The name in brackets may hold spaces. After it the parent is the 2nd field; user and system time are the 12th and
        // 13th, those of ended children the 14th and 15th.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<u64> = after_name
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let field = |place: usize| fields.get(place).copied().unwrap_or(0);
        let seconds = |place: usize| float(field(place) + field(place + 1)) / TICKS_A_SECOND;
        Self {
            parent: u32::try_from(field(1)).unwrap_or(0),
            own_seconds: seconds(11),
            reaped_seconds: seconds(13),
        }
    }
}

/// Sends a signal to a process by its number.
pub(super) fn signal(process: u32, name: &str) -> Result<()> {
    let process = process.to_string();
    let sent = Command::new("sh")
        .args(["-c", "kill -\"$1\" \"$0\"", &process, name])
        .status();
    if !sent.with_context(|| format!("sending SIG{name}"))?.success() {
        bail!("could not send SIG{name} to {process}");
    }
    Ok(())
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is fine; there is nobody left to tell about anything else.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(10).collect();
    format!(
        "the server's log ends with: {}",
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    )
}

fn address_in(line: &str, field: &str) -> Result<SocketAddr> {
    let ready: Value = serde_json::from_str(line).with_context(|| format!("the readiness line is no JSON: {line}"))?;
    let url = ready[field].as_str().unwrap_or_default();
    let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    address
        .parse()
        .with_context(|| format!("no address in the readiness line: {line}"))
}

/// One request on a connection of its own; the body of a 200 answer.
pub(super) fn http_get(address: SocketAddr, path: &str, bearer: Option<&str>) -> Result<String> {
    exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\n{}", authorization(bearer)),
        "",
    )
}

/// One JSON request on a connection of its own; the body of a 200 answer.
pub(super) fn http_post(address: SocketAddr, path: &str, bearer: &str, json: &str) -> Result<String> {
    let head = format!(
        "POST {path} HTTP/1.1\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\n",
        authorization(Some(bearer)),
        json.len()
    );
    exchange(address, &head, json)
}

fn authorization(bearer: Option<&str>) -> String {
    bearer.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"))
}

fn exchange(address: SocketAddr, head: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(format!("{head}Host: {address}\r\nConnection: close\r\n\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 200") {
        return Ok(body.to_owned());
    }
    bail!("{address} answered {}", head.lines().next().unwrap_or("nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_with_spaces() {
        let stat = "42 (a) name) S 7 42 42 0 -1 4194560 900 0 0 0 150 50 300 100 20 0 1 0";
        let time = ProcessTime::parse(stat);
        assert_eq!(time.parent, 7);
        assert!((time.own_seconds - 2.0).abs() < 1e-9);
        assert!((time.reaped_seconds - 4.0).abs() < 1e-9);
    }

    #[test]
    fn the_address_is_read_from_the_readiness_line() {
        let address = address_in(r#"{"api_url":"http://127.0.0.1:8099"}"#, "api_url").unwrap();
        assert_eq!(address, SocketAddr::from(([127, 0, 0, 1], 8099)));
        assert!(address_in("API http://127.0.0.1:8099", "api_url").is_err());
    }
}
