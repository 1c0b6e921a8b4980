//! Price lists as CSV files: found, read and turned into what the operator's API takes. The table itself is
//! `countersign_server::price_table`'s.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use countersign_core::PriceRow;
use countersign_server::price_table::{COLUMNS, parse};

use crate::price::Price;

/// Bytes that are read: the longest list has a fifth of it.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Reads a file, or standard input for `-`.
pub(crate) fn read(file: &Path) -> anyhow::Result<Vec<Price>> {
    let name = file.display();
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).with_context(|| format!("can't read {name}"))?)
    };
    let read = source.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("can't read {name}"))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        bail!(
            "{name} is longer than any price list: it may have {} MiB",
            MAX_BYTES >> 20
        );
    }
    let rows = match parse(&bytes) {
        Ok(rows) => rows,
        Err(wrong) => bail!("{name}: nothing was set, since {wrong}"),
    };
    if rows.is_empty() {
        bail!(
            "{name} holds no price: below the line `{}` each line is one",
            COLUMNS.join(",")
        );
    }
    Ok(rows.iter().map(price).collect())
}

fn price(row: &PriceRow) -> Price {
    Price {
        route: row.route.to_string(),
        prefix: row.prefix.to_string(),
        price: row.price,
        removed: row.price.is_none(),
        effective_from: Some(row.effective_from.unix_seconds()),
    }
}
