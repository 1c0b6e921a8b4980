//! Verifications with everything that belongs to them, and delivery reports to many receivers, one of them dead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::cases::{Fill, Workbench};
use super::processes::Server;
use super::report::{Figure, Target};
use super::traffic::{Arrivals, Caller, Manner, Sink, text_after};
use crate::numbers::{float, largest, median, micros, smallest};

/// Verifications under way at once.
const CALLERS: usize = 256;
/// Receivers of reports.
const SINKS: usize = 100;
/// How long a report may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long each load runs before anything is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// How often the caller whose receiver hangs sends, without waiting for its reports.
const HANGING_SEND_EVERY: Duration = Duration::from_millis(20);
/// Delivered at once by the sandbox's script, then read at once, too.
const DELIVERED: &str = "+9996610002";
const READ: &str = "+9996610001";
const CODE: &str = "471108";

/// What each caller does, over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// A send, nothing else.
    SendOnly,
    /// Send, wait for the report of its delivery, check the code: valid.
    Whole,
    /// Send, wait for both its reports, delivered and read.
    TwoReports,
    /// The same from one caller for each receiver; the caller of the last doesn't wait.
    OneEach,
}

/// A load's outcome.
#[derive(Debug, Default)]
struct Outcome {
    /// Courses that were run to their end.
    courses: u64,
    seconds: f64,
    /// From a send's answer to its report's arrival, in microseconds.
    waits_us: Vec<f64>,
    cpu_us_a_course: f64,
}

impl Outcome {
    fn rate(&self) -> f64 {
        float(self.courses) / self.seconds
    }

    fn p99_us(&self) -> f64 {
        let mut sorted = self.waits_us.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
    }
}

/// Callers and their receivers, ready to run.
struct Load {
    callers: Vec<Caller>,
    waiters: Vec<mpsc::UnboundedReceiver<Instant>>,
    sinks: Vec<Sink>,
}

impl Load {
    async fn open(server: &Server, token: &str, callers: usize, sinks: usize, last: Manner) -> Result<Self> {
        let (senders, waiters): (Vec<_>, Vec<_>) = (0..callers).map(|_| mpsc::unbounded_channel()).unzip();
        let arrivals: Arrivals = senders.into();
        let mut load = Self {
            callers: Vec::new(),
            waiters,
            sinks: Vec::new(),
        };
        for number in 0..sinks {
            let manner = if number + 1 == sinks { last } else { Manner::Prompt };
            load.sinks.push(Sink::open(Arc::clone(&arrivals), manner).await?);
        }
        for _ in 0..callers {
            load.callers.push(Caller::connect(server.address, token).await?);
        }
        Ok(load)
    }

    async fn run(&mut self, server: &Server, course: Course, time: Duration) -> Result<Outcome> {
        let cpu_before = server.cpu_seconds()?;
        let start = Instant::now();
        let mut running = JoinSet::new();
        let waiters = std::mem::take(&mut self.waiters);
        for (number, (mut caller, mut waiter)) in self.callers.drain(..).zip(waiters).enumerate() {
            let url = self.sinks[number % self.sinks.len()].url.clone();
            let waits = course != Course::OneEach || number + 1 < self.sinks.len();
            running.spawn(async move {
                let mut outcome = Outcome::default();
                while start.elapsed() < time {
                    take(&mut caller, &mut waiter, number, &url, course, waits, &mut outcome).await?;
                }
                anyhow::Ok((number, caller, waiter, outcome))
            });
        }
        let mut total = Outcome::default();
        let mut back = Vec::new();
        while let Some(done) = running.join_next().await {
            let (number, caller, waiter, outcome) = done.context("a caller")??;
            total.courses += outcome.courses;
            total.waits_us.extend(outcome.waits_us);
            back.push((number, caller, waiter));
        }
        total.seconds = start.elapsed().as_secs_f64();
        total.cpu_us_a_course = (server.cpu_seconds()? - cpu_before) * 1e6 / float(total.courses.max(1));
        back.sort_by_key(|(number, ..)| *number);
        for (_, caller, waiter) in back {
            self.callers.push(caller);
            self.waiters.push(waiter);
        }
        Ok(total)
    }
}

/// One course of one caller.
async fn take(
    caller: &mut Caller,
    waiter: &mut mpsc::UnboundedReceiver<Instant>,
    number: usize,
    url: &str,
    course: Course,
    waits: bool,
    outcome: &mut Outcome,
) -> Result<()> {
    let phone = if course == Course::TwoReports { READ } else { DELIVERED };
    let callback = if course == Course::SendOnly {
        String::new()
    } else {
        format!(r#","callback_url":"{url}","payload":"{number}""#)
    };
    let body = format!(r#"{{"phone_number":"{phone}","code":"{CODE}"{callback}}}"#);
    let sent = caller.call("sendVerificationMessage", &body).await?;
    let answered = Instant::now();
    let id = text_after(&sent, r#""request_id":""#).with_context(|| format!("a send was refused: {sent}"))?;
    let reports = match course {
        _ if !waits => 0,
        Course::SendOnly => 0,
        Course::Whole | Course::OneEach => 1,
        Course::TwoReports => 2,
    };
    for _ in 0..reports {
        let arrival = tokio::time::timeout(PATIENCE, waiter.recv()).await;
        let at = arrival.context("a report never came")?.context("the sink is gone")?;
        outcome.waits_us.push(micros(at.saturating_duration_since(answered)));
    }
    if course == Course::Whole {
        let body = format!(r#"{{"request_id":"{id}","code":"{CODE}"}}"#);
        let checked = caller.call("checkVerificationStatus", &body).await?;
        ensure!(
            checked.contains(r#""status":"code_valid""#),
            "a right code was not valid: {checked}"
        );
    }
    if !waits {
        tokio::time::sleep(HANGING_SEND_EVERY).await;
    }
    outcome.courses += 1;
    Ok(())
}

impl Workbench<'_> {
    /// Whole verifications beside sends alone, in turns on one server.
    pub(super) fn whole(&self) -> Result<Vec<Figure>> {
        let books = self.prepare("whole", Fill::Nothing)?;
        let server = Server::countersign(&self.server, &books.directory)?;
        let (mut wholes, mut sends) = (Vec::new(), Vec::new());
        self.runtime.block_on(async {
            let token = books.token.as_str();
            let mut load = Load::open(&server, token, CALLERS, 1, Manner::Prompt).await?;
            load.run(&server, Course::Whole, WARM_UP).await?;
            for _ in 0..self.options.rounds {
                sends.push(load.run(&server, Course::SendOnly, self.round()).await?);
                wholes.push(load.run(&server, Course::Whole, self.round()).await?);
            }
            anyhow::Ok(())
        })?;
        server.stop()?;
        let rates: Vec<f64> = wholes.iter().map(Outcome::rate).collect();
        let cpu = |outcomes: &[Outcome]| median(&outcomes.iter().map(|one| one.cpu_us_a_course).collect::<Vec<_>>());
        Ok(vec![Figure {
            name: "whole verifications (send, report acknowledged, check)",
            target: Target::AtLeast(4_000.0),
            value: median(&rates),
            unit: "/s",
            detail: format!(
                "rounds {:.0} to {:.0}; {:.0} µs of the server's CPU each; sends alone by the same callers {:.0}/s, {:.0} µs each; \
                 callers and sink on the same cores",
                smallest(&rates),
                largest(&rates),
                cpu(&wholes),
                median(&sends.iter().map(Outcome::rate).collect::<Vec<_>>()),
                cpu(&sends)
            ),
        }])
    }

    /// Reports to a hundred receivers; then the same beside a server one of whose receivers hangs.
    pub(super) fn reports(&self) -> Result<Vec<Figure>> {
        let books = self.prepare("reports", Fill::Nothing)?;
        let server = Server::countersign(&self.server, &books.directory)?;
        let mut rates = Vec::new();
        let mut cpu = Vec::new();
        self.runtime.block_on(async {
            let mut load = Load::open(&server, books.token.as_str(), CALLERS, SINKS, Manner::Prompt).await?;
            load.run(&server, Course::TwoReports, WARM_UP).await?;
            for _ in 0..self.options.rounds {
                let outcome = load.run(&server, Course::TwoReports, self.round()).await?;
                rates.push(2.0 * outcome.rate());
                cpu.push(outcome.cpu_us_a_course / 2.0);
            }
            anyhow::Ok(())
        })?;
        server.stop()?;
        let mut figures = vec![Figure {
            name: "reports to 100 receivers",
            target: Target::None,
            value: median(&rates),
            unit: "/s",
            detail: format!(
                "rounds {:.0} to {:.0}; {:.0} µs of the server's CPU each, half a send included; callers and sinks on the same cores",
                smallest(&rates),
                largest(&rates),
                median(&cpu)
            ),
        }];
        figures.push(self.one_hangs()?);
        Ok(figures)
    }

    fn one_hangs(&self) -> Result<Figure> {
        let all_well = self.prepare("all-well", Fill::Nothing)?;
        let one_dead = self.prepare("one-dead", Fill::Nothing)?;
        let well = Server::countersign(&self.server, &all_well.directory)?;
        let dead = Server::countersign(&self.server, &one_dead.directory)?;
        let (mut ratios, mut well_p99, mut dead_p99) = (Vec::new(), Vec::new(), Vec::new());
        self.runtime.block_on(async {
            let mut all_well_load = Load::open(&well, all_well.token.as_str(), SINKS, SINKS, Manner::Prompt).await?;
            let mut one_dead_load = Load::open(&dead, one_dead.token.as_str(), SINKS, SINKS, Manner::Hanging).await?;
            all_well_load.run(&well, Course::OneEach, WARM_UP).await?;
            one_dead_load.run(&dead, Course::OneEach, WARM_UP).await?;
            for _ in 0..self.options.rounds {
                let without = all_well_load.run(&well, Course::OneEach, self.round()).await?.p99_us();
                let with = one_dead_load.run(&dead, Course::OneEach, self.round()).await?.p99_us();
                ratios.push(with / without);
                well_p99.push(without / 1_000.0);
                dead_p99.push(with / 1_000.0);
            }
            anyhow::Ok(())
        })?;
        well.stop()?;
        dead.stop()?;
        Ok(Figure {
            name: "p99 of reports to 99 receivers while the hundredth hangs, of a run where none does",
            target: Target::AtMost(2.0),
            value: median(&ratios),
            unit: "",
            detail: format!(
                "from the send's answer to the report: {:.1} ms with, {:.1} ms without; ratios {:.2} to {:.2}",
                median(&dead_p99),
                median(&well_p99),
                smallest(&ratios),
                largest(&ratios)
            ),
        })
    }

    fn round(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }
}
