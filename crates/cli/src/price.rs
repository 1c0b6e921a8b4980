//! `countersign price`: what messages cost by route and number prefix, through the operator's API. Tables as files are
//! `price_table`'s.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use countersign_core::{Credits, NumberPrefix, PriceList, PriceRoute, PriceRow, Timestamp};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::{Common, parse_amount, parse_time};
use crate::connection::{Connection, block_on};
use crate::files;
use crate::format;
use crate::output::{Cell, Output, Style};
use crate::price_table;

/// Rows of the history in one page.
const PAGE: &str = "10000";

/// What to do with prices.
#[derive(Debug, Args)]
#[command(after_help = "\
The longest prefix of a number wins. A route's own prices come before those for all routes. A request keeps the price of its
moment, whatever is set later.

Examples:
  countersign price set +39 0.02
  countersign price set +39 0.025 --from 2027-01-01
  countersign price set default 0.01
  countersign price list --at 2027-01-01
  countersign price export prices.csv
  countersign price import prices.csv --dry-run")]
pub(crate) struct PriceArguments {
    #[command(subcommand)]
    action: PriceAction,
}

#[derive(Debug, Subcommand)]
enum PriceAction {
    /// Set the price of a message to numbers with a prefix
    Set {
        #[command(flatten)]
        of: PriceOf,
        /// The price of one message, like 0.02
        #[arg(value_parser = parse_amount, allow_hyphen_values = true)]
        price: Credits,
    },
    /// Take a price away: a shorter prefix, or the list for all routes, counts again
    Unset(PriceOf),
    /// List the prices that hold now, or at a time
    List {
        /// A date like 2026-12-31 (UTC), or a time like 2026-12-31T12:00:00Z
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        at: Option<Timestamp>,
    },
    /// List every price that was ever set, with who set it and when
    History,
    /// Write the prices that hold and those that will, as CSV, to a file or to standard output
    Export {
        /// The file; without it, or with `-`, standard output
        file: Option<PathBuf>,
        /// Past prices too
        #[arg(long)]
        history: bool,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Set all prices of a CSV file, or none where one of its lines is wrong
    Import {
        /// The file; `-` is standard input. Its columns: route, prefix, price, effective_from
        file: PathBuf,
        /// Only tell what would be set
        #[arg(long)]
        dry_run: bool,
    },
}

/// Names a price.
#[derive(Debug, Args)]
struct PriceOf {
    /// The first digits, like +39, or `default` for all other numbers
    prefix: String,
    /// A route's name, or `all`
    #[arg(long, default_value = "all")]
    route: String,
    /// From when on: a date like 2027-01-01 (UTC), or a time like 2027-01-01T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
}

/// A row as the operator's API writes and reads it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the operator's API")]
pub(crate) struct Price {
    pub(crate) route: String,
    pub(crate) prefix: String,
    /// `None` where the row takes the price away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) price: Option<Credits>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) removed: bool,
    /// `None` where the price stands in no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) effective_from: Option<i64>,
}

#[derive(Deserialize)]
struct Prices {
    prices: Vec<Price>,
}

/// A row of the history. Its price isn't flattened into it: amounts are read digit by digit, which serde's flattening can't.
#[derive(Serialize, Deserialize)]
struct Record {
    number: u64,
    route: String,
    prefix: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    price: Option<Credits>,
    effective_from: i64,
    set_at: i64,
    set_by: String,
}

impl Record {
    fn row(&self) -> Price {
        Price {
            route: self.route.clone(),
            prefix: self.prefix.clone(),
            price: self.price,
            removed: self.price.is_none(),
            effective_from: Some(self.effective_from),
        }
    }
}

#[derive(Deserialize)]
struct HistoryPage {
    rows: Vec<Record>,
    #[serde(default)]
    next: Option<u64>,
}

#[derive(Serialize)]
struct ImportBody<'a> {
    rows: &'a [Price],
    dry_run: bool,
}

#[derive(Serialize, Deserialize)]
struct Imported {
    added: usize,
    already_there: usize,
    dry_run: bool,
}

/// Does it.
pub(crate) fn run(arguments: &PriceArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    // A wrong file is told before a server is needed.
    let table = match &arguments.action {
        PriceAction::Import { file, .. } => price_table::read(file)?,
        _ => Vec::new(),
    };
    let connection = Connection::operator(common)?;
    block_on(act(&arguments.action, &table, &connection, output))?;
    Ok(ExitCode::SUCCESS)
}

async fn act(action: &PriceAction, table: &[Price], connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let nothing: Option<&()> = None;
    match action {
        PriceAction::Set { of, price } => {
            let body = Price {
                route: of.route.clone(),
                prefix: of.prefix.clone(),
                price: Some(*price),
                removed: false,
                effective_from: of.from.map(Timestamp::unix_seconds),
            };
            let price: Price = connection.ask(Method::PUT, &["prices"], &[], Some(&body)).await?;
            show(std::slice::from_ref(&price), &price, output)
        }
        PriceAction::Unset(of) => {
            let from = of.from.map(|from| from.unix_seconds().to_string());
            let mut query = vec![("prefix", of.prefix.as_str()), ("route", of.route.as_str())];
            query.extend(from.as_deref().map(|from| ("effective_from", from)));
            let price: Price = connection.ask(Method::DELETE, &["prices"], &query, nothing).await?;
            show(std::slice::from_ref(&price), &price, output)
        }
        PriceAction::List { at } => {
            let at = at.map(|at| at.unix_seconds().to_string());
            let query: Vec<_> = at.iter().map(|at| ("at", at.as_str())).collect();
            let list: Prices = connection.ask(Method::GET, &["prices"], &query, nothing).await?;
            show(&list.prices, &list.prices, output)
        }
        PriceAction::History => show_history(&history(connection).await?, output),
        PriceAction::Export { file, history, force } => {
            export(connection, file.as_deref(), *history, *force, output).await
        }
        PriceAction::Import { dry_run, .. } => {
            let body = ImportBody {
                rows: table,
                dry_run: *dry_run,
            };
            let path = ["prices", "import"];
            let done: Imported = connection.ask(Method::POST, &path, &[], Some(&body)).await?;
            output.show(&done, |_| told(&done))
        }
    }
}

fn told(done: &Imported) -> String {
    let rows = |count: usize| format!("{count} {}", if count == 1 { "row" } else { "rows" });
    let verb = if done.dry_run { "would be set" } else { "set" };
    format!("{} {verb}, {} already there\n", rows(done.added), done.already_there)
}

/// Every row that was ever set.
async fn history(connection: &Connection) -> anyhow::Result<Vec<Record>> {
    let nothing: Option<&()> = None;
    let mut records = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let query = [("after", after.as_str()), ("limit", PAGE)];
        let path = ["prices", "history"];
        let page: HistoryPage = connection.ask(Method::GET, &path, &query, nothing).await?;
        records.extend(page.rows);
        match page.next {
            Some(next) => after = next.to_string(),
            None => return Ok(records),
        }
    }
}

async fn export(
    connection: &Connection,
    file: Option<&Path>,
    past_too: bool,
    force: bool,
    output: &Output,
) -> anyhow::Result<()> {
    if let Some(file) = named(file) {
        files::require_free(file, force)?;
    }
    let mut list = PriceList::default();
    for record in history(connection).await? {
        list.restore(&row_of(&record.row())?);
    }
    let now = Timestamp::from_millis(format::now().saturating_mul(1000));
    let rows: Vec<PriceRow> = if past_too {
        list.history().collect()
    } else {
        let coming = list.history().filter(|row| row.effective_from > now);
        list.in_force(now).chain(coming).collect()
    };
    let table = countersign_server::price_table::write(&rows)?;
    match named(file) {
        None => Output::print_bytes(&table),
        Some(file) => {
            files::write(file, &table, force)?;
            let done = serde_json::json!({ "file": file.display().to_string(), "rows": rows.len() });
            output.show(&done, |_| {
                format!("{} rows written to {}\n", rows.len(), file.display())
            })
        }
    }
}

/// The file that was named; `-` is standard output.
fn named(file: Option<&Path>) -> Option<&Path> {
    file.filter(|file| *file != Path::new("-"))
}

fn row_of(price: &Price) -> anyhow::Result<PriceRow> {
    let read = || {
        Some(PriceRow {
            route: PriceRoute::parse(&price.route)?,
            prefix: NumberPrefix::parse_or_default(&price.prefix)?,
            effective_from: Timestamp::from_millis(price.effective_from?.checked_mul(1000)?),
            price: price.price,
        })
    };
    match read() {
        Some(row) => Ok(row),
        None => bail!("the server sent a price that this version can't read: use the server's version of this program"),
    }
}

fn show(prices: &[Price], json: &impl Serialize, output: &Output) -> anyhow::Result<()> {
    output.show(json, |output| {
        let rows: Vec<Vec<Cell>> = prices.iter().map(cells).collect();
        output.table(&["Route", "Prefix", "Price", "From"], &rows)
    })
}

fn cells(price: &Price) -> Vec<Cell> {
    let amount = match price.price {
        Some(price) => Cell::number(format::money(price)),
        None => Cell::number("removed").style(Style::Quiet),
    };
    let from = price.effective_from.map_or_else(|| "ever".to_owned(), format::date);
    vec![
        Cell::new(&price.route),
        Cell::new(&price.prefix),
        amount,
        Cell::new(from),
    ]
}

fn show_history(records: &[Record], output: &Output) -> anyhow::Result<()> {
    output.show(&records, |output| {
        if records.is_empty() {
            return "No price was ever set. Set one: countersign price set +39 0.02\n".to_owned();
        }
        let row = |record: &Record| {
            let mut row = vec![Cell::number(record.number.to_string())];
            row.extend(cells(&record.row()));
            row.extend([Cell::new(format::date(record.set_at)), Cell::new(&record.set_by)]);
            row
        };
        let rows: Vec<Vec<Cell>> = records.iter().map(row).collect();
        output.table(&["No.", "Route", "Prefix", "Price", "From", "Set", "By"], &rows)
    })
}
