//! What is known of one place for one account: six words, whatever was sent there.

use super::rules::PumpingRules;
use super::{ONE, Pace, faded};
use crate::limits::LimitState;
use crate::time::Timestamp;

/// A place's sums, in parts of [`ONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    at: Timestamp,
    /// Codes on their way: not yet expected back.
    pending: u64,
    /// What speaks against the place.
    points: u64,
    /// What returns took away beyond that: it counts against codes that are still on their way, and ends with them.
    credit: u64,
    /// For so many codes those that came back still speak.
    allowance: u64,
    /// Codes that count among the unproven ranges' as well.
    pooled: u64,
    /// Whether the place is suspect by itself, and wider places were told.
    suspect: bool,
    /// What it took while slowed or stopped.
    passes: LimitState,
    /// The number that the latest code went to, and how many codes in a row went there after the first.
    latest: u64,
    repeats: u32,
}

/// What a suspect place takes out of the wider ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Explained {
    pending: u64,
    points: u64,
}

const SECOND_MS: i64 = 1_000;
const HOUR_MS: i64 = 3_600_000;

/// Steps of a grid between two times, so that it doesn't matter how often one looks.
fn steps(from: Timestamp, to: Timestamp, step_ms: i64) -> i64 {
    to.millis().div_euclid(step_ms) - from.millis().div_euclid(step_ms)
}

impl Record {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            at: now,
            pending: 0,
            points: 0,
            credit: 0,
            allowance: 0,
            pooled: 0,
            suspect: false,
            passes: LimitState::default(),
            latest: 0,
            repeats: 0,
        }
    }

    /// Moves to a later time; answers how many codes became due on the way.
    pub(super) fn mature(&mut self, rules: &PumpingRules, level: usize, now: Timestamp) -> u64 {
        if now <= self.at {
            return 0;
        }
        let left = faded(self.pending, steps(self.at, now, SECOND_MS), u64::from(rules.wait_s));
        let matured = self.pending - left;
        *self = Self {
            pending: left,
            ..self.faded(rules, level, now)
        };
        matured
    }

    /// With the points that are left at a later time.
    pub(super) fn faded(self, rules: &PumpingRules, level: usize, now: Timestamp) -> Self {
        if now <= self.at {
            return self;
        }
        let hours = rules.memory_hours.get(level).copied().unwrap_or(1);
        let mut later = Self {
            points: faded(self.points, steps(self.at, now, HOUR_MS), u64::from(hours)),
            at: now,
            ..self
        };
        later.settle(rules);
        later
    }

    /// A place is no longer suspect once half of what made it so is gone.
    fn settle(&mut self, rules: &PumpingRules) {
        if self.points * 2 < u64::from(rules.suspect_points) * ONE {
            self.suspect = false;
        }
    }

    /// So many expected codes didn't come back in time.
    pub(super) fn missed(&mut self, rules: &PumpingRules, expected: u64) {
        let more = expected.saturating_mul(u64::from(rules.missed_millipoints)) / 1_000;
        let paid = more.min(self.credit);
        let on_their_way = self.pending.saturating_mul(u64::from(rules.missed_millipoints)) / 1_000;
        self.credit = (self.credit - paid).min(on_their_way);
        let most = u64::from(rules.most_points) * ONE;
        self.points = self.points.saturating_add(more - paid).min(most);
    }

    /// Whether a code goes to the same number again: somebody who didn't get theirs. They speak once, not with each try; but who goes
    /// on and on is counted.
    pub(super) fn repeats(&mut self, rules: &PumpingRules, number: u64) -> bool {
        if self.latest == number && self.repeats < rules.uncounted_repeats {
            self.repeats += 1;
            return true;
        }
        self.latest = number;
        self.repeats = 0;
        false
    }

    pub(super) fn sent(&mut self) {
        self.pending = self.pending.saturating_add(ONE);
    }

    pub(super) fn came_back(&mut self, rules: &PumpingRules, allowance: u64) {
        let less = u64::from(rules.returned_millipoints) * ONE / 1_000;
        let on_their_way = self.pending.saturating_mul(u64::from(rules.missed_millipoints)) / 1_000;
        let more_credit = less.saturating_sub(self.points);
        self.credit = self.credit.saturating_add(more_credit).min(on_their_way);
        self.points = self.points.saturating_sub(less);
        self.settle(rules);
        let most = allowance.saturating_mul(u64::from(rules.proven_returns));
        self.allowance = self.allowance.saturating_add(allowance).min(most);
    }

    /// Codes became due; answers for how many of them returns speak.
    pub(super) fn spend_allowance(&mut self, matured: u64) -> u64 {
        let spent = matured.min(self.allowance);
        self.allowance -= spent;
        spent
    }

    /// Whether the codes that come back speak for the next one.
    pub(super) const fn is_proven(&self) -> bool {
        self.allowance >= ONE
    }

    /// Whether hardly anything speaks against it.
    pub(super) const fn is_clean(&self) -> bool {
        self.points < ONE
    }

    pub(super) fn pooled(&mut self) {
        self.pooled = self.pooled.saturating_add(ONE);
    }

    pub(super) fn take_pooled(&mut self) -> bool {
        let was = self.pooled >= ONE;
        self.pooled = self.pooled.saturating_sub(ONE);
        was
    }

    /// Whether it isn't suspect by itself.
    pub(super) fn is_plain(&self, rules: &PumpingRules) -> bool {
        !self.suspect && self.points < u64::from(rules.suspect_points) * ONE
    }

    /// What wider places needn't hold against themselves any more, once, when the place becomes suspect.
    pub(super) fn become_suspect(&mut self, rules: &PumpingRules) -> Option<Explained> {
        if self.suspect || self.is_plain(rules) {
            return None;
        }
        self.suspect = true;
        Some(Explained {
            pending: self.pending,
            points: self.points.saturating_sub(u64::from(rules.left_decipoints) * ONE / 10),
        })
    }

    pub(super) fn is_explained(&mut self, explained: Explained) {
        self.pending = self.pending.saturating_sub(explained.pending);
        self.points = self.points.saturating_sub(explained.points);
    }

    pub(super) fn pace(&self, rules: &PumpingRules, level: usize) -> Pace {
        let reached = |points: &[u32; 4]| {
            points
                .get(level)
                .is_some_and(|points| self.points >= u64::from(*points) * ONE)
        };
        if reached(&rules.stop_points) {
            Pace::Stopped
        } else if reached(&rules.slow_points) {
            Pace::Slowed
        } else {
            Pace::Free
        }
    }

    /// One more, if the pace allows it; else how many seconds to wait.
    pub(super) fn pass(&mut self, rules: &PumpingRules, pace: Pace, now: Timestamp) -> Result<(), u32> {
        let limit = match pace {
            Pace::Free => return Ok(()),
            Pace::Slowed => rules.slowed,
            Pace::Stopped => rules.stopped,
        };
        self.passes = limit.take(self.passes, now)?;
        Ok(())
    }

    /// What goes first when room is needed: what says nothing, then what is oldest.
    pub(super) fn worth(&self, rules: &PumpingRules) -> (bool, Timestamp) {
        (!self.is_plain(rules), self.at)
    }
}
