//! `countersign reports`: delivery reports, through the owner's API with the account's token, or the operator's with `--account`.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::Common;
use crate::caller::{Asking, Caller};
use crate::connection::{Connection, block_on};
use crate::format;
use crate::output::{Cell, Output, Style};

/// Lost reports that are asked for at once.
const PAGE: &str = "1000";

/// What to do with delivery reports.
#[derive(Debug, Args)]
#[command(after_help = "\
An account's owner asks with the account's token; an operator names the account with --account, and is shown neither bodies nor
answers.

Examples:
  countersign reports list --state lost
  countersign reports show 0BswTaYHVPNuRPv9ZQx-1
  countersign reports redeliver --lost
  countersign reports ping https://example.com/reports
  countersign reports list --account +391234567890")]
pub(crate) struct ReportsArguments {
    #[command(subcommand)]
    action: ReportsAction,
}

#[derive(Debug, Subcommand)]
enum ReportsAction {
    /// List reports, those of the newest request first
    List {
        /// Only those in this state
        #[arg(long, value_enum)]
        state: Option<State>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Go on after this report
        #[arg(long, value_name = "REPORT_ID")]
        before: Option<String>,
        #[command(flatten)]
        caller: Caller,
    },
    /// Show a report with its body and every attempt to send it
    Show {
        /// The report, as `list` names it
        report_id: String,
        #[command(flatten)]
        caller: Caller,
    },
    /// Let a lost report go again, with all its retries
    Redeliver {
        /// The report, as `list` names it
        #[arg(required_unless_present = "lost")]
        report_id: Option<String>,
        /// Every report that is lost now
        #[arg(long, conflicts_with = "report_id")]
        lost: bool,
        #[command(flatten)]
        caller: Caller,
    },
    /// Send a signed test ping to a URL, and show what came of it
    Ping {
        /// Where the ping goes.
        #[arg(help = "Where to, like https://example.com/reports")]
        #[arg(value_name = "URL")]
        target: String,
        /// The account's API token [env: COUNTERSIGN_TOKEN]
        #[arg(long)]
        token: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Pending,
    Acknowledged,
    Lost,
}

#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the server's API")]
struct Report {
    report_id: String,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    state: String,
    destination: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    callback_url: Option<String>,
    attempt_count: u16,
    made_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at: Option<i64>,
}

#[derive(Deserialize)]
struct Page {
    reports: Vec<Report>,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Detail {
    #[serde(flatten)]
    report: Report,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    attempts: Vec<Attempt>,
}

#[derive(Serialize, Deserialize)]
struct Attempt {
    at: i64,
    duration_ms: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_back: Option<u32>,
}

#[derive(Serialize)]
struct PingBody<'a> {
    url: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Ping {
    url: String,
    acknowledged: bool,
    duration_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<String>,
}

#[derive(Serialize)]
struct Redelivered {
    redelivered: usize,
}

/// Nothing to send.
const NO_BODY: Option<&()> = None;

async fn page(asking: &Asking<'_>, query: &[(&str, &str)]) -> anyhow::Result<Page> {
    asking.ask(Method::GET, &["reports"], query, NO_BODY).await
}

async fn redeliver(asking: &Asking<'_>, report_id: &str) -> anyhow::Result<Report> {
    let path = ["reports", report_id, "redeliver"];
    asking.ask(Method::POST, &path, &[], NO_BODY).await
}

/// Does it.
pub(crate) fn run(arguments: &ReportsArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    block_on(async {
        match &arguments.action {
            ReportsAction::List {
                state,
                limit,
                before,
                caller,
            } => list(&Asking::new(caller, common)?, *state, *limit, before.as_deref(), output).await,
            ReportsAction::Show { report_id, caller } => {
                let asking = Asking::new(caller, common)?;
                let path = ["reports", report_id.as_str()];
                let detail: Detail = asking.ask(Method::GET, &path, &[], NO_BODY).await?;
                output.show(&detail, |output| detail_text(&detail, output))
            }
            ReportsAction::Redeliver { report_id, caller, .. } => {
                let asking = Asking::new(caller, common)?;
                match report_id {
                    Some(report_id) => {
                        let report = redeliver(&asking, report_id).await?;
                        output.show(&report, |output| output.facts(&facts(&report, output)))
                    }
                    None => redeliver_lost(&asking, output).await,
                }
            }
            // Not `url`: that is the server's, an option of every command.
            ReportsAction::Ping { target, token } => {
                ping(&Connection::owner(common, token.as_deref())?, target, output).await
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(
    asking: &Asking<'_>,
    state: Option<State>,
    limit: u16,
    before: Option<&str>,
    output: &Output,
) -> anyhow::Result<()> {
    let mut reports = Vec::new();
    let mut next = before.map(str::to_owned);
    // A page may be short where reports of one state are few among many: what was asked for is gathered.
    loop {
        let rest = (usize::from(limit) - reports.len()).to_string();
        let mut query = vec![("limit", rest.as_str())];
        query.extend(state.map(|state| ("state", state_name(state))));
        query.extend(next.as_deref().map(|before| ("before", before)));
        let page = page(asking, &query).await?;
        reports.extend(page.reports);
        next = page.next;
        if next.is_none() || reports.len() >= usize::from(limit) {
            break;
        }
    }
    output.show(&reports, |output| {
        if reports.is_empty() {
            return match state {
                Some(state) => format!("No report is {}.\n", state_name(state)),
                None => "No reports yet. A send asks for them: countersign send PHONE --callback-url URL\n".to_owned(),
            };
        }
        let now = format::now();
        let rows: Vec<Vec<Cell>> = reports.iter().map(|report| row(report, now)).collect();
        let mut text = output.table(&["Report", "State", "Destination", "Attempts", "Made", "Next"], &rows);
        if let Some(next) = &next {
            let more = format!("More: --before {next}");
            text.push_str(&output.styled(Style::Quiet, &more));
            text.push('\n');
        }
        text
    })
}

fn row(report: &Report, now: i64) -> Vec<Cell> {
    vec![
        Cell::new(&report.report_id),
        state_cell(&report.state),
        Cell::new(&report.destination),
        Cell::number(report.attempt_count.to_string()),
        Cell::new(format::time(report.made_at, now)),
        Cell::new(next_attempt(report, now)),
    ]
}

/// When a report goes next.
fn next_attempt(report: &Report, now: i64) -> String {
    match report.due_at {
        Some(at) if at <= now => "now".to_owned(),
        Some(at) => format::time(at, now),
        None if report.state == "pending" => "after the one before".to_owned(),
        None => String::new(),
    }
}

fn facts(report: &Report, output: &Output) -> Vec<(&'static str, String)> {
    let now = format::now();
    let mut facts = vec![("Report", report.report_id.clone())];
    facts.extend(report.request_id.clone().map(|request| ("Request", request)));
    if report.kind != "delivery" {
        facts.push(("About", report.kind.replace('_', " ")));
    }
    facts.push(("State", state_cell(&report.state).shown(output)));
    let to = report.callback_url.as_ref().unwrap_or(&report.destination);
    facts.push(("Goes to", to.clone()));
    facts.push(("Made", format::date(report.made_at)));
    let next = next_attempt(report, now);
    if !next.is_empty() {
        facts.push(("Next attempt", next));
    }
    facts.extend(report.finished_at.map(|at| ("Finished", format::date(at))));
    facts
}

fn detail_text(detail: &Detail, output: &Output) -> String {
    let mut text = output.facts(&facts(&detail.report, output));
    if let Some(body) = &detail.body {
        // A body is one line of JSON; what a receiver answered may be anything.
        let _ = write!(text, "\n{}\n{}\n", output.styled(Style::Quiet, "Body"), visible(body));
    }
    if detail.attempts.is_empty() {
        text.push_str("\nNo attempt was made yet.\n");
        return text;
    }
    let rows: Vec<Vec<Cell>> = detail.attempts.iter().map(attempt_row).collect();
    text.push('\n');
    text.push_str(&output.table(&["Attempt", "Took", "Status", "What became of it"], &rows));
    if let Some(response) = detail
        .attempts
        .iter()
        .rev()
        .find_map(|attempt| attempt.response.as_ref())
    {
        let label = output.styled(Style::Quiet, "Last answer");
        let _ = write!(text, "\n{label}\n{}\n", visible(response));
    }
    text
}

fn attempt_row(attempt: &Attempt) -> Vec<Cell> {
    let (took, status, became) = if let Some(times) = attempt.held_back {
        let why = attempt.error.as_deref().unwrap_or("its destination failed too often");
        let became = format!("○ held back {times} times: {why}");
        (String::new(), String::new(), Cell::new(became).style(Style::Waiting))
    } else {
        let status = attempt.status.map_or_else(String::new, |status| status.to_string());
        let became = match &attempt.error {
            None => Cell::new("✓ acknowledged").style(Style::Good),
            Some(error) => Cell::new(format!("✗ {error}")).style(Style::Bad),
        };
        (format!("{} ms", attempt.duration_ms), status, became)
    };
    vec![
        Cell::new(format::date(attempt.at)),
        Cell::number(took),
        Cell::number(status),
        became,
    ]
}

/// Text of strangers on a terminal: control characters, but line ends and tabs, are shown and not obeyed.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && letter != '\n' && letter != '\t' {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

async fn redeliver_lost(asking: &Asking<'_>, output: &Output) -> anyhow::Result<()> {
    let bar = bar(output);
    let mut redelivered = 0;
    let mut before: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE), ("state", "lost")];
        query.extend(before.as_deref().map(|before| ("before", before)));
        let page = page(asking, &query).await?;
        for report in &page.reports {
            if let Err(error) = redeliver(asking, &report.report_id).await {
                bar.finish_and_clear();
                bail!("{error}; {redelivered} reports go again, the others are still lost: run this again");
            }
            redelivered += 1;
            bar.inc(1);
        }
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    bar.finish_and_clear();
    output.show(&Redelivered { redelivered }, |_| match redelivered {
        0 => "No report is lost.\n".to_owned(),
        1 => "1 lost report goes again.\n".to_owned(),
        many => format!("{many} lost reports go again.\n"),
    })
}

/// On standard error, and on a terminal only.
fn bar(output: &Output) -> ProgressBar {
    if output.is_json() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    match ProgressStyle::with_template("{spinner} {pos} lost reports go again  {elapsed}") {
        Ok(style) => bar.with_style(style),
        // The plain one says the same with less.
        Err(_) => bar,
    }
}

async fn ping(connection: &Connection, url: &str, output: &Output) -> anyhow::Result<()> {
    let ping: Ping = connection
        .ask(Method::POST, &["reports", "ping"], &[], Some(&PingBody { url }))
        .await?;
    let failed = ping.error.clone();
    output.show(&ping, |output| {
        let became = match &ping.error {
            None => output.styled(Style::Good, "✓ acknowledged"),
            Some(error) => output.styled(Style::Bad, &format!("✗ {error}")),
        };
        let mut facts = vec![("Ping to", ping.url.clone()), ("Became", became)];
        facts.extend(ping.status.map(|status| ("Status", status.to_string())));
        facts.push(("Took", format!("{} ms", ping.duration_ms)));
        let mut text = output.facts(&facts);
        if let Some(response) = &ping.response {
            let label = output.styled(Style::Quiet, "Answer");
            let _ = write!(text, "\n{label}\n{}\n", visible(response));
        }
        text
    })?;
    match failed {
        None => Ok(()),
        Some(error) => bail!("the ping was not acknowledged ({error}): answer status 200 within 10 s at this URL"),
    }
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Acknowledged => "acknowledged",
        State::Lost => "lost",
    }
}

/// A report's state: its word, its shape and its colour.
fn state_cell(name: &str) -> Cell {
    match name {
        "pending" => Cell::new("○ pending").style(Style::Waiting),
        "acknowledged" => Cell::new("✓ acknowledged").style(Style::Good),
        "lost" => Cell::new("✗ lost").style(Style::Bad),
        other => Cell::new(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_answered_cannot_move_the_cursor() {
        assert_eq!(visible("ok\n\tfine"), "ok\n\tfine");
        assert_eq!(visible("\u{1b}[2Jgone\r"), "\\u{1b}[2Jgone\\r");
    }

    #[test]
    fn a_report_that_waits_says_for_what() {
        let mut report = Report {
            report_id: "1-1".into(),
            kind: "delivery".into(),
            request_id: None,
            state: "pending".into(),
            destination: "example.com".into(),
            callback_url: None,
            attempt_count: 0,
            made_at: 0,
            due_at: None,
            finished_at: None,
        };
        assert_eq!(next_attempt(&report, 100), "after the one before");
        report.due_at = Some(220);
        assert_eq!(next_attempt(&report, 100), "in 2 min");
        report.due_at = Some(99);
        assert_eq!(next_attempt(&report, 100), "now");
        (report.due_at, report.state) = (None, "lost".into());
        assert_eq!(next_attempt(&report, 100), "");
    }
}
