//! SQL of what channels keep in the books: recipients' word, handles, notes, what upstreams charged.

use crate::sql::{Connection, OptionalExtension as _, Row, params};
use countersign_core::{DAY_MS, LegName, PhoneNumber, Timestamp};
use futures_util::future::BoxFuture;

use super::backend::{Backend, sweep};
use super::codec::{account_key, damaged, phone_column, phone_of, request_id, request_place};
use super::read::row_limit;
use super::settings::Settings;
use crate::FORGOTTEN_AT_ONCE;
use crate::channel_books::{
    ChannelBooks, ChannelCost, ChannelRecipient, CostKind, CostPlace, CostRecord, CostSum, HANDLE_LIFE_MS,
    MAX_CHANNEL_ADDRESS_BYTES, MAX_CHANNEL_HANDLE_BYTES, MAX_CHANNEL_NOTE_BYTES, NamedMessage, RecipientChange,
};
use crate::types::{Actor, RequestRef, StoreError};

/// Messages of one name that are looked at: a channel that gives names again gives few so often within their life.
const MAX_NAMESAKES: i64 = 8;
/// The longest name of a note, in bytes.
const MAX_NOTE_NAME_BYTES: usize = 128;
const CHARGED: i64 = 1;
const REFUNDED: i64 = 2;

impl<B: Backend> ChannelBooks for B {
    fn recipient<'a>(
        &'a self,
        channel: &'a LegName,
        phone: PhoneNumber,
    ) -> BoxFuture<'a, Result<Option<ChannelRecipient>, StoreError>> {
        let channel = channel.clone();
        self.read(move |reader| {
            reader.with(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT phone, address, stopped, since FROM channel_recipient WHERE channel = ?1 AND phone = ?2",
                )?;
                let mut rows = statement.query(params![channel.as_str(), phone_column(phone)])?;
                rows.next()?.map(recipient_from_row).transpose()
            })
        })
    }

    fn recipients_at<'a>(
        &'a self,
        channel: &'a LegName,
        address: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ChannelRecipient>, StoreError>> {
        let (channel, address) = (channel.clone(), address.to_owned());
        self.read(move |reader| {
            reader.with(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT phone, address, stopped, since FROM channel_recipient \
                 WHERE channel = ?1 AND address = ?2 AND address <> '' ORDER BY phone LIMIT ?3",
                )?;
                let mut rows = statement.query(params![channel.as_str(), address, row_limit(limit)])?;
                let mut recipients = Vec::new();
                while let Some(row) = rows.next()? {
                    recipients.push(recipient_from_row(row)?);
                }
                Ok(recipients)
            })
        })
    }

    fn put_recipient(&self, channel: LegName, recipient: ChannelRecipient) -> BoxFuture<'_, Result<(), StoreError>> {
        self.note(move |settings| settings.put_recipient(&channel, &recipient))
    }

    fn change_recipients(
        &self,
        channel: LegName,
        changes: Vec<RecipientChange>,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.note(move |settings| settings.change_recipients(&channel, &changes, now, by))
    }

    fn forget_recipient(
        &self,
        channel: LegName,
        phone: PhoneNumber,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.note(move |settings| {
            settings.remove_recipient(&channel, phone)?;
            let detail = format!("{phone:?}");
            settings.audit_with(by, now, "recipient forgotten", channel.as_str(), &detail)
        })
    }

    fn remove_recipient(&self, channel: LegName, phone: PhoneNumber) -> BoxFuture<'_, Result<(), StoreError>> {
        self.note(move |settings| settings.remove_recipient(&channel, phone))
    }

    fn note_handles(&self, named: Vec<NamedMessage>, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        self.note(move |settings| settings.note_handles(&named, now))
    }

    fn message_of_handle<'a>(
        &'a self,
        channel: &'a LegName,
        handle: &'a str,
    ) -> BoxFuture<'a, Result<Option<RequestRef>, StoreError>> {
        let (channel, handle) = (channel.clone(), handle.to_owned());
        self.read(move |reader| message_of_handle(reader.connection, &channel, &handle))
    }

    fn handle_of_message<'a>(
        &'a self,
        channel: &'a LegName,
        request: RequestRef,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        let channel = channel.clone();
        self.read(move |reader| handle_of_message(reader.connection, &channel, request))
    }

    fn forget_old_handles(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        let over = now.plus_millis(-HANDLE_LIFE_MS).millis();
        Box::pin(async move {
            let forgotten = sweep(self, move |settings, part| {
                let sql = |part: &str| {
                    format!(
                        "DELETE FROM channel_handle WHERE {part}noted_at < ?1 \
                         AND (bucket, account_id, created_at, random, channel) IN \
                         (SELECT bucket, account_id, created_at, random, channel FROM channel_handle \
                         WHERE {part}noted_at < ?1 ORDER BY noted_at LIMIT ?2)"
                    )
                };
                part.forget(settings.connection, sql, over)
            });
            let forgotten = forgotten.await;
            let places = self.note(move |settings| forget_handle_places(settings.connection, over));
            // A name has one row in each: it went once.
            Ok(places.await?.max(forgotten?))
        })
    }

    fn channel_note<'a>(
        &'a self,
        channel: &'a LegName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        let (channel, name) = (channel.clone(), name.to_owned());
        self.read(move |reader| {
            reader.with(|connection| {
                let mut statement =
                    connection.prepare_cached("SELECT value FROM channel_note WHERE channel = ?1 AND name = ?2")?;
                let found = statement.query_row(params![channel.as_str(), name], |row| row.get(0));
                Ok(found.optional()?)
            })
        })
    }

    fn put_channel_note(&self, channel: LegName, name: String, value: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.note(move |settings| {
            require_short(&name, MAX_NOTE_NAME_BYTES, "note's name")?;
            require_short(&value, MAX_CHANNEL_NOTE_BYTES, "note")?;
            settings.connection.execute(
                "INSERT INTO channel_note (channel, name, value) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (channel, name) DO UPDATE SET value = excluded.value",
                params![channel.as_str(), name, value],
            )?;
            Ok(())
        })
    }

    fn note_costs(&self, costs: Vec<ChannelCost>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.note(move |settings| costs.iter().try_for_each(|cost| note_cost(settings.connection, cost)))
    }

    fn costs(
        &self,
        from: Timestamp,
        to: Timestamp,
        after: Option<CostPlace>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<CostRecord>, StoreError>> {
        // A place in front of the first line of that time.
        let start = CostPlace {
            at: from,
            number: i64::MIN,
        };
        let after = after.map_or(start, |after| after.max(start));
        self.read(move |reader| {
            reader.with(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT id, at, channel, kind, upstream, micros, bucket, account_id, created_at, random \
                 FROM upstream_cost INDEXED BY upstream_cost_at \
                 WHERE (at, id) > (?1, ?2) AND at < ?3 ORDER BY at, id LIMIT ?4",
                )?;
                let place = params![after.at.millis(), after.number, to.millis(), row_limit(limit)];
                let mut rows = statement.query(place)?;
                let mut records = Vec::new();
                while let Some(row) = rows.next()? {
                    records.push(cost_from_row(row)?);
                }
                Ok(records)
            })
        })
    }

    fn cost_sums(&self, from: Timestamp, to: Timestamp) -> BoxFuture<'_, Result<Vec<CostSum>, StoreError>> {
        self.read(move |reader| {
            reader.with(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT channel, sum(charges), sum(charged), sum(refunds), sum(refunded) FROM upstream_cost_day \
                 WHERE day >= ?1 AND day * ?3 < ?2 GROUP BY channel ORDER BY channel",
                )?;
                let mut rows = statement.query(params![day_of(from), to.millis(), DAY_MS])?;
                let mut sums = Vec::new();
                while let Some(row) = rows.next()? {
                    sums.push(CostSum {
                        channel: channel_of(row, 0)?,
                        charges: row.get::<i64>(1)?.unsigned_abs(),
                        charged_micros: row.get(2)?,
                        refunds: row.get::<i64>(3)?.unsigned_abs(),
                        refunded_micros: row.get(4)?,
                    });
                }
                Ok(sums)
            })
        })
    }
}

impl Settings<'_> {
    fn put_recipient(&mut self, channel: &LegName, recipient: &ChannelRecipient) -> Result<(), StoreError> {
        require_short(&recipient.address, MAX_CHANNEL_ADDRESS_BYTES, "recipient's address")?;
        // Whoever read what is known before may have read it before a newer word came, on another node.
        self.connection.execute(
            "INSERT INTO channel_recipient (channel, phone, address, stopped, since) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (channel, phone) DO UPDATE SET address = excluded.address, stopped = excluded.stopped, \
             since = excluded.since WHERE excluded.since >= channel_recipient.since",
            params![
                channel.as_str(),
                phone_column(recipient.phone),
                recipient.address,
                recipient.stopped,
                recipient.since.millis()
            ],
        )?;
        Ok(())
    }

    fn change_recipients(
        &mut self,
        channel: &LegName,
        changes: &[RecipientChange],
        now: Timestamp,
        by: Actor,
    ) -> Result<(), StoreError> {
        let mut change = self.connection.prepare_cached(
            "INSERT INTO channel_recipient (channel, phone, address, stopped, since) \
             VALUES (?1, ?2, coalesce(?3, ''), coalesce(?4, 0), ?5) \
             ON CONFLICT (channel, phone) DO UPDATE SET address = coalesce(?3, channel_recipient.address), \
             stopped = coalesce(?4, channel_recipient.stopped), since = ?5",
        )?;
        let mut says_nothing = self.connection.prepare_cached(
            "DELETE FROM channel_recipient WHERE channel = ?1 AND phone = ?2 AND address = '' AND stopped = 0",
        )?;
        for RecipientChange {
            phone,
            address,
            stopped,
        } in changes
        {
            if let Some(address) = address {
                require_short(address, MAX_CHANNEL_ADDRESS_BYTES, "recipient's address")?;
            }
            change.execute(params![
                channel.as_str(),
                phone_column(*phone),
                address,
                stopped,
                now.millis()
            ])?;
            says_nothing.execute(params![channel.as_str(), phone_column(*phone)])?;
        }
        let detail = match changes {
            [change] => told(change),
            changes => format!("{} numbers", changes.len()),
        };
        self.audit_with(by, now, "recipients set", channel.as_str(), &detail)
    }

    fn remove_recipient(&mut self, channel: &LegName, phone: PhoneNumber) -> Result<(), StoreError> {
        self.connection.execute(
            "DELETE FROM channel_recipient WHERE channel = ?1 AND phone = ?2",
            params![channel.as_str(), phone_column(phone)],
        )?;
        Ok(())
    }

    fn note_handles(&mut self, named: &[NamedMessage], now: Timestamp) -> Result<(), StoreError> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO channel_handle (bucket, account_id, created_at, random, channel, handle, noted_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (bucket, account_id, created_at, random, channel) \
             DO UPDATE SET handle = excluded.handle, noted_at = excluded.noted_at",
        )?;
        for message in named {
            require_short(&message.handle, MAX_CHANNEL_HANDLE_BYTES, "message's name")?;
            let [bucket, account_id, created_at, random] = request_place(message.request);
            let channel = message.channel.as_str();
            insert.execute(params![
                bucket,
                account_id,
                created_at,
                random,
                channel,
                message.handle,
                now.millis()
            ])?;
            if self.connection.is_sharded() {
                let mut place = self.connection.prepare_cached(
                    "INSERT INTO handle_place (bucket, account_id, created_at, random, channel, handle, noted_at) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                     ON CONFLICT (handle, channel, bucket, account_id, created_at, random) \
                     DO UPDATE SET noted_at = excluded.noted_at",
                )?;
                place.execute(params![
                    bucket,
                    account_id,
                    created_at,
                    random,
                    channel,
                    message.handle,
                    now.millis()
                ])?;
            }
        }
        Ok(())
    }
}

/// The message that was last called so. Where tables are distributed, places are found by name, and what a message is called now is asked
/// of its own bucket.
fn message_of_handle(
    connection: Connection<'_>,
    channel: &LegName,
    handle: &str,
) -> Result<Option<RequestRef>, StoreError> {
    if !connection.is_sharded() {
        let mut statement = connection.prepare_cached(
            "SELECT bucket, account_id, created_at, random FROM channel_handle INDEXED BY channel_handle_name \
             WHERE channel = ?1 AND handle = ?2 ORDER BY noted_at DESC LIMIT 1",
        )?;
        let mut rows = statement.query(params![channel.as_str(), handle])?;
        return rows.next()?.map(|row| request_from_row(row, 0)).transpose();
    }
    let mut statement = connection.prepare_cached(
        "SELECT bucket, account_id, created_at, random FROM handle_place WHERE channel = ?1 AND handle = ?2 \
         ORDER BY noted_at DESC LIMIT ?3",
    )?;
    let mut rows = statement.query(params![channel.as_str(), handle, MAX_NAMESAKES])?;
    while let Some(row) = rows.next()? {
        let request = request_from_row(row, 0)?;
        if handle_of_message(connection, channel, request)?.as_deref() == Some(handle) {
            return Ok(Some(request));
        }
    }
    Ok(None)
}

fn handle_of_message(
    connection: Connection<'_>,
    channel: &LegName,
    request: RequestRef,
) -> Result<Option<String>, StoreError> {
    let [bucket, account_id, created_at, random] = request_place(request);
    let mut statement = connection.prepare_cached(
        "SELECT handle FROM channel_handle \
         WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 AND channel = ?5",
    )?;
    let place = params![bucket, account_id, created_at, random, channel.as_str()];
    Ok(statement.query_row(place, |row| row.get(0)).optional()?)
}

/// Names' places belong to no bucket: they go by their age alone, the oldest first. A time bounds how many, since Citus deletes by a plain
/// condition on every shard; of one time there are as many as a channel named at once.
fn forget_handle_places(connection: Connection<'_>, over: i64) -> Result<usize, StoreError> {
    if !connection.is_sharded() {
        return Ok(0);
    }
    let last: Option<i64> = connection
        .query_row(
            "SELECT noted_at FROM handle_place WHERE noted_at < ?1 ORDER BY noted_at LIMIT 1 OFFSET ?2",
            [over, row_limit(FORGOTTEN_AT_ONCE - 1)],
            |row| row.get(0),
        )
        .optional()?;
    let before = last.map_or(over, |last| last + 1);
    Ok(connection.execute("DELETE FROM handle_place WHERE noted_at < ?1", [before])?)
}

/// What was changed of one recipient, for the audit log: no address, and the number masked.
fn told(change: &RecipientChange) -> String {
    let mut told = format!("{:?}", change.phone);
    if change.address.is_some() {
        told.push_str(", address set");
    }
    match change.stopped {
        Some(true) => told.push_str(", stopped"),
        Some(false) => told.push_str(", may be reached"),
        None => {}
    }
    told
}

/// Notes a cost, and what it adds to its day. Nothing is added where the same was noted before.
fn note_cost(connection: Connection<'_>, cost: &ChannelCost) -> Result<(), StoreError> {
    if let Some(upstream) = &cost.upstream {
        require_short(upstream, MAX_CHANNEL_HANDLE_BYTES, "upstream's name")?;
    }
    let micros = i64::try_from(cost.micros.unsigned_abs()).unwrap_or(i64::MAX);
    let place = cost.message.map(request_place);
    let [bucket, account_id, created_at, random] = place.map_or([None; 4], |place| place.map(Some));
    // Whoever names it first makes the line; the others wait for that, and find it.
    let inserted = connection
        .prepare_cached(
            "INSERT INTO upstream_cost (channel, upstream, kind, micros, at, bucket, account_id, created_at, random) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            cost.channel.as_str(),
            cost.upstream,
            kind_number(cost.kind()),
            micros,
            cost.at.millis(),
            bucket,
            account_id,
            created_at,
            random
        ])?;
    if inserted > 0 {
        return add_to_day(connection, cost, cost.at, 1, micros);
    }
    let sql = if connection.is_postgres() {
        "SELECT id, micros, at FROM upstream_cost WHERE channel = ?1 AND upstream = ?2 AND kind = ?3 FOR UPDATE"
    } else {
        "SELECT id, micros, at FROM upstream_cost WHERE channel = ?1 AND upstream = ?2 AND kind = ?3"
    };
    let (id, before, at): (i64, i64, i64) = connection.query_row(
        sql,
        params![cost.channel.as_str(), cost.upstream, kind_number(cost.kind())],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    if let Some([bucket, account_id, created_at, random]) = place {
        connection.execute(
            "UPDATE upstream_cost SET bucket = ?3, account_id = ?4, created_at = ?5, random = ?6 \
             WHERE channel = ?1 AND id = ?2 AND bucket IS NULL",
            params![cost.channel.as_str(), id, bucket, account_id, created_at, random],
        )?;
    }
    if micros <= before {
        return Ok(());
    }
    connection.execute(
        "UPDATE upstream_cost SET micros = ?3 WHERE channel = ?1 AND id = ?2",
        params![cost.channel.as_str(), id, micros],
    )?;
    add_to_day(connection, cost, Timestamp::from_millis(at), 0, micros - before)
}

fn add_to_day(
    connection: Connection<'_>,
    cost: &ChannelCost,
    at: Timestamp,
    lines: i64,
    micros: i64,
) -> Result<(), StoreError> {
    let [charged, given_back] = match cost.kind() {
        CostKind::Charged => [[lines, micros], [0, 0]],
        CostKind::Refunded => [[0, 0], [lines, micros]],
    };
    let mut add = connection.prepare_cached(
        "INSERT INTO upstream_cost_day (day, channel, charges, charged, refunds, refunded) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (day, channel) DO UPDATE SET \
         charges = upstream_cost_day.charges + excluded.charges, charged = upstream_cost_day.charged + excluded.charged, \
         refunds = upstream_cost_day.refunds + excluded.refunds, \
         refunded = upstream_cost_day.refunded + excluded.refunded",
    )?;
    add.execute(params![
        day_of(at),
        cost.channel.as_str(),
        charged[0],
        charged[1],
        given_back[0],
        given_back[1]
    ])?;
    Ok(())
}

const fn day_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(DAY_MS)
}

const fn kind_number(kind: CostKind) -> i64 {
    match kind {
        CostKind::Charged => CHARGED,
        CostKind::Refunded => REFUNDED,
    }
}

fn require_short(text: &str, max_bytes: usize, what: &'static str) -> Result<(), StoreError> {
    if text.len() > max_bytes {
        return Err(StoreError::TooLong(what));
    }
    Ok(())
}

fn channel_of(row: Row<'_>, column: usize) -> Result<LegName, StoreError> {
    let name: String = row.get(column)?;
    LegName::parse(&name).ok_or_else(|| damaged("a channel's name"))
}

fn recipient_from_row(row: Row<'_>) -> Result<ChannelRecipient, StoreError> {
    Ok(ChannelRecipient {
        phone: phone_of(row.get(0)?)?,
        address: row.get(1)?,
        stopped: row.get(2)?,
        since: Timestamp::from_millis(row.get(3)?),
    })
}

/// Reads bucket, account, time and random part from that column on.
fn request_from_row(row: Row<'_>, first: usize) -> Result<RequestRef, StoreError> {
    Ok(RequestRef {
        account: account_key(row.get(first)?, row.get(first + 1)?)?,
        id: request_id(row.get(first + 2)?, row.get(first + 3)?),
    })
}

fn cost_from_row(row: Row<'_>) -> Result<CostRecord, StoreError> {
    let (kind, micros): (i64, i64) = (row.get(3)?, row.get(5)?);
    let micros = match kind {
        CHARGED => micros,
        REFUNDED => -micros,
        _ => return Err(damaged("the kind of an upstream's cost")),
    };
    let at = Timestamp::from_millis(row.get(1)?);
    let is_for_message = row.get::<Option<i64>>(6)?.is_some();
    Ok(CostRecord {
        place: CostPlace {
            at,
            number: row.get(0)?,
        },
        cost: ChannelCost {
            channel: channel_of(row, 2)?,
            message: is_for_message.then(|| request_from_row(row, 6)).transpose()?,
            micros,
            upstream: row.get(4)?,
            at,
        },
    })
}
