//! P2 between ledger and requests: each charged request has exactly one charge of its fee, each refunded one exactly one
//! refund, no other any; and what is on hold is the fees of admitted requests.
//!
//! Entries and requests lie in different orders, and sorting millions of them would take memory or a disk. Instead both
//! sides are summed up: a keyed hash of every pair of request and amount, added up in 128 bits. The key is drawn for each
//! audit, so equal sums mean equal sets but for one chance in very many. Where they differ, a slow query says which request.

use std::hash::BuildHasher as _;

use crate::sql::params;
use countersign_core::{Credits, DeliveryState, EntryKind, RequestId};
use foldhash::quality::RandomState;

use super::{AccountCheck, Finding, request_id, require};
use crate::sql::codec::{delivery_number, delivery_of};

/// Sums over the charges and refunds of an account, once as its entries have them and once as its requests do.
#[derive(Debug, Default)]
pub(super) struct ChargedRequests {
    keys: [RandomState; 2],
    entries: Sums,
    requests: Sums,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    charges: u128,
    refunds: u128,
}

impl ChargedRequests {
    /// Takes in an entry that names a request.
    pub(super) fn entry(&mut self, request: RequestId, kind: EntryKind, amount: Credits) {
        if kind == EntryKind::Refund {
            self.entries.refunds = self.entries.refunds.wrapping_add(self.hash(request, amount));
        } else {
            self.entries.charges = self.entries.charges.wrapping_add(self.hash(request, -amount));
        }
    }

    fn request(&mut self, request: RequestId, fee: Credits, refunded: bool) {
        let hash = self.hash(request, fee);
        self.requests.charges = self.requests.charges.wrapping_add(hash);
        if refunded {
            self.requests.refunds = self.requests.refunds.wrapping_add(hash);
        }
    }

    fn hash(&self, request: RequestId, amount: Credits) -> u128 {
        let pair = (request.created_at().millis(), request.random(), amount.micros());
        let [high, low] = &self.keys;
        u128::from(high.hash_one(pair)) << 64 | u128::from(low.hash_one(pair))
    }
}

impl AccountCheck<'_, '_> {
    /// What is on hold is the fees of admitted requests, and only what expired was refunded.
    pub(super) fn requests(&mut self) -> Finding {
        let mut statement = self.connection.prepare_cached(
            "SELECT created_at, random, delivery, fee, refunded FROM request WHERE bucket = ?1 AND account_id = ?2 \
             AND created_at >= ?3 ORDER BY created_at, random",
        )?;
        let [bucket, account_id] = self.place();
        let mut rows = statement.stream([bucket, account_id, self.requests_from])?;
        let mut held = Credits::ZERO;
        while let Some(row) = rows.next()? {
            let id = request_id(row)?;
            let state = delivery_of(row.get(2)?)?;
            let (fee, refunded) = (Credits::from_micros(row.get(3)?), row.get::<bool>(4)?);
            require!(!fee.is_negative(), "request {id} has a fee below zero");
            require!(
                refunded == (state == DeliveryState::Expired && !fee.is_zero()),
                "request {id} is {state:?} with a fee of {fee}, and refunded is {refunded}"
            );
            self.moved += u64::from(state > DeliveryState::Sent);
            if state == DeliveryState::Admitted {
                held += fee;
            } else if !fee.is_zero() {
                self.charged.request(id, fee, refunded);
            }
            self.report.requests += 1;
            self.steps.step();
        }
        require!(
            held == self.account.held,
            "{} is on hold, admitted requests hold {held}",
            self.account.held
        );
        Ok(None)
    }

    /// Each request was charged and refunded as its row says.
    pub(super) fn charges(&mut self) -> Finding {
        if self.charged.entries == self.charged.requests {
            return Ok(None);
        }
        if let Some(finding) = self.wrongly_charged()? {
            return Ok(Some(finding));
        }
        Ok(Some("charges and refunds differ from what its requests say".to_owned()))
    }

    /// The slow query that names a request; it runs only once something is known to be wrong.
    fn wrongly_charged(&self) -> Finding {
        let mut statement = self.connection.prepare_cached(
            "SELECT r.created_at, r.random, r.fee, r.refunded, \
             count(*) FILTER (WHERE e.kind = ?3), count(*) FILTER (WHERE e.kind = ?4), \
             coalesce(sum(-e.amount) FILTER (WHERE e.kind = ?3), 0), coalesce(sum(e.amount) FILTER (WHERE e.kind = ?4), 0) \
             FROM request r LEFT JOIN ledger_entry e ON e.bucket = ?1 AND e.account_id = ?2 \
             AND e.request_created_at = r.created_at AND e.request_random = r.random \
             WHERE r.bucket = ?1 AND r.account_id = ?2 AND r.delivery <> ?5 AND r.created_at >= ?6 \
             GROUP BY r.created_at, r.random, r.fee, r.refunded",
        )?;
        let [bucket, account_id] = self.place();
        let mut rows = statement.stream(params![
            bucket,
            account_id,
            EntryKind::Charge.number(),
            EntryKind::Refund.number(),
            delivery_number(DeliveryState::Admitted),
            self.requests_from
        ])?;
        while let Some(row) = rows.next()? {
            let id = request_id(row)?;
            let (fee, is_refunded): (i64, bool) = (row.get(2)?, row.get(3)?);
            let (charges, refunds, charge_sum, refund_sum): (i64, i64, i64, i64) =
                (row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?);
            let money = |micros| Credits::from_micros(micros);
            require!(
                charges == i64::from(fee > 0) && charge_sum == fee,
                "request {id} with a fee of {} has {charges} charges of {}",
                money(fee),
                money(charge_sum)
            );
            require!(
                refunds == i64::from(is_refunded) && refund_sum == fee * refunds,
                "request {id} with a fee of {} has {refunds} refunds of {}",
                money(fee),
                money(refund_sum)
            );
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT e.request_created_at, e.request_random FROM ledger_entry e \
             WHERE e.bucket = ?1 AND e.account_id = ?2 AND e.request_created_at >= ?4 AND NOT EXISTS \
             (SELECT 1 FROM request r WHERE r.bucket = ?1 AND r.account_id = ?2 AND r.created_at = e.request_created_at \
             AND r.random = e.request_random AND r.delivery <> ?3) LIMIT 1",
        )?;
        let mut rows = statement.query(params![
            bucket,
            account_id,
            delivery_number(DeliveryState::Admitted),
            self.requests_from
        ])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(format!(
            "entries name request {}, which isn't there or wasn't charged",
            request_id(row)?
        )))
    }
}
