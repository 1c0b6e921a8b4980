//! The statistics' tables by country, route and sender: sorted by any column, a page at a time by the name after which it goes on.

use std::collections::BTreeMap;

use countersign_core::{UsageCount, UsageSum};
use countersign_store::UsageBy;

use super::ask::{Ask, Column, TABLES};
use super::countries;
use super::seen::Pair;
use super::words::{change, cost_per_verified, share_of_sent};
use crate::site::format;

/// Rows of a table's page.
const ROWS: usize = 10;

/// A row, in words.
pub(super) struct Row {
    pub(super) name: String,
    /// To this row alone.
    pub(super) link: String,
    pub(super) sent: String,
    pub(super) change: Option<String>,
    pub(super) delivered: String,
    pub(super) verified: String,
    pub(super) cost: String,
    pub(super) each: String,
}

/// A column's head.
pub(super) struct Head {
    pub(super) label: &'static str,
    pub(super) link: String,
    /// `ascending`, `descending`, or not sorted by.
    pub(super) sorted: Option<&'static str>,
    pub(super) is_number: bool,
}

pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) id: &'static str,
    pub(super) heads: Vec<Head>,
    pub(super) rows: Vec<Row>,
    pub(super) first: Option<String>,
    pub(super) next: Option<String>,
    pub(super) csv: String,
    pub(super) count: String,
}

/// What a row is called.
pub(super) fn row_name(by: UsageBy, name: &str) -> String {
    match by {
        UsageBy::Country => countries::name(name),
        UsageBy::Sender if name.is_empty() => "No sender".to_owned(),
        UsageBy::Sender => format!("@{name}"),
        UsageBy::Route => name.to_owned(),
    }
}

/// A whole rate in millionths, for sorting; nothing sent sorts last.
fn rate(sum: &UsageSum, part: UsageCount) -> i128 {
    let sent = i128::from(sum.count(UsageCount::Sent));
    if sent == 0 {
        return -1;
    }
    i128::from(sum.count(part)) * 1_000_000 / sent
}

fn value(column: Column, sum: &UsageSum) -> i128 {
    match column {
        Column::Name => 0,
        Column::Sent => sum.count(UsageCount::Sent).into(),
        Column::Delivered => rate(sum, UsageCount::Delivered),
        Column::Verified => rate(sum, UsageCount::Valid),
        Column::Cost => sum.cost().micros().into(),
        Column::CostPerVerified => cost_per_verified(sum).map_or(-1, |each| each.micros().into()),
    }
}

/// Names with their sums in the order that is asked for; the name decides between equals.
pub(super) fn sorted<'a>(ask: &Ask, by: UsageBy, table: &'a BTreeMap<String, Pair>) -> Vec<(&'a str, &'a Pair)> {
    let mut rows: Vec<(i128, String, &str, &Pair)> = table
        .iter()
        .filter(|(_, pair)| pair.now != UsageSum::default())
        .map(|(name, pair)| (value(ask.sort, &pair.now), row_name(by, name), name.as_str(), pair))
        .collect();
    rows.sort_by(|one, other| {
        let values = one.0.cmp(&other.0);
        let names = one.1.cmp(&other.1);
        match (ask.sort, ask.ascending) {
            (Column::Name, true) => names,
            (Column::Name, false) => names.reverse(),
            (_, true) => values.then(names),
            (_, false) => values.reverse().then(names),
        }
    });
    rows.into_iter().map(|(_, _, name, pair)| (name, pair)).collect()
}

fn heads(ask: &Ask, by: UsageBy) -> Vec<Head> {
    let name = match by {
        UsageBy::Country => "Country",
        UsageBy::Route => "Route",
        UsageBy::Sender => "Sender",
    };
    Column::ALL
        .map(|column| Head {
            label: match column {
                Column::Name => name,
                Column::Sent => "Sent",
                Column::Delivered => "Delivered",
                Column::Verified => "Verified",
                Column::Cost => "Cost",
                Column::CostPerVerified => "Per verified",
            },
            link: ask.link_to_sort(column),
            sorted: (ask.sort == column).then_some(if ask.ascending { "ascending" } else { "descending" }),
            is_number: column != Column::Name,
        })
        .into()
}

/// One table's page.
pub(super) fn table(ask: &Ask, by: UsageBy, found: &BTreeMap<String, Pair>) -> Table {
    let place = TABLES.iter().position(|table| *table == by).unwrap_or(0);
    let all = sorted(ask, by, found);
    let after = ask.after[place].as_deref();
    // A name that isn't there any more begins anew.
    let from = after
        .and_then(|after| all.iter().position(|&(name, _)| name == after))
        .map_or(0, |place| place + 1);
    let shown = &all[from..all.len().min(from + ROWS)];
    let rest = all.len() > from + ROWS;
    let (title, id) = match by {
        UsageBy::Country => ("By country", "by-country"),
        UsageBy::Route => ("By route", "by-route"),
        UsageBy::Sender => ("By sender", "by-sender"),
    };
    Table {
        title,
        id,
        heads: heads(ask, by),
        rows: shown
            .iter()
            .map(|(name, pair)| Row {
                name: row_name(by, name),
                link: ask.link_to_only(by, name),
                sent: format::count(pair.now.shown(UsageCount::Sent)),
                change: change(pair.now.count(UsageCount::Sent), pair.before.count(UsageCount::Sent)),
                delivered: share_of_sent(&pair.now, UsageCount::Delivered),
                verified: share_of_sent(&pair.now, UsageCount::Valid),
                cost: format::money(pair.now.cost()),
                each: cost_per_verified(&pair.now).map_or_else(|| "–".to_owned(), format::money),
            })
            .collect(),
        first: (from > 0).then(|| format!("{}#{id}", ask.link_after(by, None))),
        next: shown
            .last()
            .filter(|_| rest)
            .map(|(name, _)| format!("{}#{id}", ask.link_after(by, Some(name)))),
        csv: ask.link_to_csv(Some(by)),
        count: format::count(u64::try_from(all.len()).unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> BTreeMap<String, Pair> {
        (0..25)
            .map(|number| {
                let mut pair = Pair::default();
                pair.now.counts[UsageCount::Sent as usize] = i64::from(number % 7) + 1;
                (format!("sender_{number:02}"), pair)
            })
            .collect()
    }

    #[test]
    fn pages_go_on_after_a_name_and_show_every_row_once() {
        let (found, mut seen, mut ask) = (found(), Vec::new(), Ask::read(""));
        loop {
            let page = table(&ask, UsageBy::Sender, &found);
            seen.extend(page.rows.iter().map(|row| row.name.clone()));
            if page.next.is_none() {
                break;
            }
            let last = page.rows.last().unwrap().name.trim_start_matches('@').to_owned();
            ask.after[2] = Some(last);
        }
        assert_eq!(seen.len(), 25);
        assert_eq!(seen[0], "@sender_06");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 25);
    }
}
