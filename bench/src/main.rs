//! `countersign-bench`: the load and micro benchmarks (docs/benchmarks.md). Seven subcommands: `run` drives the real server
//! beside a ceiling server and judges the figures, `ceiling` is that other server, `micro` times the parts in one process,
//! `audit` fills books and has them audited, `overload` offers a server more than it can serve, `statistics` times the pages that show a
//! year of requests, `pumping` simulates attacks on the rules against them.
//! Nothing here runs in production.

mod ceiling;
mod micro;
mod numbers;
mod pumping;
mod run;

use std::net::SocketAddr;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The same allocator as the real server's: the ceiling must differ from it in the books alone.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Countersign: the real server beside a ceiling server, and its parts one by one.
#[derive(Debug, Parser)]
#[command(name = "countersign-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// Drive the real server beside the ceiling server with wrk, and compare the figures with their targets.
    Run(run::Options),
    /// Serve the same HTTP stack, parsing, token look-up and answer without any books; ends on Ctrl-C.
    Ceiling {
        /// Where to listen; port 0 takes any free one.
        #[arg(long, value_name = "ADDR")]
        listen: SocketAddr,
    },
    /// Fill books with ledger entries, audit them with the real binary, and hold its memory against its bound.
    Audit(run::audit::Options),
    /// Offer the real server more than it can serve, and tell what it still does.
    Overload(run::overload::Options),
    /// Fill books with a year of requests and time the statistics pages of the real server.
    Statistics(run::statistics::Options),
    /// Time the rules, the parsers and a batch of the store, in this process.
    Micro(micro::Options),
    /// Simulate weeks of traffic with attacks, and report what the rules against pumping prevent and whom they hinder.
    Pumping(pumping::Options),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Benchmark::Run(options) => run::run(&options),
        Benchmark::Ceiling { listen } => ceiling::serve(listen),
        Benchmark::Audit(options) => run::audit::run(&options),
        Benchmark::Overload(options) => run::overload::run(&options),
        Benchmark::Statistics(options) => run::statistics::run(&options),
        Benchmark::Micro(options) => micro::run(&options),
        Benchmark::Pumping(options) => pumping::run(&options),
    }
}
