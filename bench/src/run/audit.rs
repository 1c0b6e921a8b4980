//! `audit`: fills books through the store's door, has the real binary audit them in a process of its own, and holds the most
//! memory that it took against the bound of 64 MB. All entries lie in one account, which is the hard case: an account is
//! audited in one snapshot.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use serde_json::Value;

use super::books::Books;
use super::disk::DiskProbe;
use super::report::{self, Figure, Machine, Target};
use super::{data_directory, find_server, say};
use crate::numbers::{float, median};

/// What `countersign audit` may take at ten million entries, in megabytes.
const MOST_RESIDENT_MB: f64 = 64.0;
/// Between two looks at the process's memory. Its own highest mark is read, so a peak between two looks counts too.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Options of `audit`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Ledger entries to fill the books with, at least: of ten requests one is charged and refunded, the others charged.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(11..=100_000_000))]
    entries: u32,
    /// Where the data directory is made; by default beside this program.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The `countersign` binary to measure; by default built now, with `cargo build --release`.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// What an audit came to.
struct Audited {
    entries: u64,
    requests: u64,
    took: Duration,
    peak_resident_mb: f64,
}

/// Fills, audits, and prints the figures. What misses its target is said so; it is no error, but a violation is.
pub(crate) fn run(options: &Options) -> Result<()> {
    let server = find_server(options.server.as_deref())?;
    let directory = data_directory(options.directory.as_deref())?;
    let machine = Machine::look(median(
        &DiskProbe::new(directory.path())?.sample(Duration::from_secs(1))?,
    ));
    say(&machine.text())?;
    let books = directory.path().join("books");
    say(&format!("filling books with {} entries …", options.entries))?;
    let filled_in = fill(&books, options.entries)?;
    let database_bytes = fs::metadata(books.join("countersign.db"))
        .context("looking at the database")?
        .len();
    say(&format!("filled in {:.0} s; auditing …", filled_in.as_secs_f64()))?;
    let audited = audited(&server, &books)?;
    ensure!(
        audited.entries >= u64::from(options.entries),
        "{} entries were audited of {}",
        audited.entries,
        options.entries
    );
    let figures = figures(&audited, database_bytes);
    let text = if options.json {
        report::json(&machine, &figures).to_string()
    } else {
        report::table(&machine, &figures)
    };
    writeln!(std::io::stdout(), "{}", text.trim_end()).context("printing the figures")?;
    directory.close().context("removing the data directory")
}

/// Requests of the past, of which one in ten has two entries; and how long filling took.
fn fill(directory: &Path, entries: u32) -> Result<Duration> {
    let requests = (u64::from(entries) * 10).div_ceil(11);
    let started = Instant::now();
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(async {
        let books = Books::create(directory).await?;
        books.add_past(usize::try_from(requests)?).await?;
        books.close().await.map(drop)
    })?;
    Ok(started.elapsed())
}

/// An audit in a process of its own; it must find nothing wrong.
fn audited(server: &Path, books: &Path) -> Result<Audited> {
    let started = Instant::now();
    let mut process = Auditing(
        Command::new(server)
            .args(["audit", "--json", "--data-dir"])
            .arg(books)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", server.display()))?,
    );
    let mut peak_resident_mb = 0.0_f64;
    let status = loop {
        peak_resident_mb = peak_resident_mb.max(process.peak_resident_mb().unwrap_or(0.0));
        if let Some(status) = process.0.try_wait().context("waiting for the audit")? {
            break status;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    let took = started.elapsed();
    let mut told = String::new();
    // One account makes one short line, which a pipe holds.
    let stdout = process
        .0
        .stdout
        .as_mut()
        .ok_or_else(|| anyhow!("the audit has no output"))?;
    stdout
        .read_to_string(&mut told)
        .context("reading what the audit told")?;
    ensure!(status.success(), "the audit ended with {status}: {told}");
    let told: Value = serde_json::from_str(&told).with_context(|| format!("the audit told no JSON: {told}"))?;
    let count = |name: &str| {
        told[name]
            .as_u64()
            .ok_or_else(|| anyhow!("the audit told no {name}: {told}"))
    };
    Ok(Audited {
        entries: count("entries")?,
        requests: count("requests")?,
        took,
        peak_resident_mb,
    })
}

/// The process; killed where the benchmark gives up on it.
struct Auditing(Child);

impl Auditing {
    /// The most resident memory it ever had, in megabytes (10^6 bytes); `None` once it has ended.
    fn peak_resident_mb(&self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes = kibibytes.split_whitespace().next()?.parse().ok()?;
        Some(float(kibibytes) * 1024.0 / 1e6)
    }
}

impl Drop for Auditing {
    fn drop(&mut self) {
        // Already ended is fine; there is nobody left to tell about anything else.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn figures(audited: &Audited, database_bytes: u64) -> [Figure; 2] {
    let seconds = audited.took.as_secs_f64();
    let rate = float(audited.entries) / seconds;
    [
        Figure {
            name: "audit: most resident memory",
            target: Target::AtMost(MOST_RESIDENT_MB),
            value: audited.peak_resident_mb,
            unit: "MB",
            detail: format!(
                "{} entries of {} requests in one account",
                audited.entries, audited.requests
            ),
        },
        Figure {
            name: "audit: time",
            target: Target::None,
            value: seconds,
            unit: "s",
            detail: format!(
                "{rate:.0} entries a second; the database has {:.0} MB",
                float(database_bytes) / 1e6
            ),
        },
    ]
}
