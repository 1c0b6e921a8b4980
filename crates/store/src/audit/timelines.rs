//! P3: states only moved forward, as the timelines tell.

use countersign_core::{DeliveryState, RequestId};
use rusqlite::params;

use super::{AccountCheck, Finding, request_id, require};
use crate::sqlite::{TIMELINE_BECAME, delivery_of};

impl AccountCheck<'_, '_> {
    /// P3: each request's states followed one another along the graph, up to the one it has.
    pub(super) fn timelines(&mut self) -> Finding {
        let mut statement = self.connection.prepare_cached(
            "SELECT t.created_at, t.random, t.number, t.state, r.delivery, r.events FROM timeline t LEFT JOIN request r \
             ON r.bucket = t.bucket AND r.account_id = t.account_id AND r.created_at = t.created_at AND r.random = t.random \
             WHERE t.bucket = ?1 AND t.account_id = ?2 AND t.kind = ?3 \
             ORDER BY t.created_at, t.random, t.number",
        )?;
        let [bucket, account_id] = self.place();
        let mut rows = statement.query(params![bucket, account_id, TIMELINE_BECAME])?;
        let mut current: Option<(RequestId, DeliveryState, DeliveryState)> = None;
        let mut told = 0;
        while let Some(row) = rows.next()? {
            let id = request_id(row)?;
            let became = delivery_of(row.get(3)?)?;
            let Some(now) = row.get::<_, Option<i64>>(4)? else {
                return Ok(Some(format!("a timeline names request {id}, which isn't there")));
            };
            let now = delivery_of(now)?;
            let before = match current {
                Some((last, state, _)) if last == id => state,
                Some((last, state, stored)) => {
                    require!(
                        state == stored,
                        "request {last} is {stored:?}, its timeline ends with {state:?}"
                    );
                    first_state(became)
                }
                None => first_state(became),
            };
            require!(
                before.may_become(became),
                "request {id} went from {before:?} to {became:?}"
            );
            if current.is_none_or(|(last, ..)| last != id) {
                told += 1;
            }
            current = Some((id, became, now));
        }
        if let Some((last, state, stored)) = current {
            require!(
                state == stored,
                "request {last} is {stored:?}, its timeline ends with {state:?}"
            );
        }
        require!(
            told == self.moved,
            "{} requests went on after they were sent, and {told} have a timeline that says so",
            self.moved
        );
        Ok(None)
    }
}

/// The state before a timeline's first change: timelines begin after the send, except where an admission failed or passed.
const fn first_state(became: DeliveryState) -> DeliveryState {
    match became {
        DeliveryState::Unreachable | DeliveryState::Checked => DeliveryState::Admitted,
        _ => DeliveryState::Sent,
    }
}
