//! What is measured, case by case. Two servers take turns in short rounds, each first in every other round, so that what
//! the machine does besides hits both alike; a ratio is the median of the rounds' own ratios.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use countersign_core::{ApiToken, CodeOrigin};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::books::{self, Books, Waiting};
use super::disk::DiskProbe;
use super::processes::{Server, http_post};
use super::report::{Figure, Target};
use super::wrk::{Load, Round, Wrk};
use super::{Options, say};
use crate::numbers::{float, largest, median, smallest, whole};

/// How long each server is driven before anything is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long the disk is probed before each pair of turns.
const PROBE: Duration = Duration::from_millis(300);
/// Requests made for a server that answers this many checks for each of the ceiling's: no server is faster, but a disturbed
/// machine may have measured the ceiling too low.
const POOL_SHARE: f64 = 1.3;
/// Requests whose status is asked for, round and round.
const STATUS_POOL: usize = 50_000;
/// Starts of each kind.
const STARTS: usize = 5;
/// Requests in the books whose start is measured.
const READY_REQUESTS: usize = 200_000;
/// Checked requests that are looked at afterwards.
const VERIFIED: usize = 100;

/// What all cases need.
pub(super) struct Workbench<'a> {
    pub(super) options: &'a Options,
    pub(super) directory: PathBuf,
    pub(super) server: PathBuf,
    wrk: Wrk,
    pub(super) runtime: Runtime,
}

/// A round and what the server spent on it.
#[derive(Debug, Clone, Copy)]
struct Turn {
    round: Round,
    cpu_us_a_request: f64,
}

/// The turns of two servers.
struct Turns {
    first: Vec<Turn>,
    second: Vec<Turn>,
    /// The disk's own time for an append with `fdatasync`, between the turns: microseconds.
    syncs_us: Vec<f64>,
}

impl Turns {
    fn ratios(&self) -> Vec<f64> {
        let pairs = self.first.iter().zip(&self.second);
        pairs
            .map(|(first, second)| first.round.rate() / second.round.rate())
            .collect()
    }

    fn detail(&self, first: &str, second: &str) -> String {
        let ratios = self.ratios();
        format!(
            "{first} {}; {second} {}; ratios {:.2} to {:.2}; fdatasync between the turns {:.0} µs",
            summary(&self.first),
            summary(&self.second),
            smallest(&ratios),
            largest(&ratios),
            median(&self.syncs_us)
        )
    }
}

fn of(turns: &[Turn], value: impl Fn(&Turn) -> f64) -> f64 {
    median(&turns.iter().map(value).collect::<Vec<_>>())
}

fn summary(turns: &[Turn]) -> String {
    format!(
        "{:.0}/s, {:.0} µs CPU each, p50 {:.1} ms, p99 {:.1} ms",
        of(turns, |turn| turn.round.rate()),
        of(turns, |turn| turn.cpu_us_a_request),
        of(turns, |turn| turn.round.p50_us) / 1000.0,
        of(turns, |turn| turn.round.p99_us) / 1000.0
    )
}

/// Filled books and their account's token.
pub(super) struct Prepared {
    pub(super) directory: PathBuf,
    pub(super) token: ApiToken,
    waiting: Vec<Waiting>,
}

/// What a data directory holds before its server starts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fill {
    Nothing,
    Past(usize),
    Waiting(usize, CodeOrigin),
}

impl<'a> Workbench<'a> {
    pub(super) fn new(options: &'a Options, directory: PathBuf, server: PathBuf) -> Result<Self> {
        let wrk = Wrk {
            directory: directory.clone(),
            threads: options.wrk_threads,
        };
        let runtime = Runtime::new().context("starting the runtime")?;
        Ok(Self {
            options,
            directory,
            server,
            wrk,
            runtime,
        })
    }

    /// Durable sends beside the ceiling; afterwards the books must have charged every answer that wrk counted.
    pub(super) fn send(&self) -> Result<Vec<Figure>> {
        let books = self.prepare("send", Fill::Nothing)?;
        let real = Server::countersign(&self.server, &books.directory)?;
        let ceiling = Server::ceiling(&self.directory)?;
        let token = books.token.as_str();
        let send = |round: u64| Load::Send { round };
        self.warm_up(&real, token, send(0))?;
        self.warm_up(&ceiling, token, send(0))?;
        let turns = self.take_turns(
            |round| self.drive(&real, token, send(round + 1)),
            |round| self.drive(&ceiling, token, send(round + 1)),
        )?;
        let (resident, peak) = (real.resident_mb()?, real.peak_resident_mb()?);
        let ceiling_peak = ceiling.peak_resident_mb()?;
        real.stop()?;
        ceiling.stop()?;
        let counted: u64 = turns.first.iter().map(|turn| turn.round.requests).sum();
        let charged = self.runtime.block_on(books::charges(&books.directory, &books.token))?;
        ensure!(
            charged >= counted,
            "wrk counted {counted} answers, and the books charged {charged} sends: some were errors"
        );
        let p99_ms = of(&turns.first, |turn| turn.round.p99_us) / 1000.0;
        Ok(vec![
            Figure {
                name: "durable send, of the ceiling",
                target: Target::AtLeast(0.6),
                value: median(&turns.ratios()),
                unit: "",
                detail: turns.detail("server", "ceiling"),
            },
            Figure {
                name: "durable send, p99",
                target: Target::AtMost(20.0),
                value: p99_ms,
                unit: "ms",
                detail: format!("at {} connections, dispatch running", self.options.connections),
            },
            Figure {
                name: "resident memory under that load",
                target: Target::AtMost(100.0),
                value: peak,
                unit: "MB",
                detail: format!(
                    "the highest of all rounds ({charged} sends); {resident:.0} MB at their end; ceiling {ceiling_peak:.0} MB"
                ),
            },
        ])
    }

    /// Codes checked: in the order in which their requests were made, and mixed up.
    pub(super) fn check(&self) -> Result<Vec<Figure>> {
        let ceiling = Server::ceiling(&self.directory)?;
        let rate = self.ceiling_check_rate(&ceiling)?;
        let seconds = float(self.options.seconds * u64::from(self.options.rounds)) + WARM_UP.as_secs_f64();
        let pool = whole(rate * seconds * POOL_SHARE);
        let mut figures = Vec::new();
        let (own, generated) = (CodeOrigin::Supplied, CodeOrigin::Generated);
        for (name, directory, target, origin, mixed) in [
            (
                "first check of the customer's own code, of the ceiling",
                "own",
                Target::AtLeast(0.6),
                own,
                false,
            ),
            (
                "first check of a generated code, which proves delivery too",
                "generated",
                Target::AtLeast(0.6),
                generated,
                false,
            ),
            (
                "first check of a generated code, requests in random order",
                "mixed",
                Target::None,
                generated,
                true,
            ),
        ] {
            let mut books = self.prepare(directory, Fill::Waiting(pool, origin))?;
            if mixed {
                books::shuffle(&mut books.waiting);
            }
            let turns = self.check_turns(&books, &ceiling)?;
            figures.push(Figure {
                name,
                target,
                value: median(&turns.ratios()),
                unit: "",
                detail: turns.detail("server", "ceiling"),
            });
            std::fs::remove_dir_all(&books.directory).context("removing books")?;
        }
        Ok(figures)
    }

    fn check_turns(&self, books: &Prepared, ceiling: &Server) -> Result<Turns> {
        let real = Server::countersign(&self.server, &books.directory)?;
        let token = books.token.as_str();
        let records = self.directory.join("checks.records");
        let share = books.waiting.len() / (usize::try_from(self.options.rounds)? + 1);
        let mut shares = books.waiting.chunks(share.max(1));
        let mut next = || -> Result<Vec<Waiting>> {
            let share = shares.next().unwrap_or_default().to_vec();
            books::write_records(&records, &share)?;
            Ok(share)
        };
        next()?;
        self.warm_up(&real, token, Load::Check { records: &records })?;
        let connections = usize::try_from(self.options.connections)?;
        let mut checked = Vec::new();
        let turns = self.take_turns(
            |_| {
                checked = next()?;
                let turn = self.drive(&real, token, Load::Check { records: &records })?;
                ensure!(
                    !turn.round.ran_out,
                    "the pre-made requests did not last: use shorter rounds"
                );
                // wrk throws its first request away, and at the end one of each connection may be unanswered.
                checked.truncate(usize::try_from(turn.round.requests)?.saturating_sub(connections));
                checked.drain(..checked.len().min(1));
                Ok(turn)
            },
            |_| self.drive(ceiling, token, Load::Check { records: &records }),
        )?;
        for waiting in checked.iter().step_by((checked.len() / VERIFIED).max(1)) {
            let verified = &status_of(&real, token, *waiting)?["verification_status"]["status"];
            ensure!(verified == "code_valid", "a checked request says {verified}");
        }
        real.stop()?;
        Ok(turns)
    }

    /// Status without a code.
    pub(super) fn status(&self) -> Result<Vec<Figure>> {
        let books = self.prepare("status", Fill::Waiting(STATUS_POOL, CodeOrigin::Generated))?;
        let real = Server::countersign(&self.server, &books.directory)?;
        let ceiling = Server::ceiling(&self.directory)?;
        let token = books.token.as_str();
        let records = self.directory.join("status.records");
        books::write_records(&records, &books.waiting)?;
        for waiting in books.waiting.iter().step_by(STATUS_POOL / VERIFIED) {
            let sent = &status_of(&real, token, *waiting)?["delivery_status"]["status"];
            ensure!(sent == "sent", "a pre-made request says {sent}");
        }
        let load = Load::Status { records: &records };
        self.warm_up(&real, token, load)?;
        self.warm_up(&ceiling, token, load)?;
        let turns = self.take_turns(
            |_| self.drive(&real, token, load),
            |_| self.drive(&ceiling, token, load),
        )?;
        real.stop()?;
        ceiling.stop()?;
        Ok(vec![Figure {
            name: "status without a code, of the ceiling",
            target: Target::AtLeast(0.8),
            value: median(&turns.ratios()),
            unit: "",
            detail: turns.detail("server", "ceiling"),
        }])
    }

    /// One connection alone, taking turns with the disk probe in the same directory.
    pub(super) fn single(&self) -> Result<Vec<Figure>> {
        let books = self.prepare("single", Fill::Nothing)?;
        let real = Server::countersign(&self.server, &books.directory)?;
        let mut probe = DiskProbe::new(&books.directory)?;
        let (mut latencies, mut syncs) = (Vec::new(), Vec::new());
        for round in 0..=u64::from(self.options.rounds) {
            let sync = probe.sample(Duration::from_secs(1))?;
            let load = Load::Send { round };
            let turn = self
                .wrk
                .round(real.address, books.token.as_str(), load, 1, Duration::from_secs(2))?;
            // The first round warms up.
            if round > 0 {
                syncs.push(median(&sync));
                latencies.push(turn.p50_us);
            }
        }
        real.stop()?;
        let ratios: Vec<f64> = latencies
            .iter()
            .zip(&syncs)
            .map(|(latency, sync)| latency / sync)
            .collect();
        Ok(vec![Figure {
            name: "one connection: median send, in fsync times of the disk",
            target: Target::AtMost(3.0),
            value: median(&ratios),
            unit: "",
            detail: format!(
                "send {:.0} µs, 8 KiB append with fdatasync {:.0} µs; ratios {:.2} to {:.2}",
                median(&latencies),
                median(&syncs),
                smallest(&ratios),
                largest(&ratios)
            ),
        }])
    }

    /// Starts on an existing database: after an orderly end, and after a kill under load.
    pub(super) fn ready(&self) -> Result<Vec<Figure>> {
        let books = self.prepare("ready", Fill::Past(READY_REQUESTS))?;
        let start = || Server::countersign(&self.server, &books.directory);
        let token = books.token.as_str();
        let (mut ended, mut killed) = (Vec::new(), Vec::new());
        start()?.stop()?;
        for round in 0..STARTS {
            let server = start()?;
            ended.push(server.ready_after.as_secs_f64());
            self.kill_under_load(server, token, u64::try_from(round)?)?;
            let server = start()?;
            killed.push(server.ready_after.as_secs_f64());
            server.stop()?;
        }
        let figure = |name, times: &[f64]| Figure {
            name,
            target: Target::AtMost(0.2),
            value: median(times),
            unit: "s",
            detail: format!(
                "from the start of the process to its first answer, {STARTS} starts on {READY_REQUESTS} requests and more: \
                 {:.3} to {:.3} s",
                smallest(times),
                largest(times)
            ),
        };
        Ok(vec![
            figure("ready with an existing database", &ended),
            figure("ready after kill -9 under load", &killed),
        ])
    }

    fn kill_under_load(&self, server: Server, token: &str, round: u64) -> Result<()> {
        let (wrk, address) = (&self.wrk, server.address);
        let connections = self.options.connections;
        std::thread::scope(|scope| {
            let length = Duration::from_secs(2);
            let load = scope.spawn(move || wrk.round(address, token, Load::Send { round }, connections, length));
            std::thread::sleep(Duration::from_secs(1));
            server.kill()?;
            // Its connections broke: what it counted until then is of no interest.
            match load.join() {
                Ok(_) => Ok(()),
                Err(_) => bail!("the load's thread failed"),
            }
        })
    }

    /// Sends with many requests in the books, beside empty books.
    pub(super) fn million(&self) -> Result<Vec<Figure>> {
        let past = usize::try_from(self.options.past_requests)?;
        let full_books = self.prepare("full", Fill::Past(past))?;
        let empty_books = self.prepare("empty", Fill::Nothing)?;
        let full = Server::countersign(&self.server, &full_books.directory)?;
        let empty = Server::countersign(&self.server, &empty_books.directory)?;
        let (full_token, empty_token) = (full_books.token.as_str(), empty_books.token.as_str());
        let send = |round: u64| Load::Send { round };
        self.warm_up(&full, full_token, send(0))?;
        self.warm_up(&empty, empty_token, send(0))?;
        let turns = self.take_turns(
            |round| self.drive(&full, full_token, send(round + 1)),
            |round| self.drive(&empty, empty_token, send(round + 1)),
        )?;
        full.stop()?;
        empty.stop()?;
        Ok(vec![Figure {
            name: "durable send with a million requests in the books, of empty books",
            target: Target::AtLeast(0.9),
            value: median(&turns.ratios()),
            unit: "",
            detail: format!("{past} requests; {}", turns.detail("full", "empty")),
        }])
    }

    pub(super) fn prepare(&self, name: &str, fill: Fill) -> Result<Prepared> {
        let directory = self.directory.join(name);
        self.runtime.block_on(async {
            let books = Books::create(&directory).await?;
            let waiting = match fill {
                Fill::Nothing => Vec::new(),
                Fill::Past(count) => {
                    say(&format!("  making {count} requests of the past …"))?;
                    books.add_past(count).await?;
                    Vec::new()
                }
                Fill::Waiting(count, origin) => {
                    say(&format!("  making {count} requests to ask about …"))?;
                    books.add_waiting(count, origin).await?
                }
            };
            let token = books.close().await?;
            Ok(Prepared {
                directory: directory.clone(),
                token,
                waiting,
            })
        })
    }

    fn take_turns(
        &self,
        mut first: impl FnMut(u64) -> Result<Turn>,
        mut second: impl FnMut(u64) -> Result<Turn>,
    ) -> Result<Turns> {
        let mut turns = Turns {
            first: Vec::new(),
            second: Vec::new(),
            syncs_us: Vec::new(),
        };
        let mut probe = DiskProbe::new(&self.directory)?;
        for round in 0..u64::from(self.options.rounds) {
            turns.syncs_us.extend(probe.sample(PROBE)?);
            if round % 2 == 0 {
                turns.first.push(first(round)?);
                turns.second.push(second(round)?);
            } else {
                turns.second.push(second(round)?);
                turns.first.push(first(round)?);
            }
        }
        say(&format!("  {} | {}", summary(&turns.first), summary(&turns.second)))?;
        Ok(turns)
    }

    fn drive(&self, server: &Server, token: &str, load: Load<'_>) -> Result<Turn> {
        let cpu_before = server.cpu_seconds()?;
        let length = Duration::from_secs(self.options.seconds);
        let round = self
            .wrk
            .round(server.address, token, load, self.options.connections, length)?;
        let cpu = server.cpu_seconds()? - cpu_before;
        if round.errors > 0 {
            bail!(
                "wrk counted {} failures among {} requests",
                round.errors,
                round.requests
            );
        }
        Ok(Turn {
            round,
            cpu_us_a_request: cpu * 1e6 / float(round.requests.max(1)),
        })
    }

    fn warm_up(&self, server: &Server, token: &str, load: Load<'_>) -> Result<()> {
        let connections = self.options.connections;
        self.wrk
            .round(server.address, token, load, connections, WARM_UP)
            .map(drop)
    }

    fn ceiling_check_rate(&self, ceiling: &Server) -> Result<f64> {
        let books = self.prepare("calibration", Fill::Waiting(1_000, CodeOrigin::Generated))?;
        let records = self.directory.join("calibration.records");
        books::write_records(&records, &books.waiting)?;
        let load = Load::Check { records: &records };
        self.warm_up(ceiling, books.token.as_str(), load)?;
        Ok(self.drive(ceiling, books.token.as_str(), load)?.round.rate())
    }
}

/// The status of a pre-made request, which must be there.
fn status_of(server: &Server, token: &str, waiting: Waiting) -> Result<Value> {
    let question = format!(r#"{{"request_id":"{}"}}"#, waiting.id());
    let answer = http_post(server.address, "/checkVerificationStatus", token, &question)?;
    let mut answer: Value = serde_json::from_str(&answer).context("reading an answer")?;
    ensure!(
        answer["ok"] == true,
        "a pre-made request was answered with {}",
        answer["error"]
    );
    Ok(answer["result"].take())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(rate: u64) -> Turn {
        let round = Round {
            requests: rate,
            seconds: 1.0,
            p50_us: 1.0,
            p99_us: 2.0,
            errors: 0,
            ran_out: false,
        };
        Turn {
            round,
            cpu_us_a_request: 30.0,
        }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_own_ratios() {
        let turns = Turns {
            first: vec![turn(60), turn(10), turn(70)],
            second: vec![turn(100), turn(100), turn(100)],
            syncs_us: Vec::new(),
        };
        assert!((median(&turns.ratios()) - 0.6).abs() < 1e-9);
    }
}
