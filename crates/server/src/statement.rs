//! An account's statement as JSON, page by page: for its owner and for the operator alike, since entries hold no personal data.

use countersign_core::{AccountKey, Credits, LedgerEntry, Timestamp};
use countersign_store::StatementPage;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::{self, Answer, Refusal};
use crate::app::App;
use crate::clock;

/// Entries in one page, unless fewer are asked for, and at most.
const PAGE_ENTRIES: usize = 1_000;

/// A page of a statement. The balances are those of the whole time, whatever the page.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatementView {
    account_id: String,
    /// Whole Unix seconds on the account's clock.
    from: i64,
    /// Whole Unix seconds; entries of this second are not part of it.
    to: i64,
    #[schema(value_type = f64)]
    opening_balance: Credits,
    #[schema(value_type = f64)]
    closing_balance: Credits,
    /// The number of the last entry of the time; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_entry: Option<u64>,
    entries: Vec<EntryView>,
    /// The `after` of the next page; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<u64>,
}

/// An entry as JSON.
#[derive(Serialize, ToSchema)]
pub(crate) struct EntryView {
    number: u64,
    /// Whole Unix seconds on the account's clock.
    booked_at: i64,
    /// The same in milliseconds, which the hash of an entry covers.
    booked_at_ms: i64,
    kind: &'static str,
    #[schema(value_type = f64)]
    amount: Credits,
    #[schema(value_type = f64)]
    balance_after: Credits,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// The hash of the entry before, in hex.
    previous: String,
}

impl From<LedgerEntry> for EntryView {
    fn from(entry: LedgerEntry) -> Self {
        Self {
            number: entry.number,
            booked_at: entry.at.unix_seconds(),
            booked_at_ms: entry.at.millis(),
            kind: entry.kind.name(),
            amount: entry.amount,
            balance_after: entry.balance_after,
            request_id: entry.request.map(|request| request.to_string()),
            reason: entry.reason.map(|reason| reason.as_str().to_owned()),
            previous: entry.previous.to_string(),
        }
    }
}

/// One entry, as it stands in a statement.
pub(crate) fn entry_json(entry: LedgerEntry) -> String {
    // Strings, integers and exact amounts always serialise.
    serde_json::to_string(&EntryView::from(entry)).unwrap_or_default()
}

/// What a caller asks for.
struct Asked {
    from: Timestamp,
    to: Timestamp,
    after: Option<u64>,
    limit: usize,
}

/// A page of the account's statement, by the query `from=&to=&after=&limit=`: Unix seconds, from the beginning until now where
/// they aren't given.
pub(crate) async fn page(app: &App, account: AccountKey, query: Option<&str>) -> Result<Answer, Refusal> {
    let profile = app.store.account(account.id).await?.ok_or_else(Refusal::internal)?;
    let Asked { from, to, after, limit } = asked(query, clock::now().plus_millis(profile.clock_offset_ms))?;
    let StatementPage {
        opening_balance,
        closing_balance,
        last_entry,
        entries,
    } = app.store.statement(account, from, to, after, limit).await?;
    let next = entries
        .last()
        .map(|entry| entry.number)
        .filter(|&number| last_entry.is_some_and(|last| number < last));
    Answer::ok(&StatementView {
        account_id: account.id.to_string(),
        from: from.unix_seconds(),
        to: to.unix_seconds(),
        opening_balance,
        closing_balance,
        last_entry,
        entries: entries.into_iter().map(EntryView::from).collect(),
        next,
    })
}

fn asked(query: Option<&str>, now: Timestamp) -> Result<Asked, Refusal> {
    let mut asked = Asked {
        from: Timestamp::from_millis(0),
        // The whole present second is part of it.
        to: Timestamp::from_millis((now.unix_seconds() + 1) * 1_000),
        after: None,
        limit: PAGE_ENTRIES,
    };
    for (name, value) in answer::query(query) {
        match name.as_str() {
            "from" => asked.from = time("from", &value)?,
            "to" => asked.to = time("to", &value)?,
            "after" => {
                let number = value.parse().ok().filter(|number| i64::try_from(*number).is_ok());
                asked.after = Some(number.ok_or_else(|| {
                    Refusal::bad_request("`after` must be the number of an entry: take `next` of the page before")
                })?);
            }
            "limit" => {
                let number = value.parse().ok().filter(|n| (1..=PAGE_ENTRIES).contains(n));
                asked.limit = number.ok_or_else(|| {
                    Refusal::bad_request(format!("`limit` must be a whole number from 1 to {PAGE_ENTRIES}"))
                })?;
            }
            _ => {}
        }
    }
    if asked.from > asked.to {
        return Err(Refusal::bad_request("`from` must not be later than `to`"));
    }
    Ok(asked)
}

fn time(name: &str, text: &str) -> Result<Timestamp, Refusal> {
    let seconds = text
        .parse::<i64>()
        .ok()
        .filter(|seconds| (0..=253_402_300_799).contains(seconds));
    seconds
        .map(|seconds| Timestamp::from_millis(seconds * 1_000))
        .ok_or_else(|| {
            Refusal::bad_request(format!(
                "`{name}` must be a time in whole Unix seconds, like 1790000000"
            ))
        })
}
