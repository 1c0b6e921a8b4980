//! When a lane of delivery reports is to be looked at again: the times of retries and of circuits, in memory and bounded. What
//! finds no room here is found by the worker's round over the books. Pure book-keeping.

use std::collections::BTreeSet;

use countersign_core::Timestamp;
use countersign_store::ReportLane;

/// Most times that are remembered.
const MAX_WAKES: usize = 65_536;
/// Times are rounded up to this, so that the retries of one outage are one entry.
const GRAIN_MS: i64 = 16;

/// The times, in order.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    times: BTreeSet<(Timestamp, ReportLane)>,
}

impl Wakes {
    /// Has the lane looked at when this time has come, where there is room.
    pub(super) fn add(&mut self, at: Timestamp, lane: ReportLane) {
        if self.times.len() < MAX_WAKES {
            let rounded = (at.millis().div_euclid(GRAIN_MS))
                .saturating_add(1)
                .saturating_mul(GRAIN_MS);
            self.times.insert((Timestamp::from_millis(rounded), lane));
        }
    }

    /// The next time.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.times.first().map(|(at, _)| *at)
    }

    /// A lane whose time has come.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<ReportLane> {
        if self.next()? > now {
            return None;
        }
        self.times.pop_first().map(|(_, lane)| lane)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countersign_core::{AccountId, AccountKey};

    use super::*;

    fn lane(host: &str) -> ReportLane {
        ReportLane {
            account: AccountKey::of_new(AccountId::new(1).unwrap()),
            host: Arc::from(host),
        }
    }

    #[test]
    fn lanes_come_in_the_order_of_their_times_and_never_early() {
        let mut wakes = Wakes::default();
        let at = Timestamp::from_millis;
        wakes.add(at(2_000), lane("late"));
        wakes.add(at(1_000), lane("soon"));
        wakes.add(at(1_001), lane("soon"));
        assert_eq!(wakes.take(at(1_000)), None);
        assert_eq!(wakes.take(at(1_016)), Some(lane("soon")));
        assert_eq!(wakes.take(at(1_999)), None);
        assert_eq!(wakes.take(at(9_999)), Some(lane("late")));
        assert_eq!((wakes.take(at(9_999)), wakes.next()), (None, None));
    }

    #[test]
    fn there_are_never_more_than_the_bound() {
        let mut wakes = Wakes::default();
        for n in 0..70_000 {
            wakes.add(Timestamp::from_millis(n * GRAIN_MS), lane("a"));
        }
        assert_eq!(wakes.times.len(), MAX_WAKES);
    }
}
