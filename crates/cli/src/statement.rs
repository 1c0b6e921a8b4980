//! `countersign statement`: an account's ledger entries of a time, with the balances before and after, as a table, as CSV or as
//! JSON. Entries are fetched and written page by page, and added up on the way: a statement that doesn't add up is an error.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use countersign_core::{Credits, Timestamp, civil_date, days_of_date};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::{Common, parse_time};
use crate::caller::{Asking, Caller};
use crate::connection::block_on;
use crate::files::Growing;
use crate::format;
use crate::output::{Cell, Output, Style};

/// Entries of a table that are shown before it asks for a file: a terminal is no place for more.
const MAX_TABLE_ENTRIES: usize = 10_000;

/// Which statement, and how.
#[derive(Debug, Args)]
#[command(after_help = "\
Opening balance + all entries = closing balance; the command adds them up itself. A time that is over gives the same statement
for ever. An account's owner asks with the account's token; an operator names the account with --account.

Examples:
  countersign statement
  countersign statement --from 2026-10-01 --to 2026-11-01 --format csv --output october.csv
  countersign statement --account +391234567890 --format json")]
pub(crate) struct StatementArguments {
    #[command(flatten)]
    caller: Caller,
    /// From this date or time on [default: the first of this month, UTC]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// Before this date or time [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<Timestamp>,
    /// How to write it [default: table; json with --json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write it to a file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "output")]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

#[derive(Deserialize)]
struct Page {
    account_id: String,
    from: i64,
    to: i64,
    opening_balance: Credits,
    closing_balance: Credits,
    #[serde(default)]
    last_entry: Option<u64>,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    number: u64,
    booked_at: i64,
    booked_at_ms: i64,
    kind: String,
    amount: Credits,
    balance_after: Credits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    previous: String,
}

/// Nothing to send.
const NO_BODY: Option<&()> = None;

/// Writes the statement.
pub(crate) fn run(arguments: &StatementArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let default = if output.is_json() { Format::Json } else { Format::Table };
    let format = arguments.format.unwrap_or(default);
    let asking = Asking::new(&arguments.caller, common)?;
    let mut sink = Sink::open(arguments.output.as_deref(), arguments.force)?;
    block_on(async {
        let mut pages = Pages::begin(&asking, arguments).await?;
        match format {
            Format::Csv => csv(&mut pages, &mut sink).await,
            Format::Json => json(&mut pages, &mut sink).await,
            Format::Table => table(&mut pages, &mut sink, output).await,
        }
    })?;
    sink.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// A statement that is fetched page by page. What its first page says of the whole holds for all.
struct Pages<'a> {
    asking: &'a Asking<'a>,
    head: Page,
    /// The sum of the opening balance and all entries so far.
    sum: Credits,
    /// The number of the last entry so far.
    after: Option<u64>,
}

impl<'a> Pages<'a> {
    async fn begin(asking: &'a Asking<'a>, arguments: &StatementArguments) -> anyhow::Result<Self> {
        let from = arguments
            .from
            .unwrap_or_else(first_of_this_month)
            .unix_seconds()
            .to_string();
        let to = arguments.to.map(|to| to.unix_seconds().to_string());
        let mut query = vec![("from", from.as_str())];
        query.extend(to.as_deref().map(|to| ("to", to)));
        let head: Page = asking.ask(Method::GET, &["statement"], &query, NO_BODY).await?;
        Ok(Self {
            asking,
            sum: head.opening_balance,
            after: None,
            head,
        })
    }

    /// The next entries; none once all were taken and add up.
    async fn next(&mut self) -> anyhow::Result<Vec<Entry>> {
        let last = self.head.last_entry.unwrap_or_default();
        let mut entries = std::mem::take(&mut self.head.entries);
        if entries.is_empty() && self.after.is_some_and(|after| after < last) {
            let (from, to) = (self.head.from.to_string(), self.head.to.to_string());
            let after = self.after.unwrap_or_default().to_string();
            let query = [("from", from.as_str()), ("to", to.as_str()), ("after", after.as_str())];
            let page: Page = self.asking.ask(Method::GET, &["statement"], &query, NO_BODY).await?;
            entries = page.entries;
        }
        // Booked while the pages were read: not part of what the first page said.
        entries.retain(|entry| entry.number <= last);
        for entry in &entries {
            self.sum = self.sum.checked_add(entry.amount).context("the sum is too large")?;
            if self.sum != entry.balance_after || self.after.is_some_and(|after| entry.number != after + 1) {
                bail!(
                    "the statement doesn't add up at entry {}: run `countersign audit` on the server",
                    entry.number
                );
            }
            self.after = Some(entry.number);
        }
        if entries.is_empty() && (self.sum != self.head.closing_balance || self.after != self.head.last_entry) {
            bail!("the statement doesn't add up to its closing balance: run `countersign audit` on the server");
        }
        Ok(entries)
    }
}

fn first_of_this_month() -> Timestamp {
    let (year, month, _) = civil_date(format::now().div_euclid(86_400));
    let days = days_of_date(year, month, 1).unwrap_or_default();
    Timestamp::from_millis(days * countersign_core::DAY_MS)
}

/// Where the statement goes: a file that appears once it is complete, or standard output.
enum Sink {
    File(Growing),
    Stdout(io::BufWriter<io::Stdout>),
}

impl Sink {
    fn open(file: Option<&Path>, force: bool) -> anyhow::Result<Self> {
        Ok(match file {
            Some(file) => Self::File(Growing::begin(file, force)?),
            None => Self::Stdout(io::BufWriter::new(io::stdout())),
        })
    }

    fn add(&mut self, content: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::File(file) => file.add(content),
            Self::Stdout(stdout) => Ok(stdout.write_all(content)?),
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::File(file) => file.finish(),
            Self::Stdout(mut stdout) => Ok(stdout.flush()?),
        }
    }
}

/// One line of the CSV. The balances before and after are lines of their own kind, so that columns stay columns.
#[derive(Serialize)]
struct Line<'a> {
    number: Option<u64>,
    booked_at: String,
    kind: &'a str,
    amount: Option<String>,
    balance_after: String,
    request_id: Option<&'a str>,
    reason: Option<String>,
}

async fn csv(pages: &mut Pages<'_>, sink: &mut Sink) -> anyhow::Result<()> {
    let balance = |kind, at, balance: Credits| Line {
        number: None,
        booked_at: seconds(at).rfc_3339(),
        kind,
        amount: None,
        balance_after: balance.to_string(),
        request_id: None,
        reason: None,
    };
    let head = &pages.head;
    let closing = balance("closing_balance", head.to, head.closing_balance);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.serialize(balance("opening_balance", head.from, head.opening_balance))?;
    loop {
        let entries = pages.next().await?;
        for entry in &entries {
            writer.serialize(Line {
                number: Some(entry.number),
                booked_at: seconds(entry.booked_at).rfc_3339(),
                kind: &entry.kind,
                amount: Some(entry.amount.to_string()),
                balance_after: entry.balance_after.to_string(),
                request_id: entry.request_id.as_deref(),
                reason: entry.reason.as_deref().map(spreadsheet_text),
            })?;
        }
        if entries.is_empty() {
            writer.serialize(closing)?;
            return sink.add(&writer.into_inner().context("the CSV can't be written")?);
        }
        writer.flush()?;
        sink.add(writer.get_ref())?;
        // The header was written with the first page.
        writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    }
}

/// Text that a spreadsheet would take for a formula is marked as text.
fn spreadsheet_text(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

async fn json(pages: &mut Pages<'_>, sink: &mut Sink) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Head<'a> {
        account_id: &'a str,
        from: i64,
        to: i64,
        opening_balance: Credits,
        closing_balance: Credits,
    }
    let head = &pages.head;
    let mut text = serde_json::to_string(&Head {
        account_id: &head.account_id,
        from: head.from,
        to: head.to,
        opening_balance: head.opening_balance,
        closing_balance: head.closing_balance,
    })?;
    // The object goes on with its entries, all on one line.
    text.pop();
    text.push_str(",\"entries\":[");
    let mut separator = "";
    loop {
        let entries = pages.next().await?;
        for entry in &entries {
            text.push_str(separator);
            text.push_str(&serde_json::to_string(entry)?);
            separator = ",";
        }
        if entries.is_empty() {
            text.push_str("]}\n");
            return sink.add(text.as_bytes());
        }
        sink.add(text.as_bytes())?;
        text.clear();
    }
}

async fn table(pages: &mut Pages<'_>, sink: &mut Sink, output: &Output) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    loop {
        let entries = pages.next().await?;
        if entries.is_empty() {
            break;
        }
        rows.extend(entries.iter().map(|entry| {
            vec![
                Cell::number(entry.number.to_string()),
                Cell::new(format::date(entry.booked_at)),
                Cell::new(entry.kind.as_str()),
                Cell::number(format::money(entry.amount)),
                Cell::number(format::money(entry.balance_after)),
                Cell::new(
                    entry
                        .reason
                        .as_ref()
                        .or(entry.request_id.as_ref())
                        .map_or("", String::as_str),
                ),
            ]
        }));
        if rows.len() > MAX_TABLE_ENTRIES {
            bail!(
                "there are more than {MAX_TABLE_ENTRIES} entries: write them to a file with --format csv --output FILE"
            );
        }
    }
    let head = &pages.head;
    let facts = [
        ("Account", head.account_id.clone()),
        ("From", format::date(head.from)),
        ("To", format::date(head.to)),
        ("Opening balance", format::money(head.opening_balance)),
        ("Closing balance", format::money(head.closing_balance)),
    ];
    let mut text = output.facts(&facts);
    text.push('\n');
    if rows.is_empty() {
        text.push_str(&output.styled(Style::Quiet, "nothing was booked in this time\n"));
    } else {
        let columns = ["Entry", "Booked", "Kind", "Amount", "Balance", "Request or reason"];
        text.push_str(&output.table(&columns, &rows));
    }
    sink.add(text.as_bytes())
}

const fn seconds(at: i64) -> Timestamp {
    Timestamp::from_millis(at.saturating_mul(1_000))
}
