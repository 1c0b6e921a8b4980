//! Flood limits: so many in so long, spread evenly (the generic cell rate algorithm), as pure arithmetic on one number.

use crate::time::Timestamp;

/// `count` in each `period_ms`, spread evenly; a burst of `count` is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many, at least 1.
    pub count: u32,
    /// In how many milliseconds.
    pub period_ms: i64,
}

/// The state of one limit's counter: the time, in microseconds since the epoch, until which what was taken is spread. Finer than
/// a [`Timestamp`], so that a limit of thousands a second is kept to a thousandth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LimitState(i64);

impl LimitState {
    /// A counter on which what was taken is spread until that time.
    pub const fn until(time: Timestamp) -> Self {
        Self(time.millis().saturating_mul(1000))
    }

    /// As it is kept between processes.
    pub const fn spread_until_us(self) -> i64 {
        self.0
    }

    /// What [`LimitState::spread_until_us`] told.
    pub const fn from_spread_until_us(time_us: i64) -> Self {
        Self(time_us)
    }

    /// The same counter, so much later.
    pub(crate) const fn moved_by_us(self, by_us: i64) -> Self {
        Self(self.0.saturating_add(by_us))
    }

    /// Whether it counts for nothing any more: it may be forgotten.
    pub const fn is_spent(self, now: Timestamp) -> bool {
        self.0 <= Self::until(now).0
    }
}

impl Limit {
    /// What one call costs: the period's share, in microseconds.
    pub(crate) fn interval_us(self) -> i64 {
        (self.period_ms.saturating_mul(1000) / i64::from(self.count.max(1))).max(1)
    }

    /// Takes one at a time: given the counter's state, answers its next state, or how many seconds to wait (at least 1).
    pub fn take(self, state: LimitState, now: Timestamp) -> Result<LimitState, u32> {
        let count = i64::from(self.count.max(1));
        let now_us = LimitState::until(now).0;
        let interval_us = self.interval_us();
        let next = state.0.max(now_us).saturating_add(interval_us);
        let wait_us = next - now_us.saturating_add(interval_us.saturating_mul(count));
        if wait_us <= 0 {
            Ok(LimitState(next))
        } else {
            Err(u32::try_from((wait_us + 999_999) / 1_000_000).unwrap_or(u32::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_one_waits() {
        let limit = Limit {
            count: 3,
            period_ms: 60_000,
        };
        let now = Timestamp::from_millis(1_000_000);
        let mut state = LimitState::default();
        for _ in 0..3 {
            state = limit.take(state, now).unwrap();
        }
        assert_eq!(limit.take(state, now), Err(20));
        assert_eq!(limit.take(state, now.plus_millis(19_001)), Err(1));
        assert!(limit.take(state, now.plus_millis(20_000)).is_ok());
    }

    #[test]
    fn thousands_a_second_are_kept_to_a_thousandth() {
        let limit = Limit {
            count: 1_500,
            period_ms: 1_000,
        };
        let mut state = LimitState::default();
        let mut passed = 0;
        for millis in 0..10_000 {
            while let Ok(next) = limit.take(state, Timestamp::from_millis(millis)) {
                state = next;
                passed += 1;
            }
        }
        // Ten seconds' worth and the burst at the beginning, to a thousandth: shares are whole microseconds.
        assert!((16_485..=16_520).contains(&passed), "{passed} passed");
    }
}
