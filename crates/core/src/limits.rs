//! Flood limits: so many in so long, spread evenly (the generic cell rate algorithm), as pure arithmetic on one number.

use crate::time::Timestamp;

/// At most `count` in any `period_ms`; a burst of `count` is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many, at least 1.
    pub count: u32,
    /// In how many milliseconds.
    pub period_ms: i64,
}

impl Limit {
    /// Takes one at a time: given the counter's state, answers its next state, or how many seconds to wait (at least 1).
    pub fn take(self, state: Timestamp, now: Timestamp) -> Result<Timestamp, u32> {
        let count = i64::from(self.count.max(1));
        // The state counts in the same milliseconds as time; what one call costs is the period's share, at least 1 ms.
        let interval_ms = (self.period_ms / count).max(1);
        let next = state.max(now).plus_millis(interval_ms);
        let wait_ms = next.millis() - now.plus_millis(interval_ms.saturating_mul(count)).millis();
        if wait_ms <= 0 {
            Ok(next)
        } else {
            Err(u32::try_from((wait_ms + 999) / 1000).unwrap_or(u32::MAX))
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
        let mut state = Timestamp::default();
        for _ in 0..3 {
            state = limit.take(state, now).unwrap();
        }
        assert_eq!(limit.take(state, now), Err(20));
        assert_eq!(limit.take(state, now.plus_millis(19_001)), Err(1));
        assert!(limit.take(state, now.plus_millis(20_000)).is_ok());
    }
}
