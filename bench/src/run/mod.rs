//! `run`: starts the servers, drives them with wrk, and judges the figures of docs/benchmarks.md. `cases`, `reported` and `postgres`
//! hold what is measured; `wrk`, `processes`, `books` and `disk` are its tools; `report` prints. Everything is bounded in time, stays on
//! loopback and leaves nothing behind.

pub(crate) mod audit;
pub(crate) mod books;
mod cases;
mod disk;
pub(crate) mod overload;
mod postgres;
mod processes;
mod report;
mod reported;
pub(crate) mod statistics;
mod traffic;
mod wrk;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::numbers::median;
use cases::Workbench;
use disk::DiskProbe;
use report::Machine;
use tempfile::TempDir;
use wrk::Wrk;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Durable sends to distinct numbers beside the ceiling; their latency, and the memory they take.
    Send,
    /// Codes checked, each the first on its own request, beside the ceiling.
    Check,
    /// Status without a code, beside the ceiling.
    Status,
    /// One connection alone, beside the disk's own time to make a write durable.
    Single,
    /// Time until ready, after an orderly end and after a kill under load.
    Ready,
    /// Sends with a million requests in the books, beside empty books.
    Million,
    /// Whole verifications: send, report acknowledged, code checked; beside sends alone.
    Whole,
    /// Reports to a hundred receivers, and to ninety-nine while the hundredth hangs.
    Reports,
    /// Sends on PostgreSQL by one node and by two, beside pgbench. Needs PostgreSQL, and runs where it is asked for.
    Postgres,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Measure only these; all but `postgres` by default.
    #[arg(long = "case", value_enum, value_name = "CASE")]
    cases: Vec<Case>,
    /// Rounds of each pair of servers; they take turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of one round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Connections of the load.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4096))]
    connections: u32,
    /// Threads of wrk; one saturates two cores.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    wrk_threads: u32,
    /// Requests in the books of the case `million`.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    past_requests: u32,
    #[command(flatten)]
    postgres: postgres::PostgresOptions,
    /// Where the data directories are made, on the disk to be measured; by default beside this program.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The `countersign` binary to measure; by default built now, with `cargo build --release`.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// Measures, and prints the figures. What misses its target is said so; it is no error.
pub(crate) fn run(options: &Options) -> Result<()> {
    Wrk::require()?;
    if cfg!(debug_assertions) {
        say("this is a debug build: measure with `cargo run --release -p countersign-bench -- run`")?;
    }
    let server = find_server(options.server.as_deref())?;
    let directory = data_directory(options.directory.as_deref())?;
    let path = directory.path().canonicalize().context("finding the data directory")?;
    let fsync = DiskProbe::new(&path)?.sample(Duration::from_secs(1))?;
    let machine = Machine::look(median(&fsync));
    say(&machine.text())?;
    let workbench = Workbench::new(options, path, server)?;
    let mut figures = Vec::new();
    for case in [
        Case::Send,
        Case::Check,
        Case::Status,
        Case::Single,
        Case::Ready,
        Case::Million,
        Case::Whole,
        Case::Reports,
        Case::Postgres,
    ] {
        let wanted = if options.cases.is_empty() {
            case != Case::Postgres
        } else {
            options.cases.contains(&case)
        };
        if !wanted {
            continue;
        }
        say(&format!("measuring {case:?} …"))?;
        figures.extend(match case {
            Case::Send => workbench.send()?,
            Case::Check => workbench.check()?,
            Case::Status => workbench.status()?,
            Case::Single => workbench.single()?,
            Case::Ready => workbench.ready()?,
            Case::Million => workbench.million()?,
            Case::Whole => workbench.whole()?,
            Case::Reports => workbench.reports()?,
            Case::Postgres => workbench.postgres()?,
        });
    }
    let text = if options.json {
        report::json(&machine, &figures).to_string()
    } else {
        report::table(&machine, &figures)
    };
    writeln!(std::io::stdout(), "{}", text.trim_end()).context("printing the figures")?;
    directory.close().context("removing the data directories")
}

/// The directory of this program.
fn beside() -> Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program")?;
    Ok(program.parent().map_or_else(PathBuf::new, Path::to_path_buf))
}

/// The named `countersign` binary, or one that is built now.
fn find_server(named: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(file) => file
            .canonicalize()
            .with_context(|| format!("finding {}", file.display())),
        None => build_server(&beside()?),
    }
}

/// A directory of its own for data, on the disk to be measured; it goes when it is dropped.
fn data_directory(parent: Option<&Path>) -> Result<TempDir> {
    let parent = parent.map_or_else(beside, |parent| Ok(parent.to_owned()))?;
    tempfile::Builder::new()
        .prefix("countersign-bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("making a directory in {}", parent.display()))
}

/// Progress goes to standard error: standard output is for the figures.
fn say(text: &str) -> Result<()> {
    writeln!(std::io::stderr(), "{text}").context("printing")
}

/// Builds the server with the profile that users run.
fn build_server(beside: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "countersign", "--bin", "countersign"])
        .status()
        .context("running cargo; name a binary with --server where there is none")?;
    if !status.success() {
        bail!("cargo could not build the server");
    }
    let built = beside.with_file_name("release").join("countersign");
    if built.is_file() {
        Ok(built)
    } else {
        bail!("the server was not built at {}: name it with --server", built.display())
    }
}
