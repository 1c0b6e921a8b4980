//! What must hold after a kill, told from outside: the API, the command line, and the reports that came.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use countersign_core::{ApiToken, Credits, SIGNATURE_HEADER, TIMESTAMP_HEADER, signature_matches};
use countersign_e2e::{Api, Report, Server, Sink};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::load::{Known, NOT_SENT, Record, text};

/// Status calls at the same time.
const READERS: usize = 8;
/// What a message costs in these tests, in micro-credits.
const FEE: Credits = Credits::from_micros(10_000);

/// A sandbox number whose messages arrive by themselves.
pub(crate) const SCRIPTED: &str = "+9996610006";

/// The sandbox account's first credit, and what the test adds.
const PURCHASES: u64 = 2;

/// Every acknowledged request is there, as it was told or further on.
pub(crate) async fn requests(api: &Api, record: &mut Record) -> Result<()> {
    let mut readers = JoinSet::new();
    let all: Vec<Known> = std::mem::take(&mut record.known).into_values().collect();
    for part in all.chunks(all.len().div_ceil(READERS).max(1)) {
        readers.spawn(statuses(api.clone(), part.to_vec()));
    }
    while let Some(read) = readers.join_next().await {
        record
            .known
            .extend(read??.into_iter().map(|known| (known.id.clone(), known)));
    }
    Ok(())
}

async fn statuses(api: Api, mut part: Vec<Known>) -> Result<Vec<Known>> {
    for known in &mut part {
        let answer = api
            .call("checkVerificationStatus", &json!({ "request_id": known.id }))
            .await?;
        ensure!(
            answer["ok"] == true,
            "{} was acknowledged and is answered {answer}",
            known.id
        );
        let status = &answer["result"];
        if known.delivery == NOT_SENT {
            // The send on it may have got through without an answer, and brought its payload.
            known.answer["payload"] = status["payload"].clone();
        }
        for field in ["request_id", "phone_number", "request_cost", "payload"] {
            ensure!(
                status[field] == known.answer[field],
                "{field} of {} is now {}",
                known.answer,
                status[field]
            );
        }
        known.told(status)?;
        let refunded = status["is_refunded"] == true;
        ensure!(
            refunded == (known.delivery == "expired"),
            "{status} is refunded wrongly"
        );
    }
    Ok(part)
}

/// The account's clock was never set back.
pub(crate) async fn clock(api: &Api, record: &Record) -> Result<()> {
    let answer = api.advance_clock(0).await?;
    let now = answer["result"]["now"].as_i64().context("the time on the clock")?;
    ensure!(
        now >= record.clock,
        "the clock was told to be {} and is {now}",
        record.clock
    );
    Ok(())
}

/// The balance that the command line shows.
pub(crate) fn balance(server: &Server, owner: &str) -> Result<Credits> {
    let account = server.cli_json(["account", "show", owner])?;
    Credits::parse(&account["balance"].to_string()).with_context(|| format!("the balance of {account}"))
}

/// What `countersign audit` counts; it fails where a promise is broken.
pub(crate) fn audit(server: &Server) -> Result<Audit> {
    let counted = server.audit()?;
    let count = |name: &str| counted[name].as_u64().with_context(|| format!("{name} of {counted}"));
    ensure!(counted["ok"] == true, "{counted}");
    Ok(Audit {
        requests: count("requests")?,
        entries: count("entries")?,
    })
}

pub(crate) struct Audit {
    requests: u64,
    entries: u64,
}

impl Audit {
    /// Entries besides the purchases and one charge a request.
    fn refunds(&self) -> Result<u64> {
        self.entries
            .checked_sub(PURCHASES + self.requests)
            .with_context(|| format!("{} requests, but only {} ledger entries", self.requests, self.entries))
    }

    /// No request is missing, and none is there twice: what is there besides the acknowledged ones are sends without an
    /// answer, each once at most.
    fn holds_exactly(&self, record: &Record) -> Result<()> {
        let (known, unknown) = (u64::try_from(record.known.len())?, u64::try_from(record.unknown.len())?);
        ensure!(
            (known..=known + unknown).contains(&self.requests),
            "{} requests are there; {known} were acknowledged, {unknown} had no answer",
            self.requests
        );
        Ok(())
    }
}

/// Each request was charged once, and the balance is what that leaves.
pub(crate) fn money(server: &Server, owner: &str, first: Credits, record: &Record) -> Result<()> {
    let mut looks = Vec::new();
    // Audit and balance are two looks, between which a message may expire: then both are taken again.
    while looks.len() < 10 {
        let audit = audit(server)?;
        audit.holds_exactly(record)?;
        let paid = i64::try_from(audit.requests)? - i64::try_from(audit.refunds()?)?;
        let left = first - Credits::from_micros(FEE.micros() * paid);
        let shown = balance(server, owner)?;
        if shown == left {
            return Ok(());
        }
        looks.push(format!("{shown} instead of {left}"));
    }
    bail!("the balance is {looks:?}")
}

/// With no server running the audit holds too, and what was told to be refunded is what was refunded.
pub(crate) fn money_at_rest(server: &Server, record: &Record) -> Result<()> {
    let audit = audit(server)?;
    audit.holds_exactly(record)?;
    let expired = record
        .known
        .values()
        .filter(|known| known.delivery == "expired")
        .count();
    let possible = expired..=expired + record.unknown.len();
    let refunds = usize::try_from(audit.refunds()?)?;
    ensure!(possible.contains(&refunds), "{refunds} refunds instead of {possible:?}");
    Ok(())
}

/// Every message arrived, expired or was revoked; scripted ones are delivered by now, wherever they were sent.
pub(crate) fn nothing_is_under_way(record: &Record) -> Result<()> {
    for known in record.known.values() {
        ensure!(known.delivery != "sent", "{} is under way for ever", known.id);
        let scripted = known.attempt.parameters["phone_number"] == SCRIPTED;
        ensure!(
            !scripted || known.delivery == "delivered",
            "the scripted {} is {}",
            known.id,
            known.delivery
        );
    }
    Ok(())
}

/// Nothing failed within a server since its start, but commits of which nobody knows whether they happened.
pub(crate) fn log_is_clean(server: &Server) -> Result<()> {
    let log = server.log();
    for line in log
        .lines()
        .filter(|line| line.contains("INTERNAL_ERROR") || line.contains("panicked"))
    {
        ensure!(line.contains("the outcome is unknown"), "a server logged: {line}");
    }
    Ok(())
}

/// Messages to a scripted number arrive by themselves, whichever node has them by now.
pub(crate) async fn scripted_ones_arrive(api: &Api, record: &Record, deadline: Duration) -> Result<()> {
    let started = Instant::now();
    for known in record.known.values() {
        if known.attempt.parameters["phone_number"] != SCRIPTED || known.delivery != "sent" {
            continue;
        }
        let status = json!({ "request_id": known.id });
        while api.call("checkVerificationStatus", &status).await?["result"]["delivery_status"]["status"] == "sent" {
            ensure!(
                started.elapsed() < deadline,
                "after {deadline:?} the scripted {} is under way",
                known.id
            );
            // Nothing tells of a dead node's work that another one takes over.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

/// P4: every state after `sent` came in, signed, in order, and the same bytes each time.
pub(crate) async fn reports(sink: &Sink, record: &Record, token: &str, deadline: Duration) -> Result<()> {
    let mut open: HashMap<&str, HashSet<&str>> = HashMap::new();
    for known in record.known.values().filter(|known| known.delivery != NOT_SENT) {
        let states = open.entry(known.id.as_str()).or_default();
        states.insert(known.delivery.as_str());
        states.extend(known.was_delivered.then_some("delivered"));
    }
    let mut looked_at = 0;
    let last_came = |reports: &[Report]| {
        for report in &reports[looked_at..] {
            // What the receiver refused has not arrived.
            let (StatusCode::OK, Ok((id, state))) = (report.answered, told_by(report)) else {
                continue;
            };
            if let Some(states) = open.get_mut(id.as_str()) {
                states.remove(state.as_str());
                if states.is_empty() {
                    open.remove(id.as_str());
                }
            }
        }
        looked_at = reports.len();
        open.is_empty()
    };
    let waited = sink.wait_until(deadline, last_came).await;
    let reports = sink.reports();
    let came = by_request(&reports)?;
    // Each attempt with what it was answered: whether one was refused too often, or never came again.
    let attempts = |id: &str| {
        let of_id = reports.iter().filter_map(|report| {
            let (of, state) = told_by(report).ok()?;
            (of == id).then(|| format!("{state} {}", report.answered.as_u16()))
        });
        of_id.collect::<Vec<_>>()
    };
    let missing: Vec<_> = open
        .iter()
        .map(|(id, open)| format!("{open:?} of {id}, attempts {:?}", attempts(id)))
        .collect();
    ensure!(
        waited.is_ok(),
        "after {deadline:?} reports of {} requests are missing: {missing:#?}",
        missing.len()
    );
    for states in came.values() {
        in_order(states)?;
    }
    let key = ApiToken::parse(token).context("the token")?.report_key();
    for report in &reports {
        let header = |name| {
            report
                .headers
                .get(name)
                .and_then(|value: &hyper::header::HeaderValue| value.to_str().ok())
        };
        let (timestamp, signature) = (header(TIMESTAMP_HEADER), header(SIGNATURE_HEADER));
        let (timestamp, signature) = (timestamp.context("a timestamp")?, signature.context("a signature")?);
        ensure!(
            signature_matches(&key, timestamp, &report.body, signature),
            "{report:?} is signed wrongly"
        );
    }
    Ok(())
}

type States = Vec<(String, Vec<u8>)>;

/// The states that were reported of each request, in the order in which they came; repetitions are dropped.
fn by_request(reports: &[Report]) -> Result<HashMap<String, States>> {
    let mut by_request: HashMap<String, States> = HashMap::new();
    for report in reports {
        let (id, state) = told_by(report)?;
        let states = by_request.entry(id).or_default();
        let next = (state, report.body.to_vec());
        if states.last() != Some(&next) {
            states.push(next);
        }
    }
    Ok(by_request)
}

/// Which request a report is of, and its state.
fn told_by(report: &Report) -> Result<(String, String)> {
    let body: Value = serde_json::from_slice(&report.body)?;
    Ok((text(&body["request_id"])?, text(&body["delivery_status"]["status"])?))
}

fn in_order(states: &States) -> Result<()> {
    let names: Vec<_> = states.iter().map(|(name, _)| name.as_str()).collect();
    let forward = matches!(
        names.as_slice(),
        ["delivered" | "read" | "expired" | "revoked"] | ["delivered", "read"]
    );
    ensure!(forward, "reports came as {names:?}");
    Ok(())
}

/// What happened, for whoever reads the test's output.
pub(crate) fn told(record: &Record, sink: &Sink, ready_in: &mut [Duration], reports_in: Duration) -> String {
    ready_in.sort_unstable();
    let reports = sink.reports();
    let of = |state: &str| record.known.values().filter(|known| known.delivery == state).count();
    format!(
        "{} requests acknowledged, {} sends without an answer; {} delivered, {} read, {} expired, {} revoked; {} attempts to \
         report, {} of them refused, the last ones after {reports_in:?}; ready after a kill in {:?} (median), {:?} (longest)",
        record.known.len(),
        record.unknown.len(),
        of("delivered"),
        of("read"),
        of("expired"),
        of("revoked"),
        reports.len(),
        reports
            .iter()
            .filter(|report| report.answered != StatusCode::OK)
            .count(),
        ready_in[ready_in.len() / 2],
        ready_in[ready_in.len() - 1],
    )
}
