//! `countersign audit`: checks the promises P2 (the books balance) and P3 (states only move forward) over the whole
//! database, beside a live server too, and tells where the ledger's chains end.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Args;
use countersign_store::{AuditReport, Database, LedgerHead, StoreError, Violation, audit};
use serde::Serialize;

use crate::arguments::Common;
use crate::database::DatabasePlace;
use crate::heads;
use crate::output::{Cell, Output, Style};
use crate::progress::{Unit, bar};

/// With more accounts than these, people see the head of all of them alone.
const MOST_SHOWN_ACCOUNTS: usize = 10;

/// Options of `audit`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every ledger entry holds the hash of the one before it; the last one's is the account's head. Whoever
can write to the database could still make a whole chain anew: heads that were noted elsewhere show that.

Examples:
  countersign audit --data-dir DIR
  countersign audit --write-heads heads-2026-05-31.csv
  countersign audit --heads heads-2026-05-31.csv")]
pub(crate) struct AuditArguments {
    #[command(flatten)]
    place: DatabasePlace,
    /// Check that the chains still go through the heads noted in FILE
    #[arg(long, value_name = "FILE")]
    heads: Option<PathBuf>,
    /// Note every account's head in FILE, a new one, to be kept elsewhere
    #[arg(long, value_name = "FILE")]
    write_heads: Option<PathBuf>,
}

#[derive(Serialize)]
struct AuditView {
    ok: bool,
    accounts: u64,
    entries: u64,
    requests: u64,
    /// How many noted heads the chains go through; only where some were to be checked, and are.
    #[serde(skip_serializing_if = "Option::is_none")]
    noted_heads: Option<usize>,
    /// The head of all accounts; only where nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heads: Option<Vec<HeadView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    violation: Option<ViolationView>,
}

#[derive(Serialize)]
struct HeadView {
    account_id: String,
    entries: u64,
    head: String,
}

#[derive(Serialize)]
struct ViolationView {
    account_id: String,
    what: String,
}

impl AuditView {
    fn new(report: &AuditReport, noted: Option<usize>) -> Self {
        let ok = report.violation.is_none();
        Self {
            ok,
            accounts: report.accounts,
            entries: report.entries,
            requests: report.requests,
            noted_heads: noted.filter(|_| ok),
            head: ok.then(|| report.head().to_string()),
            heads: ok.then(|| report.heads.iter().map(HeadView::from).collect()),
            violation: report.violation.as_ref().map(ViolationView::from),
        }
    }
}

impl From<&LedgerHead> for HeadView {
    fn from(head: &LedgerHead) -> Self {
        Self {
            account_id: head.account.to_string(),
            entries: head.entries,
            head: head.head.to_string(),
        }
    }
}

impl From<&Violation> for ViolationView {
    fn from(violation: &Violation) -> Self {
        Self {
            account_id: violation.account.to_string(),
            what: violation.what.clone(),
        }
    }
}

/// Checks the database; exit code 1 at the first violation.
pub(crate) fn run(arguments: &AuditArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let noted = arguments.heads.as_deref().map(heads::read).transpose()?;
    if let Some(file) = arguments.write_heads.as_deref().filter(|file| file.exists()) {
        // Before the long work, not after it.
        return Err(heads::already_there(file));
    }
    let database = arguments.place.find(common)?;
    let report = checked(noted.as_deref().unwrap_or_default(), &database, output)?;
    if report.violation.is_none()
        && let Some(file) = &arguments.write_heads
    {
        heads::write(file, &report.heads)?;
    }
    let view = AuditView::new(&report, noted.map(|noted| noted.len()));
    output.show(&view, |output| text(&view, arguments, output))?;
    let Some(violation) = report.violation else {
        return Ok(ExitCode::SUCCESS);
    };
    let unwritten = match &arguments.write_heads {
        Some(_) => " No heads were written.",
        None => "",
    };
    bail!("{violation}. Stop the server, keep a copy of the data directory, and restore a backup.{unwritten}")
}

/// The audit, with a bar where it takes long.
fn checked(noted: &[LedgerHead], database: &Database, output: &Output) -> anyhow::Result<AuditReport> {
    let bar = bar(Unit::Rows, output);
    let report = audit(database, noted, |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    report.map_err(|error| match (error, database) {
        (StoreError::NotFound(_), Database::Sqlite(directory)) => anyhow!(
            "there is no database in {}: name a server's data directory with --data-dir",
            directory.display()
        ),
        (StoreError::NotFound(_), Database::Postgres(settings)) => {
            anyhow!(
                "there are no books in {}: name the right database with --database",
                settings.place()
            )
        }
        (error, _) => error.into(),
    })
}

fn text(view: &AuditView, arguments: &AuditArguments, output: &Output) -> String {
    let verdict = if view.ok {
        output.styled(Style::Good, "✓ the books balance, and states only moved forward")
    } else {
        output.styled(Style::Bad, "✗ a promise is broken")
    };
    let mut facts = vec![
        ("Accounts", view.accounts.to_string()),
        ("Ledger entries", view.entries.to_string()),
        ("Requests", view.requests.to_string()),
    ];
    facts.extend(
        view.noted_heads
            .map(|count| ("Noted heads", format!("{count}, all met"))),
    );
    facts.extend(view.head.clone().map(|head| ("Chain head", head)));
    let mut text = format!("{verdict}\n\n{}", output.facts(&facts));
    if let Some(heads) = &view.heads {
        text.push_str(&heads_text(heads, output));
        text.push_str(&advice(arguments, output));
    }
    text
}

/// Each account's head, where they are few.
fn heads_text(heads: &[HeadView], output: &Output) -> String {
    if heads.is_empty() || heads.len() > MOST_SHOWN_ACCOUNTS {
        return String::new();
    }
    let row = |head: &HeadView| {
        vec![
            Cell::new(&head.account_id),
            Cell::number(head.entries.to_string()),
            Cell::new(&head.head),
        ]
    };
    let rows: Vec<Vec<Cell>> = heads.iter().map(row).collect();
    format!("\n{}", output.table(&["Account", "Entries", "Head"], &rows))
}

/// What to do with heads.
fn advice(arguments: &AuditArguments, output: &Output) -> String {
    let advice = match (&arguments.write_heads, &arguments.heads) {
        (Some(file), _) => format!(
            "The heads are in {0}. Keep it where nobody who can write to the books can; `countersign audit --heads {0}` \
             checks them later.",
            file.display()
        ),
        (None, Some(_)) => return String::new(),
        (None, None) => {
            "Note the heads elsewhere: `countersign audit --write-heads FILE` writes them, and `--heads FILE` finds \
                         a ledger that was made anew since."
                .to_owned()
        }
    };
    format!("\n{}\n", output.styled(Style::Quiet, &advice))
}
