//! The statistics as tables to take along: the same question as the page's, all rows, numbers as machines read them.

use std::collections::BTreeMap;

use countersign_core::{Quarter, UsageCount, UsageSum};
use countersign_store::UsageBy;

use super::ask::Ask;
use super::period::Period;
use super::seen::Pair;
use super::tables;
use super::words::new_numbers;

const COUNTS: [(&str, UsageCount); 9] = [
    ("requests", UsageCount::Requests),
    ("sent", UsageCount::Sent),
    ("delivered", UsageCount::Delivered),
    ("read", UsageCount::Read),
    ("code_entered", UsageCount::Entered),
    ("code_valid", UsageCount::Valid),
    ("expired", UsageCount::Expired),
    ("revoked", UsageCount::Revoked),
    ("unreachable", UsageCount::Unreachable),
];

fn head(first: &[&str]) -> Vec<String> {
    let counts = COUNTS.map(|(name, _)| name);
    let rest = [
        "cost",
        "first_time_numbers",
        "median_delivery_ms",
        "p95_delivery_ms",
        "median_valid_ms",
        "p95_valid_ms",
    ];
    first
        .iter()
        .chain(&counts)
        .chain(&rest)
        .map(|&name| name.to_owned())
        .collect()
}

fn cells(first: Vec<String>, sum: &UsageSum) -> Vec<String> {
    let counts = COUNTS.map(|(_, count)| sum.count(count).to_string());
    let times = [
        (&sum.to_delivered, 50),
        (&sum.to_delivered, 95),
        (&sum.to_valid, 50),
        (&sum.to_valid, 95),
    ]
    .map(|(times, percent)| {
        times
            .percentile(percent)
            .map(|millis| millis.to_string())
            .unwrap_or_default()
    });
    first
        .into_iter()
        .chain(counts)
        .chain([sum.cost().to_string(), new_numbers(sum).to_string()])
        .chain(times)
        .collect()
}

fn written(rows: impl IntoIterator<Item = Vec<String>>) -> Option<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).ok()?;
    }
    writer.into_inner().ok()
}

/// By unit of time.
pub(super) fn by_time(period: &Period, sums: &[UsageSum]) -> Option<Vec<u8>> {
    let at = |edge: Quarter| edge.start().rfc_3339();
    let rows = period
        .edges
        .windows(2)
        .zip(sums)
        .map(|(span, sum)| cells(vec![at(span[0]), at(span[1])], sum));
    written(std::iter::once(head(&["from", "before"])).chain(rows))
}

/// By country, route or sender, in the page's order.
pub(super) fn by_name(ask: &Ask, by: UsageBy, found: &BTreeMap<String, Pair>) -> Option<Vec<u8>> {
    let rows = tables::sorted(ask, by, found)
        .into_iter()
        .map(|(name, pair)| cells(vec![name.to_owned(), tables::row_name(by, name)], &pair.now));
    written(std::iter::once(head(&[super::ask::table_name(by), "name"])).chain(rows))
}
