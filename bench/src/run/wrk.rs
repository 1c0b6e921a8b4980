//! The outside load generator: wrk with a Lua script per kind of call. wrk counts answers and times them; what the answers
//! say is verified by the cases afterwards, in the books, since reading bodies in Lua would slow the generator down.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::numbers::float;

/// Distinct numbers that one round may use; a round of 5 s stays far below it.
pub(super) const NUMBERS_A_ROUND: u64 = 4_000_000;
/// The first number of all rounds: an Italian mobile's length, with room for a billion of them.
const FIRST_NUMBER: u64 = 393_000_000_000;
/// Digits of a generated code.
pub(super) const CODE_DIGITS: usize = 6;

/// What every request of a round asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load<'a> {
    /// `sendVerificationMessage`, each to a number of its own; the round's number keeps rounds apart.
    Send {
        /// Counts the rounds of one server.
        round: u64,
    },
    /// The same for many accounts, each send for one that is drawn by lot.
    SendForMany {
        /// Counts the rounds of one server.
        round: u64,
        /// The file of the accounts' tokens, one a line.
        tokens: &'a Path,
    },
    /// `checkVerificationStatus` with a code: records of a request id and its code, each used once.
    Check {
        /// The file of records.
        records: &'a Path,
    },
    /// `checkVerificationStatus` without a code: records of a request id, used round and round.
    Status {
        /// The file of records.
        records: &'a Path,
    },
}

/// What wrk measured in one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// Answers received.
    pub(super) requests: u64,
    /// How long it took.
    pub(super) seconds: f64,
    /// Median latency in microseconds.
    pub(super) p50_us: f64,
    /// The 99th percentile of latency in microseconds.
    pub(super) p99_us: f64,
    /// Failed connections, reads, writes, HTTP errors and time-outs.
    pub(super) errors: u64,
    /// Whether the records did not last.
    pub(super) ran_out: bool,
}

impl Round {
    /// Answers a second.
    pub(super) fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            float(self.requests) / self.seconds
        } else {
            0.0
        }
    }
}

/// How wrk is called.
#[derive(Debug, Clone)]
pub(super) struct Wrk {
    /// Where its scripts are written.
    pub(super) directory: PathBuf,
    /// Its threads.
    pub(super) threads: u32,
}

impl Wrk {
    /// Refuses to start without wrk, and says how to get it.
    pub(super) fn require() -> Result<()> {
        let found = Command::new("wrk")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            bail!(
                "the load generator wrk is not installed: `apt-get install wrk` (Debian, Ubuntu) or `brew install wrk`"
            );
        }
        Ok(())
    }

    /// Drives one round against a server.
    pub(super) fn round(
        &self,
        address: SocketAddr,
        token: &str,
        load: Load<'_>,
        connections: u32,
        length: Duration,
    ) -> Result<Round> {
        let threads = self.threads.min(connections);
        let script = self.directory.join("load.lua");
        fs::write(&script, self.script(address, token, load)).context("writing wrk's script")?;
        let seconds = length.as_secs().max(1);
        let mut child = Command::new("wrk")
            .args(["--latency", "--timeout", "10s"])
            .args(["--threads", &threads.to_string()])
            .args(["--connections", &connections.to_string()])
            .args(["--duration", &format!("{seconds}s")])
            .arg("--script")
            .arg(&script)
            .arg(format!("http://{address}/"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting wrk")?;
        // wrk ends by itself; a hung one must not hang the benchmark. Its output is a screenful and fits the pipe.
        let give_up_at = Instant::now() + length + Duration::from_mins(1);
        while child.try_wait().context("waiting for wrk")?.is_none() {
            if Instant::now() > give_up_at {
                child.kill().context("ending wrk")?;
                child.wait().context("ending wrk")?;
                bail!("wrk did not end by itself");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().context("reading wrk's output")?;
        let text = String::from_utf8_lossy(&output.stdout);
        match text.lines().find_map(|line| line.strip_prefix(RESULT_MARK)) {
            Some(result) => parse_result(result),
            None => bail!("wrk gave no result:\n{text}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    fn script(&self, address: SocketAddr, token: &str, load: Load<'_>) -> String {
        let send = |script: &str, round: u64| {
            let script = script
                .replace("FIRST", &first_number(round).to_string())
                .replace("SPAN", &(NUMBERS_A_ROUND / u64::from(self.threads.max(1))).to_string());
            let body_length = r#"{"phone_number":"+393000000000"}"#.len();
            ("sendVerificationMessage", body_length, script)
        };
        let (method, body_length, requests) = match load {
            Load::Send { round } => send(SEND_SCRIPT, round),
            Load::SendForMany { round, tokens } => send(
                &SEND_FOR_MANY_SCRIPT.replace("TOKENS", &tokens.display().to_string()),
                round,
            ),
            Load::Check { records } => (
                "checkVerificationStatus",
                r#"{"request_id":"","code":""}"#.len() + REQUEST_ID_LENGTH + CODE_DIGITS,
                CHECK_SCRIPT.replace("RECORDS", &records.display().to_string()),
            ),
            Load::Status { records } => (
                "checkVerificationStatus",
                r#"{"request_id":""}"#.len() + REQUEST_ID_LENGTH,
                STATUS_SCRIPT.replace("RECORDS", &records.display().to_string()),
            ),
        };
        let head = format!(
            "POST /{method} HTTP/1.1\\r\\nHost: {address}\\r\\nAuthorization: Bearer {token}\\r\\n\
             Content-Type: application/json\\r\\nContent-Length: {body_length}\\r\\n\\r\\n"
        );
        let requests = requests.replace("THREADS", &self.threads.max(1).to_string());
        format!("local head = \"{head}\"\n{requests}\n{COMMON_SCRIPT}")
    }
}

/// Characters of a request id (`countersign_core::RequestId`).
pub(super) const REQUEST_ID_LENGTH: usize = 19;

/// The first number of a round.
pub(super) const fn first_number(round: u64) -> u64 {
    FIRST_NUMBER + round * NUMBERS_A_ROUND
}

const RESULT_MARK: &str = "countersign-bench:";

const SEND_SCRIPT: &str = r#"
function init(args) number = FIRST + thread_number * SPAN end
function request()
  number = number + 1
  return head .. '{"phone_number":"+' .. number .. '"}'
end"#;

// The head that the script begins with names one token; here each account has a head of its own, made beforehand.
const SEND_FOR_MANY_SCRIPT: &str = r#"
local heads = {}
local random = math.random
function init(args)
  number = FIRST + thread_number * SPAN
  math.randomseed(number)
  for token in io.lines("TOKENS") do
    heads[#heads + 1] = string.gsub(head, "Bearer [^\r]*", "Bearer " .. token, 1)
  end
end
function request()
  number = number + 1
  return heads[random(#heads)] .. '{"phone_number":"+' .. number .. '"}'
end"#;

// A record has a fixed width, so that a thread reads the file in one go and cuts it as it runs: 19 characters of request
// id, 6 of code, a newline.
const CHECK_SCRIPT: &str = r#"
local sub = string.sub
function init(args)
  local file = io.open("RECORDS", "rb")
  records = file:read("*a")
  file:close()
  at = thread_number * 26
end
function request()
  if at >= #records then
    ran_out = true
    at = 0
  end
  local body = '{"request_id":"' .. sub(records, at + 1, at + 19) .. '","code":"' .. sub(records, at + 20, at + 25) .. '"}'
  at = at + THREADS * 26
  return head .. body
end"#;

const STATUS_SCRIPT: &str = r#"
local sub = string.sub
function init(args)
  local file = io.open("RECORDS", "rb")
  records = file:read("*a")
  file:close()
  at = thread_number * 26
end
function request()
  if at >= #records then at = thread_number * 26 end
  local body = '{"request_id":"' .. sub(records, at + 1, at + 19) .. '"}'
  at = at + THREADS * 26
  return head .. body
end"#;

const COMMON_SCRIPT: &str = r#"
local threads = {}
function setup(thread)
  thread:set("thread_number", #threads)
  table.insert(threads, thread)
end
function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local out = 0
  for _, thread in ipairs(threads) do
    if thread:get("ran_out") then out = 1 end
  end
  io.write(string.format("\ncountersign-bench:%d %d %.1f %.1f %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), failed, out))
end"#;

fn parse_result(result: &str) -> Result<Round> {
    let fields: Vec<&str> = result.split_whitespace().collect();
    let [requests, micros, p50, p99, errors, ran_out] = fields.as_slice() else {
        bail!("wrk's result has not six fields: {result}");
    };
    Ok(Round {
        requests: requests.parse()?,
        seconds: float(micros.parse()?) / 1e6,
        p50_us: p50.parse()?,
        p99_us: p99.parse()?,
        errors: errors.parse()?,
        ran_out: *ran_out == "1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_reads_back() {
        let round = parse_result("1000 2000000 1500.0 9000.5 3 1").unwrap();
        assert!((round.rate() - 500.0).abs() < 1e-9);
        assert_eq!((round.requests, round.errors, round.ran_out), (1000, 3, true));
        assert!(parse_result("1000").is_err());
    }

    #[test]
    fn the_script_states_the_true_length_of_its_body() {
        let wrk = Wrk {
            directory: PathBuf::new(),
            threads: 2,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let script = wrk.script(address, "t", Load::Send { round: 3 });
        assert!(script.contains("Content-Length: 32"), "{script}");
        assert!(
            script.contains("number = 393012000000 + thread_number * 2000000"),
            "{script}"
        );
        let tokens = Path::new("of/accounts");
        let script = wrk.script(address, "t", Load::SendForMany { round: 3, tokens });
        assert!(
            script.contains("Content-Length: 32") && script.contains("io.lines(\"of/accounts\")"),
            "{script}"
        );
        let records = Path::new("r");
        assert!(
            wrk.script(address, "t", Load::Check { records })
                .contains("Content-Length: 52")
        );
        assert!(
            wrk.script(address, "t", Load::Status { records })
                .contains("Content-Length: 36")
        );
    }
}
