//! `overload`: what becomes of a server that is offered more than it can serve. Sends begin at fixed times, however the server fares (an
//! open loop), at shares of the rate that it reached with callers who wait for their answers. Told for each step: what was offered, how
//! much was accepted (goodput), within what time, and how much was refused with 503 and `Retry-After`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::task::JoinSet;

use super::disk::DiskProbe;
use super::processes::Server;
use super::report::{self, Figure, Machine, Target};
use super::traffic::Caller;
use super::{data_directory, find_server, say};
use crate::numbers::{float, median, whole};

/// Offered load, as shares of what the server can serve. The one that is judged is 2.
const SHARES: [f64; 6] = [0.5, 0.8, 1.0, 1.5, JUDGED, 3.0];
const JUDGED: f64 = 2.0;
/// How much of the best goodput must be left, and within what time what is accepted must be answered.
const GOODPUT_LEFT: f64 = 0.9;
const ANSWERED_WITHIN_MS: f64 = 250.0;
/// How often sends are begun that are due by then.
const TICK: Duration = Duration::from_millis(1);
/// Between two steps what waits is worked off.
const PAUSE: Duration = Duration::from_secs(2);
/// The account's owner; what it is given lasts for a hundred million sends.
const OWNER: &str = "+9996600000";
const CREDIT: &str = "1000000";

/// Options of `overload`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds of one step.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Callers who wait for their answers, where the rate is found that the server can serve.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=4096))]
    callers: u32,
    /// Connections that the open loop may have at once; a send that finds none free waits, which is told as the load's own delay.
    #[arg(long, default_value_t = 6_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    connections: u32,
    /// An empty PostgreSQL database for the books; SQLite without it.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Where the data directory is made.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The `countersign` binary to measure; by default built now, with `cargo build --release`.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Cores of the server, as `taskset` names them; those of this program are in --load-cores. Where both have the same, the load can't
    /// be offered at twice the rate, and its own delays look like the server's.
    #[arg(long, value_name = "CORES", requires = "load_cores")]
    server_cores: Option<String>,
    /// Cores of this program.
    #[arg(long, value_name = "CORES", requires = "server_cores")]
    load_cores: Option<String>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// Measures, and prints the figures.
pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = find_server(options.server.as_deref())?;
    let directory = data_directory(options.directory.as_deref())?;
    let path = directory.path().canonicalize().context("finding the data directory")?;
    let machine = Machine::look(median(&DiskProbe::new(&path)?.sample(Duration::from_secs(1))?));
    say(&machine.text())?;
    let data = path.join("data");
    fs::create_dir(&data).context("making the data directory")?;
    // A child has the cores of who starts it.
    pin(options.server_cores.as_deref())?;
    let server = start(&binary, &data, options.database.as_deref())?;
    pin(options.load_cores.as_deref())?;
    let figures = tokio::runtime::Runtime::new()?.block_on(measure(options, &server, &binary, &data))?;
    server.stop()?;
    let text = if options.json {
        report::json(&machine, &figures).to_string()
    } else {
        report::table(&machine, &figures)
    };
    writeln!(std::io::stdout(), "{}", text.trim_end()).context("printing the figures")?;
    directory.close().context("removing the data directory")
}

fn start(binary: &Path, data: &Path, database: Option<&str>) -> Result<Server> {
    let Some(url) = database else {
        return Server::countersign(binary, data);
    };
    let file = data.with_extension("toml");
    fs::write(&file, format!("[database]\nurl = \"{url}\"\n")).context("writing the configuration")?;
    Server::node(binary, data, &["--config".to_owned(), file.display().to_string()])
}

/// Keeps this program, which has one thread as yet, to some cores.
fn pin(cores: Option<&str>) -> Result<()> {
    let Some(cores) = cores else { return Ok(()) };
    let own = std::process::id().to_string();
    let told = Command::new("taskset")
        .args(["-cp", cores, &own])
        .stdout(Stdio::null())
        .status();
    ensure!(
        told.context("running taskset (util-linux)")?.success(),
        "taskset takes no cores {cores}"
    );
    Ok(())
}

/// The command line of the same binary; answers what it printed.
fn command_line(binary: &Path, server: &Server, data: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(binary)
        .args(arguments)
        .arg("--data-dir")
        .arg(data)
        .args(["--url", &format!("http://{}", server.address), "--json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("running the command line")?;
    ensure!(output.status.success(), "{arguments:?} ended with {}", output.status);
    String::from_utf8(output.stdout).context("reading what it printed")
}

async fn measure(options: &Options, server: &Server, binary: &Path, data: &Path) -> Result<Vec<Figure>> {
    command_line(binary, server, data, &["account", "credit", OWNER, CREDIT])?;
    let shown = command_line(binary, server, data, &["token", "show", OWNER])?;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    let token = shown["token"].as_str().context("there is no token")?;
    let time = Duration::from_secs(options.seconds);
    let load = Arc::new(Load {
        server: server.address,
        token: token.to_owned(),
        numbers: AtomicU64::new(0),
        free: Mutex::default(),
    });
    // Twice: the first one warms it up.
    closed(&load, options.callers, time.min(Duration::from_secs(3))).await?;
    let rate = closed(&load, options.callers, time).await?;
    say(&format!("{rate:.0} sends a second from {} callers", options.callers))?;
    let mut steps = Vec::new();
    for share in SHARES {
        tokio::time::sleep(PAUSE).await;
        let step = open(&load, rate * share, time, options.connections).await?;
        say(&format!("{share:.1} ×: {}", step.text()))?;
        steps.push((share, step));
    }
    let best = steps.iter().map(|(_, step)| step.goodput()).fold(rate, f64::max);
    let mut figures = vec![figure(
        "the rate with callers who wait",
        Target::None,
        rate,
        "/s",
        String::new(),
    )];
    for (share, step) in &steps {
        let judged = (share - JUDGED).abs() < f64::EPSILON;
        let target = |target| if judged { target } else { Target::None };
        let text = format!("{share:.1} ×: {}", step.text());
        let left = target(Target::AtLeast(GOODPUT_LEFT));
        figures.push(figure(
            "goodput of the best",
            left,
            step.goodput() / best,
            "",
            text.clone(),
        ));
        let within = target(Target::AtMost(ANSWERED_WITHIN_MS));
        figures.push(figure("p99 of what was accepted", within, step.p99_ms(), "ms", text));
    }
    Ok(figures)
}

fn figure(name: &'static str, target: Target, value: f64, unit: &'static str, detail: String) -> Figure {
    Figure {
        name,
        target,
        value,
        unit,
        detail,
    }
}

/// What all callers have in common.
struct Load {
    server: std::net::SocketAddr,
    token: String,
    /// Each send goes to a number of its own.
    numbers: AtomicU64,
    /// Connections that wait for the next send; the latest goes first.
    free: Mutex<Vec<Caller>>,
}

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Refused,
}

impl Load {
    async fn connect(&self) -> Result<Caller> {
        Caller::connect(self.server, &self.token).await
    }

    async fn send(&self, caller: &mut Caller) -> Result<Fate> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) % 10_000_000;
        let body = format!(r#"{{"phone_number":"+39347{number:07}","code_length":6}}"#);
        let (head, answer) = caller.exchange("sendVerificationMessage", &body).await?;
        if answer.contains(r#""ok":true"#) {
            return Ok(Fate::Accepted);
        }
        let asks_to_come_again = head.to_ascii_lowercase().contains("\r\nretry-after:");
        ensure!(
            head.contains(" 503 ") && asks_to_come_again,
            "a send was answered {head}{answer}"
        );
        Ok(Fate::Refused)
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Caller>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Callers who wait for their answers: the rate that was accepted.
async fn closed(load: &Arc<Load>, callers: u32, time: Duration) -> Result<f64> {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let load = Arc::clone(load);
        running.spawn(async move {
            let mut caller = load.connect().await?;
            let mut accepted = 0_u64;
            while began.elapsed() < time {
                if load.send(&mut caller).await? == Fate::Accepted {
                    accepted += 1;
                }
            }
            anyhow::Ok(accepted)
        });
    }
    let mut accepted = 0;
    while let Some(done) = running.join_next().await {
        accepted += done.context("a caller")??;
    }
    Ok(float(accepted) / began.elapsed().as_secs_f64())
}

/// A step of the open loop.
#[derive(Debug, Default)]
struct Step {
    seconds: f64,
    begun: u64,
    refused: u64,
    /// Those that were accepted before the step's time was over: what comes later would be counted as speed that wasn't there.
    accepted_in_time: u64,
    /// From when a send was written to its answer, in milliseconds.
    accepted_ms: Vec<f64>,
    refused_ms: Vec<f64>,
    /// From when a send was due until it was written: where no connection was free, or this program had no processor. What is long here
    /// was not offered at the rate that was asked for, and no server could have answered it.
    late_ms: Vec<f64>,
}

impl Step {
    fn goodput(&self) -> f64 {
        float(self.accepted_in_time) / self.seconds
    }

    fn p99_ms(&self) -> f64 {
        quantile(&self.accepted_ms, 0.99)
    }

    fn text(&self) -> String {
        format!(
            "due {:.0}/s, written within {:.0} ms (p99), accepted {:.0}/s within {:.0} ms (p50) and {:.0} ms (p99), refused {:.1} % within {:.0} ms (p99)",
            float(self.begun) / self.seconds,
            quantile(&self.late_ms, 0.99),
            self.goodput(),
            quantile(&self.accepted_ms, 0.5),
            self.p99_ms(),
            100.0 * float(self.refused) / float(self.begun.max(1)),
            quantile(&self.refused_ms, 0.99),
        )
    }
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = whole(float(sorted.len() as u64) * share).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or_default()
}

async fn open(load: &Arc<Load>, rate: f64, time: Duration, connections: u32) -> Result<Step> {
    let places = Arc::new(tokio::sync::Semaphore::new(usize::try_from(connections)?));
    let mut running = JoinSet::new();
    let mut step = Step::default();
    let began = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    while began.elapsed() < time {
        ticks.tick().await;
        let due = rate * began.elapsed().as_secs_f64();
        while float(step.begun) < due {
            let due_at = began + Duration::from_secs_f64(float(step.begun) / rate);
            step.begun += 1;
            let (load, places) = (Arc::clone(load), Arc::clone(&places));
            running.spawn(async move {
                let _place = places.acquire_owned().await?;
                let kept = load.free().pop();
                let mut caller = match kept {
                    Some(caller) => caller,
                    None => load.connect().await?,
                };
                let written_at = Instant::now();
                let fate = load.send(&mut caller).await?;
                load.free().push(caller);
                anyhow::Ok(Sent {
                    fate,
                    late: written_at.duration_since(due_at),
                    took: written_at.elapsed(),
                })
            });
        }
        while let Some(done) = running.try_join_next() {
            note(&mut step, done)?;
        }
    }
    step.seconds = began.elapsed().as_secs_f64();
    step.accepted_in_time = step.accepted_ms.len() as u64;
    while let Some(done) = running.join_next().await {
        note(&mut step, done)?;
    }
    load.free().clear();
    Ok(step)
}

/// A send that was answered.
struct Sent {
    fate: Fate,
    late: Duration,
    took: Duration,
}

type Done = std::result::Result<Result<Sent>, tokio::task::JoinError>;

fn note(step: &mut Step, done: Done) -> Result<()> {
    let Sent { fate, late, took } = match done {
        Ok(done) => done?,
        Err(error) => bail!("a caller ended: {error}"),
    };
    step.late_ms.push(late.as_secs_f64() * 1e3);
    let took_ms = took.as_secs_f64() * 1e3;
    match fate {
        Fate::Accepted => step.accepted_ms.push(took_ms),
        Fate::Refused => {
            step.refused += 1;
            step.refused_ms.push(took_ms);
        }
    }
    Ok(())
}
