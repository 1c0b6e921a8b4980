//! SQL of orders of credit that wait for their payment. The history of entries is in `history`.

use std::sync::LazyLock;

use crate::sql::{Connection, OptionalExtension, Row, params};
use countersign_core::{
    AccountKey, Credits, DAY_MS, LedgerEntry, Order, OrderId, OrderNote, OrderParty, OrderState, ProviderName,
    Purchase, RequestId, Timestamp,
};
use futures_util::future::BoxFuture;

use super::actions;
use super::backend::Backend;
use super::codec::{account_key, damaged};
use super::read::{Reader, row_limit};
use super::settings::{Settings, account_place, account_subject};
use crate::actions::NewAction;
use crate::orders::{
    HistoryFilter, HistoryPage, MAX_LISTED_ORDERS, MAX_OPEN_ORDERS, MAX_ORDERS_PER_DAY, NewOrder, NextLapse,
    OrderFilter, OrderPlace, Ordered, Orders, StatementTotals,
};
use crate::types::{Actor, StoreError};

impl<B: Backend> Orders for B {
    fn make_order(&self, new: NewOrder) -> BoxFuture<'_, Result<Ordered, StoreError>> {
        self.set(move |settings| settings.make_order(new))
    }

    fn order(&self, id: OrderId) -> BoxFuture<'_, Result<Option<Order>, StoreError>> {
        self.read(move |reader| reader.order(id))
    }

    fn orders(
        &self,
        filter: OrderFilter,
        before: Option<OrderPlace>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Order>, StoreError>> {
        self.read(move |reader| reader.orders(filter, before, limit))
    }

    fn history(
        &self,
        account: AccountKey,
        filter: HistoryFilter,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<HistoryPage, StoreError>> {
        self.aside(move |reader| reader.history(account, filter, before, limit))
    }

    fn request_entries(
        &self,
        account: AccountKey,
        request: RequestId,
    ) -> BoxFuture<'_, Result<Vec<LedgerEntry>, StoreError>> {
        self.aside(move |reader| reader.request_entries(account, request))
    }

    fn statement_totals(
        &self,
        account: AccountKey,
        from: Timestamp,
        to: Timestamp,
    ) -> BoxFuture<'_, Result<StatementTotals, StoreError>> {
        self.aside(move |reader| reader.statement_totals(account, from, to))
    }

    fn next_lapse(&self, account: AccountKey) -> BoxFuture<'_, Result<Option<NextLapse>, StoreError>> {
        self.read(move |reader| reader.next_lapse(account))
    }
}

const COLUMNS: &str =
    "bucket, account_id, id, amount, provider, state, created_at, decided_at, decided_by, note, entry";

/// Reads [`COLUMNS`].
fn order_from_row(row: Row<'_>) -> Result<Order, StoreError> {
    let decided_by: Option<i64> = row.get(8)?;
    Ok(Order {
        account: account_key(row.get(0)?, row.get(1)?)?,
        id: OrderId::of_number(row.get::<i64>(2)?.cast_unsigned()).ok_or_else(|| damaged("the id of an order"))?,
        amount: Credits::from_micros(row.get(3)?),
        provider: ProviderName::parse(&row.get::<String>(4)?).ok_or_else(|| damaged("a payment provider"))?,
        state: OrderState::of_number(row.get(5)?).ok_or_else(|| damaged("the state of an order"))?,
        created_at: Timestamp::from_millis(row.get(6)?),
        decided_at: row.get::<Option<i64>>(7)?.map(Timestamp::from_millis),
        decided_by: decided_by
            .map(|number| OrderParty::of_number(number).ok_or_else(|| damaged("who decided an order")))
            .transpose()?,
        note: row.get::<Option<String>>(9)?.map(OrderNote::from_stored),
        entry: row.get::<Option<i64>>(10)?.map(i64::cast_unsigned),
    })
}

/// An order of one account, for a command.
pub(crate) fn load(connection: Connection<'_>, account: AccountKey, id: OrderId) -> Result<Option<Order>, StoreError> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!("SELECT {COLUMNS} FROM credit_order WHERE bucket = ?1 AND account_id = ?2 AND id = ?3")
    });
    let [bucket, account_id] = account_place(account);
    let mut statement = connection.prepare_cached(&SQL)?;
    let mut rows = statement.query(params![bucket, account_id, id.number().cast_signed()])?;
    rows.next()?.map(order_from_row).transpose()
}

/// Writes a purchase, or that it has lapsed.
pub(crate) fn write_purchase(connection: Connection<'_>, purchase: &Purchase) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO purchase (bucket, account_id, entry, through, lapses_at, lapsed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (bucket, account_id, entry) DO UPDATE SET lapsed = excluded.lapsed",
        )?
        .execute(params![
            purchase.account.bucket.0,
            purchase.account.id.number(),
            purchase.entry.cast_signed(),
            purchase.through.micros(),
            purchase.lapses_at.millis(),
            purchase.lapsed,
        ])?;
    Ok(())
}

/// Writes what a command decided, with its line in the audit log. The purchase is written in the same transaction.
pub(crate) fn write_decided(connection: Connection<'_>, order: &Order) -> Result<(), StoreError> {
    let [bucket, account_id] = account_place(order.account);
    let decided = connection
        .prepare_cached(
            "UPDATE credit_order SET state = ?4, decided_at = ?5, decided_by = ?6, note = ?7, entry = ?8 \
             WHERE bucket = ?1 AND account_id = ?2 AND id = ?3 AND state = 1",
        )?
        .execute(params![
            bucket,
            account_id,
            order.id.number().cast_signed(),
            order.state.number(),
            order.decided_at.map(Timestamp::millis),
            order.decided_by.map(OrderParty::number),
            order.note.as_ref().map(OrderNote::as_str),
            order.entry.map(u64::cast_signed),
        ])?;
    if decided != 1 {
        // The account's lock and `decide` see to it; the books don't rely on that (P2).
        return Err(StoreError::Database(
            "an order that was decided already was decided again".into(),
        ));
    }
    let (actor, at) = match (order.decided_by, order.decided_at) {
        (Some(OrderParty::Owner), Some(at)) => (Actor::Owner, at),
        (Some(OrderParty::Provider), Some(at)) => (Actor::System, at),
        (_, at) => (Actor::Operator, at.unwrap_or(order.created_at)),
    };
    actions::note(
        connection,
        &NewAction {
            by: actor,
            at,
            action: &format!("order {}", order.state.name()),
            subject: &account_subject(order.account),
            detail: &detail(order.id, order.amount, order.note.as_ref()),
        },
    )
}

/// What a line in the audit log says of an order.
fn detail(id: OrderId, amount: Credits, note: Option<&OrderNote>) -> String {
    match note {
        Some(note) => format!("{id}, {amount}: {}", note.as_str()),
        None => format!("{id}, {amount}"),
    }
}

impl Settings<'_> {
    fn make_order(&mut self, new: NewOrder) -> Result<Ordered, StoreError> {
        let [bucket, account_id] = account_place(new.account);
        let open: bool = self
            .connection
            .prepare_cached("SELECT closed_at IS NULL FROM account WHERE bucket = ?1 AND account_id = ?2")?
            .query_row(params![bucket, account_id], |row| row.get(0))
            .optional()?
            .unwrap_or_default();
        if !open {
            return Err(StoreError::NotFound("open account"));
        }
        let count = |sql: &str, bound: i64| -> Result<usize, StoreError> {
            let count: i64 = self
                .connection
                .prepare_cached(sql)?
                .query_row(params![bucket, account_id, bound], |row| row.get(0))?;
            Ok(usize::try_from(count).unwrap_or(usize::MAX))
        };
        let open_orders = count(
            "SELECT count(*) FROM credit_order INDEXED BY credit_order_open \
             WHERE bucket = ?1 AND account_id = ?2 AND state = 1 AND created_at >= ?3",
            i64::MIN,
        )?;
        if open_orders >= MAX_OPEN_ORDERS {
            return Ok(Ordered::TooManyOpen);
        }
        let of_today = count(
            "SELECT count(*) FROM credit_order INDEXED BY credit_order_by_account \
             WHERE bucket = ?1 AND account_id = ?2 AND created_at > ?3",
            new.now.plus_millis(-DAY_MS).millis(),
        )?;
        if of_today >= MAX_ORDERS_PER_DAY {
            return Ok(Ordered::TooManyToday);
        }
        // A reference names one order of all. Where accounts are spread over machines, no index of theirs can see to that.
        if self.connection.is_postgres() {
            let placed = self.connection.execute(
                "INSERT INTO order_place (id, bucket, account_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                [new.id.number().cast_signed(), bucket, account_id],
            )?;
            if placed == 0 {
                return Err(StoreError::Conflict("an order with this reference"));
            }
        }
        let inserted = self.connection.execute(
            "INSERT INTO credit_order (bucket, account_id, id, amount, provider, state, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                bucket,
                account_id,
                new.id.number().cast_signed(),
                new.amount.micros(),
                new.provider.as_str(),
                OrderState::Open.number(),
                new.now.millis(),
            ],
        );
        match inserted {
            Err(error) if error.is_constraint() => {
                return Err(StoreError::Conflict("an order with this reference"));
            }
            other => other?,
        };
        self.audit_with(
            new.by,
            new.now,
            "order made",
            &account_subject(new.account),
            &detail(new.id, new.amount, None),
        )?;
        Ok(Ordered::Made(Order {
            account: new.account,
            id: new.id,
            amount: new.amount,
            provider: new.provider,
            state: OrderState::Open,
            created_at: new.now,
            decided_at: None,
            decided_by: None,
            note: None,
            entry: None,
        }))
    }
}

impl Reader<'_> {
    fn order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let number = id.number().cast_signed();
        self.with(|connection| {
            if connection.is_postgres() {
                let place = connection
                    .query_row(
                        "SELECT bucket, account_id FROM order_place WHERE id = ?1",
                        [number],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )
                    .optional()?;
                return match place {
                    Some((bucket, account_id)) => load(connection, account_key(bucket, account_id)?, id),
                    None => Ok(None),
                };
            }
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM credit_order WHERE id = ?1"))?;
            let mut rows = statement.query([number])?;
            rows.next()?.map(order_from_row).transpose()
        })
    }

    fn orders(&self, filter: OrderFilter, before: Option<OrderPlace>, limit: usize) -> Result<Vec<Order>, StoreError> {
        // One index for each question, so that none reads rows that it doesn't show: of an account, only few are open, and
        // the decided ones are nearly all.
        let (index, wanted) = match (filter.account, filter.state) {
            (None, None) => ("credit_order_by_time", "/* spans buckets: orders */"),
            (None, Some(_)) => ("credit_order_by_state", "/* spans buckets: orders */ state = ?4 AND"),
            (Some(_), Some(OrderState::Open)) => {
                ("credit_order_open", "bucket = ?4 AND account_id = ?5 AND state = 1 AND")
            }
            (Some(_), None) => ("credit_order_by_account", "bucket = ?4 AND account_id = ?5 AND"),
            (Some(_), Some(_)) => (
                "credit_order_by_account",
                "bucket = ?4 AND account_id = ?5 AND state = ?6 AND",
            ),
        };
        let (created_at, id) = before.map_or((i64::MAX, i64::MAX), |place| {
            (place.created_at.millis(), place.id.number().cast_signed())
        });
        let sql = format!(
            "SELECT {COLUMNS} FROM credit_order INDEXED BY {index} WHERE {wanted} (created_at, id) < (?1, ?2) \
             ORDER BY created_at DESC, id DESC LIMIT ?3"
        );
        let [bucket, account_id] = filter.account.map_or([0, 0], account_place);
        let limit = row_limit(limit.min(MAX_LISTED_ORDERS));
        let state = filter.state.map(|state| i64::from(state.number()));
        self.with(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let page = params![created_at, id, limit];
            let mut rows = match (filter.account, state) {
                (None, None) => statement.query(page)?,
                (None, Some(state)) => statement.query([created_at, id, limit, state])?,
                (Some(_), Some(state)) if filter.state != Some(OrderState::Open) => {
                    statement.query([created_at, id, limit, bucket, account_id, state])?
                }
                (Some(_), _) => statement.query([created_at, id, limit, bucket, account_id])?,
            };
            let mut orders = Vec::new();
            while let Some(row) = rows.next()? {
                orders.push(order_from_row(row)?);
            }
            Ok(orders)
        })
    }
}
