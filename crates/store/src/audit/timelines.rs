//! P3: states only moved forward, as the timelines tell, and so did legs.

use crate::sql::{Row, params};
use countersign_core::{DeliveryState, LegEnd, RequestId, RoutePlan};

use super::{AccountCheck, Finding, request_id, require};
use crate::sql::codec::{TIMELINE_BECAME, TIMELINE_LEG_ENDED, delivery_of, leg_end_of};

impl AccountCheck<'_, '_> {
    /// P3: each request's states followed one another along the graph, up to the one it has.
    pub(super) fn timelines(&mut self) -> Finding {
        let mut statement = self.connection.prepare_cached(
            "SELECT t.created_at, t.random, t.kind, t.state, r.delivery, t.leg, r.plan, r.leg FROM timeline t \
             LEFT JOIN request r \
             ON r.bucket = t.bucket AND r.account_id = t.account_id AND r.created_at = t.created_at AND r.random = t.random \
             WHERE t.bucket = ?1 AND t.account_id = ?2 AND t.kind IN (?3, ?4) AND t.created_at >= ?5 \
             ORDER BY t.created_at, t.random, t.number",
        )?;
        let [bucket, account_id] = self.place();
        let mut rows = statement.stream(params![
            bucket,
            account_id,
            TIMELINE_BECAME,
            TIMELINE_LEG_ENDED,
            self.requests_from
        ])?;
        let mut current: Option<(RequestId, DeliveryState, DeliveryState)> = None;
        let mut legs = LegsLeft::default();
        let mut told = 0;
        while let Some(row) = rows.next()? {
            let id = request_id(row)?;
            if row.get::<i64>(2)? == TIMELINE_LEG_ENDED {
                if let Some(finding) = legs.left(id, row)? {
                    return Ok(Some(finding));
                }
                continue;
            }
            let became = delivery_of(row.get(3)?)?;
            let Some(now) = row.get::<Option<i64>>(4)? else {
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

/// The last leg that was left by time or by asking again: that happens to each leg once, in the order of the plan.
#[derive(Default)]
struct LegsLeft {
    last: Option<(RequestId, usize)>,
}

impl LegsLeft {
    fn left(&mut self, id: RequestId, row: Row<'_>) -> Finding {
        let plan: Option<String> = row.get(6)?;
        let Some(plan) = plan.as_deref().and_then(RoutePlan::decode) else {
            return Ok(Some(format!(
                "a timeline tells of legs of request {id}, which has no plan"
            )));
        };
        let name = row.get::<Option<String>>(5)?.unwrap_or_default();
        let Some(place) = plan.legs.iter().position(|leg| leg.name.as_str() == name) else {
            return Ok(Some(format!(
                "request {id} left the leg {name:?}, which its plan doesn't have"
            )));
        };
        let under_way = row.get::<Option<u8>>(7)?.map_or(0, usize::from);
        require!(
            place < under_way,
            "request {id} left the leg {name:?}, and is at leg {under_way} of its plan"
        );
        if !matches!(leg_end_of(row.get(3)?)?, LegEnd::NotInTime | LegEnd::Resent) {
            return Ok(None);
        }
        let goes_back = self.last.is_some_and(|(last, left)| last == id && left >= place);
        require!(!goes_back, "request {id} went back to the leg {name:?}");
        self.last = Some((id, place));
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
