//! `countersign audit`: checks the promises P2 (the books balance) and P3 (states only move forward) over the whole
//! database, beside a live server too.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use countersign_store::{AuditProgress, StoreError, audit};
use serde::Serialize;

use crate::arguments::Common;
use crate::output::{Output, Style};

/// Between two lines of progress; the first comes after a second.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct AuditView {
    ok: bool,
    accounts: u64,
    entries: u64,
    requests: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    violation: Option<ViolationView>,
}

#[derive(Serialize)]
struct ViolationView {
    account_id: String,
    what: String,
}

/// Checks the database; exit code 1 at the first violation.
pub(crate) fn run(common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let directory = common.data_dir();
    let mut progress = Progress::new();
    let report = audit(&directory, &[], |report| progress.show(report)).map_err(|error| match error {
        StoreError::NotFound(_) => anyhow!(
            "there is no database in {}: name a server's data directory with --data-dir",
            directory.display()
        ),
        error => error.into(),
    });
    progress.clear();
    let report = report?;
    let view = AuditView {
        ok: report.violation.is_none(),
        accounts: report.accounts,
        entries: report.entries,
        requests: report.requests,
        violation: report.violation.as_ref().map(|violation| ViolationView {
            account_id: violation.account.to_string(),
            what: violation.what.clone(),
        }),
    };
    output.show(&view, |output| {
        let verdict = match &report.violation {
            None => output.styled(Style::Good, "✓ the books balance, and states only moved forward"),
            Some(_) => output.styled(Style::Bad, "✗ a promise is broken"),
        };
        let facts = output.facts(&[
            ("Accounts", report.accounts.to_string()),
            ("Ledger entries", report.entries.to_string()),
            ("Requests", report.requests.to_string()),
        ]);
        format!("{verdict}\n\n{facts}")
    })?;
    match report.violation {
        None => Ok(ExitCode::SUCCESS),
        Some(violation) => {
            bail!("{violation}. Stop the server, keep a copy of the data directory, and restore a backup")
        }
    }
}

/// A line on the terminal that counts, once the audit takes longer than a second.
struct Progress {
    started: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            shown: None,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn show(&mut self, report: AuditProgress) {
        let recently = self.shown.is_some_and(|shown| shown.elapsed() < PROGRESS_EVERY);
        if !self.terminal || recently || self.started.elapsed() < PROGRESS_AFTER {
            return;
        }
        self.shown = Some(Instant::now());
        // Progress that can't be shown is no reason to stop.
        let _ = write!(std::io::stderr(), "\r{} of {} steps", report.done, report.total);
    }

    fn clear(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
