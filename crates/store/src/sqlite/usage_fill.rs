//! Sums up the requests of books that were written before there were statistics: once, at the start after the migration, an
//! account in one transaction, in bounded memory. The sketches need the master key, which migrations don't have.

use crate::sql::{Connection, OptionalExtension, Row, params};
use countersign_core::{
    AccountKey, Country, Credits, DeliveryState, NumberSketch, PhoneNumber, Quarter, RouteName, RoutePlan, SeenNumbers,
    SenderUsername, Timestamp, UsageCount, UsageFacts, UsageSum,
};

use crate::sql::codec::{
    TIMELINE_BECAME, account_key, damaged, delivery_number, delivery_of, phone_of, verification_of,
};
use crate::sql::read::readable;
use crate::sql::usage::numbers::{ALL_TIME, write_sketch};
use crate::sql::usage::past::Past;
use crate::sql::usage::sender_column;
use crate::sql::usage::spans::{HOUR_MS, Level, month_of_day};
use crate::sqlite::disk::in_transaction;
use crate::types::StoreError;
use crate::vault::Vault;

/// The mark of the migration; its value is the account that was summed up last.
const TO_FILL: &str = "usage to fill";
/// So many requests are summed up in some two seconds: then the log says how far it has come.
const TOLD_EACH: u64 = 500_000;

/// Sums up what the migration found, if it hasn't been done: an account at a time, so that a start that is broken off goes on
/// where it stopped.
pub(super) fn fill_once(raw: &rusqlite::Connection, vault: &Vault, route: &RouteName) -> Result<(), StoreError> {
    let connection = Connection::Sqlite(raw);
    let mark: Option<Vec<u8>> = connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([TO_FILL], |row| row.get(0))
        .optional()?;
    let Some(mark) = mark else {
        return Ok(());
    };
    let done = account_of_mark(&mark);
    let accounts: Vec<(i64, i64)> = connection
        .prepare_cached("SELECT bucket, account_id FROM account ORDER BY bucket, account_id")?
        .query_map(params![], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let left: Vec<(i64, i64)> = accounts
        .into_iter()
        .filter(|account| done.is_none_or(|done| *account > done))
        .collect();
    tracing::info!(
        accounts = left.len(),
        "summing up past requests for the statistics, once: the server listens when it is done"
    );
    let mut requests = 0;
    for (bucket, id) in left {
        in_transaction(raw, |transaction| {
            let transaction = Connection::Sqlite(transaction);
            fill(transaction, vault, route, account_key(bucket, id)?, &mut requests)?;
            transaction.execute(
                "UPDATE meta SET value = ?2 WHERE name = ?1",
                params![TO_FILL, [bucket.to_be_bytes(), id.to_be_bytes()].concat()],
            )?;
            Ok(())
        })?;
    }
    in_transaction(raw, |transaction| {
        let transaction = Connection::Sqlite(transaction);
        transaction.execute("DELETE FROM meta WHERE name = ?1", [TO_FILL])?;
        Ok(())
    })?;
    tracing::info!(requests, "summed up past requests for the statistics");
    Ok(())
}

/// The account that a mark names; the migration's own names none.
fn account_of_mark(mark: &[u8]) -> Option<(i64, i64)> {
    let (bucket, id) = mark.split_first_chunk()?;
    Some((i64::from_be_bytes(*bucket), i64::from_be_bytes(id.try_into().ok()?)))
}

/// A request's columns, none of them sealed.
struct PastRequest {
    created_at: Timestamp,
    phone: PhoneNumber,
    route: Option<RouteName>,
    sender: Option<SenderUsername>,
    delivery: DeliveryState,
    fee: Credits,
    refunded: bool,
    verification: countersign_core::VerificationState,
    verification_at: Timestamp,
    wrong_attempts: u8,
    sent_at: Option<Timestamp>,
    arrived_at: Option<Timestamp>,
}

impl PastRequest {
    fn read(row: Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            created_at: Timestamp::from_millis(row.get(0)?),
            phone: phone_of(row.get(1)?)?,
            route: match row.get::<Option<String>>(11)? {
                None => None,
                Some(plan) => Some(
                    RoutePlan::decode(&plan)
                        .ok_or_else(|| damaged("a plan of a route"))?
                        .route,
                ),
            },
            sender: row.get::<Option<String>>(2)?.as_deref().and_then(SenderUsername::parse),
            delivery: delivery_of(row.get(3)?)?,
            fee: Credits::from_micros(row.get(4)?),
            refunded: row.get(5)?,
            verification: verification_of(row.get(6)?)?,
            verification_at: Timestamp::from_millis(row.get(7)?),
            wrong_attempts: row.get(8)?,
            sent_at: row.get::<Option<i64>>(9)?.map(Timestamp::from_millis),
            arrived_at: row.get::<Option<i64>>(10)?.map(Timestamp::from_millis),
        })
    }

    const fn facts(&self) -> UsageFacts<'_> {
        UsageFacts {
            created_at: self.created_at,
            phone: self.phone,
            route: self.route.as_ref(),
            sender: self.sender.as_ref(),
            delivery: self.delivery,
            fee: self.fee,
            refunded: self.refunded,
            verification: self.verification,
            verification_updated_at: self.verification_at,
            wrong_attempts: self.wrong_attempts,
            sent_at: self.sent_at,
            arrived_at: self.arrived_at,
            test: false,
        }
    }
}

/// The sketch of the hour, day or month that requests have come to. They come in order of time, so one at a time is held.
struct Latest {
    level: Level,
    start: i64,
    sketch: NumberSketch,
}

impl Latest {
    fn see(
        &mut self,
        connection: Connection<'_>,
        account: AccountKey,
        start: i64,
        hash: u64,
    ) -> Result<(), StoreError> {
        if start != self.start {
            self.write(connection, account)?;
            self.sketch = NumberSketch::default();
            self.start = start;
        }
        self.sketch.insert(hash);
        Ok(())
    }

    fn write(&self, connection: Connection<'_>, account: AccountKey) -> Result<(), StoreError> {
        if self.sketch == NumberSketch::default() {
            return Ok(());
        }
        write_sketch(
            connection,
            account,
            self.level.number(),
            self.start,
            &self.sketch,
            false,
        )
    }
}

fn fill(
    connection: Connection<'_>,
    vault: &Vault,
    route: &RouteName,
    account: AccountKey,
    requests: &mut u64,
) -> Result<(), StoreError> {
    // A message that was read may have been delivered before: the first of the two is its arrival.
    let mut statement = connection.prepare_cached(
        "SELECT created_at, phone, sender, delivery, fee, refunded, verification, verification_at, wrong_attempts, \
         sent_at, CASE WHEN delivery IN (?3, ?4) THEN coalesce((SELECT min(at) FROM timeline AS event \
         WHERE event.bucket = request.bucket AND event.account_id = request.account_id \
         AND event.created_at = request.created_at AND event.random = request.random AND event.kind = ?5 \
         AND event.state IN (?3, ?4)), delivery_at) END, plan \
         FROM request WHERE bucket = ?1 AND account_id = ?2 AND test = 0 ORDER BY created_at, random",
    )?;
    let mut rows = statement.query(params![
        account.bucket.0,
        account.id.number(),
        delivery_number(DeliveryState::Delivered),
        delivery_number(DeliveryState::Read),
        TIMELINE_BECAME,
    ])?;
    let mut past = Past::default();
    let mut seen = SeenNumbers::from(NumberSketch::default());
    let mut latest = Level::ALL.map(|level| Latest {
        level,
        start: i64::MIN,
        sketch: NumberSketch::default(),
    });
    while let Some(row) = rows.next()? {
        *requests += 1;
        if requests.is_multiple_of(TOLD_EACH) {
            tracing::info!(requests = *requests, "summing up past requests for the statistics");
        }
        // One row that can't be read must not keep the server from starting.
        let Some(request) = readable(PastRequest::read(row))? else {
            continue;
        };
        let change = request.facts().whole();
        if change.is_empty() {
            continue;
        }
        let mut sum = UsageSum::default();
        sum.add_change(&change);
        if change.opens() {
            let hash = vault.number_hash(account.id, request.phone);
            sum.counts[UsageCount::NewNumbers1024 as usize] = seen.see(hash);
            let hour = request.created_at.millis().div_euclid(HOUR_MS);
            let day = hour.div_euclid(24);
            for (latest, start) in latest.iter_mut().zip([hour, day, month_of_day(day)]) {
                latest.see(connection, account, start, hash)?;
            }
        }
        let country = Country::of(request.phone);
        let route = request.route.as_ref().unwrap_or(route);
        let names = [country.as_str(), route.as_str(), sender_column(request.sender.as_ref())];
        past.add(Quarter::of(request.created_at).number(), names, &sum);
        if past.is_full() {
            std::mem::take(&mut past).write(connection, account)?;
        }
    }
    past.write(connection, account)?;
    for latest in latest {
        latest.write(connection, account)?;
    }
    if seen.sketch() != &NumberSketch::default() {
        write_sketch(connection, account, ALL_TIME, 0, seen.sketch(), false)?;
    }
    Ok(())
}
