//! SQL of what is kept of one number, and of erasing it. No index leads from a number to its requests, so each account's are gone through
//! page by page.

use countersign_core::{AccountKey, LegName, PhoneNumber, RequestId, Timestamp};

use super::backend::Backend;
use super::codec::{phone_column, request_id};
use super::load::load_request;
use super::privacy::lock;
use super::read::{Reader, places_of, row_limit};
use super::settings::{Settings, account_place};
use crate::channel_books::ChannelRecipient;
use crate::privacy::{ERASED_NUMBER, ErasedOfNumber, KeptOfNumber};
use crate::sql::{Connection, OptionalExtension as _, params};
use crate::types::{Actor, RequestRef, StoreError};

/// Rows of a page.
const PAGE: usize = 5_000;

pub(super) async fn kept<B: Backend>(books: &B, phone: PhoneNumber) -> Result<KeptOfNumber, StoreError> {
    let mut kept = books.aside(move |reader| known(reader, phone)).await?;
    let mut after = None;
    while let Some(page) = next_page(books, phone, after).await? {
        let found = page.found;
        let requests = books
            .aside(move |reader| {
                let mut requests = Vec::new();
                for request in found {
                    let loaded = load_request(reader.connection, reader.vault, request)?;
                    requests.extend(loaded.map(|loaded| (request, loaded)));
                }
                Ok(requests)
            })
            .await?;
        kept.requests.extend(requests);
        after = Some(page.next);
    }
    Ok(kept)
}

pub(super) async fn erase<B: Backend>(
    books: &B,
    phone: PhoneNumber,
    now: Timestamp,
    by: Actor,
) -> Result<ErasedOfNumber, StoreError> {
    let mut erased = ErasedOfNumber::default();
    let mut after = None;
    while let Some(page) = next_page(books, phone, after).await? {
        let Page { account, found, next } = page;
        let (requests, still_open) = books
            .note(move |settings| erase_of_account(settings.connection, account, &found, phone))
            .await?;
        erased.requests += requests;
        erased.still_open += still_open;
        after = Some(next);
    }
    books
        .set(move |settings| {
            erase_of_channels(settings, phone, &mut erased)?;
            // The number itself stays out of a line that stays for ever.
            let detail = format!("{} requests", erased.requests);
            settings.audit_with(by, now, "number erased", "privacy", &detail)?;
            Ok(erased)
        })
        .await
}

/// Where to go on: after a request of an account, or with the account after it.
#[derive(Debug, Clone, Copy)]
struct Next {
    account: AccountKey,
    /// `None`: the account is done.
    after: Option<(i64, i64)>,
}

/// Some of an account's requests, of which these go to the number.
struct Page {
    account: AccountKey,
    found: Vec<RequestRef>,
    next: Next,
}

/// The next page with requests to a number, or the last of an account; `None` after the last account.
async fn next_page<B: Backend>(books: &B, phone: PhoneNumber, after: Option<Next>) -> Result<Option<Page>, StoreError> {
    books
        .aside(move |reader| {
            let (account, mut place) = match after {
                Some(Next {
                    account,
                    after: Some(place),
                }) => (account, Some(place)),
                other => {
                    let done = other.map(|next| next.account.id);
                    match reader.accounts(done, 1)?.first() {
                        Some(account) => (account.key, None),
                        None => return Ok(None),
                    }
                }
            };
            loop {
                let (found, last) = page(reader.connection, account, phone, place)?;
                if !found.is_empty() || last.is_none() {
                    let next = Next { account, after: last };
                    return Ok(Some(Page { account, found, next }));
                }
                place = last;
            }
        })
        .await
}

type FoundPage = (Vec<RequestRef>, Option<(i64, i64)>);

fn page(
    connection: Connection<'_>,
    account: AccountKey,
    phone: PhoneNumber,
    after: Option<(i64, i64)>,
) -> Result<FoundPage, StoreError> {
    let [bucket, id] = account_place(account);
    let (created_at, random) = after.unwrap_or((i64::MIN, i64::MIN));
    let mut statement = connection.prepare_cached(
        "SELECT created_at, random, phone FROM request WHERE bucket = ?1 AND account_id = ?2 \
         AND (created_at, random) > (?3, ?4) ORDER BY created_at, random LIMIT ?5",
    )?;
    let mut rows = statement.query([bucket, id, created_at, random, row_limit(PAGE)])?;
    let (mut found, mut count, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        let (created_at, random): (i64, i64) = (row.get(0)?, row.get(1)?);
        if row.get::<i64>(2)? == phone_column(phone) {
            found.push(RequestRef {
                account,
                id: request_id(created_at, random),
            });
        }
        count += 1;
        last = Some((created_at, random));
    }
    Ok((found, last.filter(|_| count == PAGE)))
}

/// What is known of a number besides its requests.
fn known(reader: Reader<'_>, phone: PhoneNumber) -> Result<KeptOfNumber, StoreError> {
    let mut kept = KeptOfNumber::default();
    for account in places_of(reader.connection, phone)? {
        kept.owner_of.push(account.id);
    }
    let mut statement = reader.connection.prepare_cached(
        "SELECT channel, address, stopped, since FROM channel_recipient WHERE phone = ?1 ORDER BY channel",
    )?;
    let mut rows = statement.query([phone_column(phone)])?;
    while let Some(row) = rows.next()? {
        let Some(channel) = LegName::parse(row.text(0)?) else {
            continue;
        };
        let recipient = ChannelRecipient {
            phone,
            address: row.get(1)?,
            stopped: row.get(2)?,
            since: Timestamp::from_millis(row.get(3)?),
        };
        kept.recipients.push((channel, recipient));
    }
    Ok(kept)
}

/// Answers how many requests were erased, and how many are still open.
fn erase_of_account(
    connection: Connection<'_>,
    account: AccountKey,
    found: &[RequestRef],
    phone: PhoneNumber,
) -> Result<(u64, u64), StoreError> {
    if found.is_empty() {
        return Ok((0, 0));
    }
    lock(connection, account)?;
    let [bucket, id] = account_place(account);
    let (mut erased, mut still_open) = (0, 0);
    for request in found {
        let place = place_of(account, request.id);
        if is_open(connection, place)? {
            still_open += 1;
            continue;
        }
        let [.., created_at, random] = place;
        connection.execute(
            "UPDATE request SET phone = ?5, payload = NULL, email_sealed = NULL, entered_sealed = NULL, code_sealed = NULL \
             WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4",
            [bucket, id, created_at, random, phone_column(ERASED_NUMBER)],
        )?;
        connection.execute(
            "UPDATE timeline SET detail = NULL WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4",
            place,
        )?;
        for table in ["report_attempt", "report", "channel_handle"] {
            let sql = format!(
                "DELETE FROM {table} WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4"
            );
            connection.execute(&sql, place)?;
        }
        erased += 1;
    }
    connection.execute(
        "DELETE FROM live_code WHERE bucket = ?1 AND account_id = ?2 AND phone = ?3",
        [bucket, id, phone_column(phone)],
    )?;
    // On SQLite this looks through all counters: none is there without a request of the last hour, so it is seldom asked.
    connection.execute(
        "DELETE FROM flood_counter WHERE bucket = ?1 AND account_id = ?2 AND phone = ?3",
        [bucket, id, phone_column(phone)],
    )?;
    Ok((erased, still_open))
}

fn place_of(account: AccountKey, id: RequestId) -> [i64; 4] {
    [
        i64::from(account.bucket.0),
        account.id.number(),
        id.created_at().millis(),
        id.random().cast_signed(),
    ]
}

/// Whether something is still to be done for a request.
fn is_open(connection: Connection<'_>, place: [i64; 4]) -> Result<bool, StoreError> {
    let wakes: Option<bool> = connection
        .prepare_cached(
            "SELECT wake_at IS NOT NULL FROM request WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4",
        )?
        .query_row(place, |row| row.get(0))
        .optional()?;
    let mut pending = connection.prepare_cached(
        "SELECT number FROM report WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 AND state = 0 LIMIT 1",
    )?;
    Ok(wakes != Some(false) || pending.exists(place)?)
}

/// What channels and sign-ins know of a number. A *stop* is kept, so that it is honoured.
fn erase_of_channels(
    settings: &Settings<'_>,
    phone: PhoneNumber,
    erased: &mut ErasedOfNumber,
) -> Result<(), StoreError> {
    let phone = phone_column(phone);
    let connection = settings.connection;
    let forgotten = connection.execute(
        "DELETE FROM channel_recipient WHERE phone = ?1 AND stopped = 0",
        [phone],
    )?;
    let stops = connection.execute("UPDATE channel_recipient SET address = '' WHERE phone = ?1", [phone])?;
    connection.execute("DELETE FROM login_attempt WHERE phone = ?1", [phone])?;
    connection.execute("DELETE FROM login_block WHERE phone = ?1", params![phone])?;
    erased.recipients = forgotten as u64;
    erased.stops_kept = stops as u64;
    Ok(())
}
