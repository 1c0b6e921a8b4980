//! What the books' writers did since the process started, added up as batches are committed: how large they were, how long they took,
//! and what became of messages, reports and balances. For an operator's metrics: nothing in it names an account or a number, and
//! it ends with the process. One lock a batch.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use countersign_core::{DeliveryState, LegName, TimelineKind, USAGE_COUNTS};

use crate::batch::Batch;
use crate::reports::ReportOutcome;

/// Upper bounds of batches' sizes, in commands and attempts of reports.
pub const BATCH_BOUNDS: [u64; 8] = [1, 4, 16, 32, 64, 128, 256, 512];
/// Upper bounds of the time that a batch took, in microseconds.
pub const COMMIT_BOUNDS_US: [u64; 11] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000,
];

/// How many of what was measured were how large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    bounds: &'static [u64],
    /// Those of at most each bound and more than the one before; the last place has those above all.
    counts: Vec<u64>,
    sum: u64,
}

impl Spread {
    const fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: Vec::new(),
            sum: 0,
        }
    }

    fn note(&mut self, value: u64) {
        self.counts.resize(self.bounds.len() + 1, 0);
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Each bound, with how many were at most so large.
    pub fn up_to(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut so_far = 0;
        self.bounds.iter().enumerate().map(move |(place, bound)| {
            so_far += self.counts.get(place).copied().unwrap_or(0);
            (*bound, so_far)
        })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What they add up to.
    pub const fn sum(&self) -> u64 {
        self.sum
    }
}

/// How an attempt to send a report ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The receiver answered 200.
    Acknowledged = 0,
    /// It failed, and another attempt follows.
    Failed = 1,
    /// It failed, and was the last.
    Lost = 2,
    /// Nothing was sent: its destination is left alone for a while.
    Held = 3,
}

impl AttemptEnd {
    /// All ends.
    pub const ALL: [Self; 4] = [Self::Acknowledged, Self::Failed, Self::Lost, Self::Held];

    /// As metrics name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Held => "held",
        }
    }

    const fn of(outcome: &ReportOutcome) -> Self {
        match outcome {
            ReportOutcome::Acknowledged => Self::Acknowledged,
            ReportOutcome::Retry { .. } => Self::Failed,
            ReportOutcome::Lost => Self::Lost,
            ReportOutcome::Held { .. } => Self::Held,
        }
    }
}

/// The sums as they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Committed batches by their size in commands and attempts of reports.
    pub batches: Spread,
    /// How long they took in microseconds, from the first row read to the commit's being durable.
    pub commits_us: Spread,
    /// What requests came to, by [`countersign_core::UsageCount`]; a request's steps count when they are committed.
    pub usage: [i64; USAGE_COUNTS],
    /// How often messages came into a state, by the leg that was under way.
    pub deliveries: BTreeMap<(Option<LegName>, DeliveryState), u64>,
    /// Attempts to send reports, by [`AttemptEnd`].
    pub attempts: [u64; AttemptEnd::ALL.len()],
    /// How often a balance became low, where its account asked to be told.
    pub low_balances: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            batches: Spread::new(&BATCH_BOUNDS),
            commits_us: Spread::new(&COMMIT_BOUNDS_US),
            usage: [0; USAGE_COUNTS],
            deliveries: BTreeMap::new(),
            attempts: [0; AttemptEnd::ALL.len()],
            low_balances: 0,
        }
    }
}

/// Where the writers add theirs.
#[derive(Debug, Default)]
pub(crate) struct TallyBook(Mutex<Tally>);

impl TallyBook {
    /// A batch of that many jobs is durable.
    pub(crate) fn note<'a>(
        &self,
        jobs: usize,
        took: Duration,
        batch: &Batch,
        attempts: impl Iterator<Item = &'a ReportOutcome>,
    ) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tally.batches.note(jobs as u64);
        tally
            .commits_us
            .note(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        for usage in &batch.usage {
            for (sum, count) in tally.usage.iter_mut().zip(usage.counts) {
                *sum = sum.saturating_add(count);
            }
        }
        for (_, event) in &batch.timeline {
            if let TimelineKind::Became(state) = event.kind {
                *tally.deliveries.entry((event.leg.clone(), state)).or_default() += 1;
            }
        }
        for outcome in attempts {
            tally.attempts[AttemptEnd::of(outcome) as usize] += 1;
        }
        tally.low_balances += batch.low_balances.len() as u64;
    }

    /// The sums as they stand.
    pub(crate) fn read(&self) -> Tally {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_counts_a_bound_among_those_of_at_most_its_size() {
        let mut spread = Spread::new(&[1, 4]);
        assert_eq!(spread.up_to().collect::<Vec<_>>(), [(1, 0), (4, 0)]);
        for value in [1, 2, 4, 5] {
            spread.note(value);
        }
        assert_eq!(spread.up_to().collect::<Vec<_>>(), [(1, 1), (4, 3)]);
        assert_eq!((spread.count(), spread.sum()), (4, 12));
    }
}
