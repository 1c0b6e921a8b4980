//! How many reports may be under way to one destination at once: it grows while answers are quick and falls on failure. Pure
//! book-keeping.

use std::time::Duration;

/// Where a destination begins, how far it may come, and what is left to one that fails.
pub(super) const START: usize = 8;
pub(super) const MOST: usize = 128;
const LEAST: usize = 1;
/// An answer within this time is a quick one.
const QUICK: Duration = Duration::from_secs(1);

/// The limit of one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limiter {
    limit: usize,
    /// Counts falls: a failure of an attempt that began before the last fall says nothing new.
    falls: u32,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { limit: START, falls: 0 }
    }
}

impl Limiter {
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// What an attempt that begins now is told by later.
    pub(super) const fn falls(&self) -> u32 {
        self.falls
    }

    /// An attempt was acknowledged, while `under_way` with it were. A limit that nobody needs doesn't grow.
    pub(super) fn acknowledged(&mut self, took: Duration, under_way: usize) {
        if took < QUICK && 2 * under_way >= self.limit {
            self.limit = (self.limit + 1).min(MOST);
        }
    }

    /// An attempt failed that began after so many falls.
    pub(super) fn failed(&mut self, falls_before: u32) {
        if falls_before == self.falls {
            self.limit = (self.limit / 2).max(LEAST);
            self.falls = self.falls.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[test]
    fn it_grows_while_answers_are_quick_and_ends_at_128() {
        let mut limiter = Limiter::default();
        assert_eq!(limiter.limit(), 8);
        for _ in 0..1_000 {
            limiter.acknowledged(SOON, limiter.limit());
        }
        assert_eq!(limiter.limit(), 128);
    }

    #[test]
    fn slow_answers_and_places_that_nobody_needs_let_it_stay() {
        let mut limiter = Limiter::default();
        limiter.acknowledged(Duration::from_secs(2), 8);
        limiter.acknowledged(SOON, 3);
        assert_eq!(limiter.limit(), 8);
    }

    #[test]
    fn failures_at_the_same_time_count_as_one_and_one_place_always_stays() {
        let mut limiter = Limiter::default();
        let began = limiter.falls();
        for _ in 0..8 {
            limiter.failed(began);
        }
        assert_eq!(limiter.limit(), 4);
        for _ in 0..10 {
            limiter.failed(limiter.falls());
        }
        assert_eq!(limiter.limit(), 1);
    }
}
