//! Files of noted heads: where each account's chain of ledger entries ended when somebody looked (docs/money.md, "The
//! chain"). `audit` writes them, to be kept where whoever can write to the books can't, and reads them back.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use countersign_core::{AccountId, EntryHash};
use countersign_store::LedgerHead;
use csv::{ReaderBuilder, StringRecord, Trim, Writer};

/// The first line of such a file.
const COLUMNS: [&str; 3] = ["account_id", "entries", "head"];

/// Writes a new file that everybody may read: hashes tell nothing. One that is there already is left alone.
pub(crate) fn write(path: &Path, heads: &[LedgerHead]) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o644);
    }
    let file = options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => already_there(path),
        _ => anyhow!("the heads can't be written to {}: {error}", path.display()),
    })?;
    write_rows(&file, heads).map_err(|error| {
        // Half a file would pass for one of fewer accounts.
        drop(fs::remove_file(path));
        anyhow!("the heads can't be written to {}: {error}", path.display())
    })
}

/// Why a file is left alone.
pub(crate) fn already_there(path: &Path) -> anyhow::Error {
    anyhow!(
        "{} is already there and was left alone: heads that were noted once are worth keeping, so name another file",
        path.display()
    )
}

fn write_rows(file: &File, heads: &[LedgerHead]) -> Result<(), csv::Error> {
    let mut writer = Writer::from_writer(file);
    writer.write_record(COLUMNS)?;
    for head in heads {
        writer.write_record([
            head.account.to_string(),
            head.entries.to_string(),
            head.head.to_string(),
        ])?;
    }
    writer.flush()?;
    file.sync_all()?;
    Ok(())
}

/// Reads such a file; a line that makes no sense is named.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<LedgerHead>> {
    let mut lines = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .from_path(path)
        .with_context(|| format!("the noted heads in {} can't be read", path.display()))?
        .into_records();
    let first = lines.next().transpose().with_context(|| unreadable(path))?;
    if first.is_none_or(|first| first.iter().ne(COLUMNS)) {
        bail!(
            "{}, line 1: this is no file of noted heads: it begins with `{}`, as `countersign audit --write-heads` writes it",
            path.display(),
            COLUMNS.join(",")
        );
    }
    let mut heads = Vec::new();
    let mut accounts = HashSet::new();
    for line in lines {
        let line = line.with_context(|| unreadable(path))?;
        let parsed = parse(&line).and_then(|head| {
            if accounts.insert(head.account) {
                return Ok(head);
            }
            Err(format!("the account {} is noted a second time", head.account))
        });
        let head = parsed.map_err(|wrong| {
            let number = line.position().map_or(0, csv::Position::line);
            anyhow!("{}, line {number}: {wrong}; nothing was checked", path.display())
        })?;
        heads.push(head);
    }
    Ok(heads)
}

fn unreadable(path: &Path) -> String {
    format!("the noted heads in {} can't be read", path.display())
}

fn parse(line: &StringRecord) -> Result<LedgerHead, String> {
    let [account, entries, head] = line.iter().collect::<Vec<_>>()[..] else {
        return Err(format!("{} columns instead of {}", line.len(), COLUMNS.len()));
    };
    let shown = |text: &str| text.chars().take(80).collect::<String>();
    let id = account.parse().ok().and_then(AccountId::new);
    Ok(LedgerHead {
        account: id.ok_or_else(|| format!("`{}` is no account's id", shown(account)))?,
        entries: (entries.parse()).map_err(|_| format!("`{}` is no number of entries", shown(entries)))?,
        head: EntryHash::parse(head)
            .ok_or_else(|| format!("`{}` is no head: a head has 64 hexadecimal digits", shown(head)))?,
    })
}
