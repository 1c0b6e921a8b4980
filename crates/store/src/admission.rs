//! Who is let in while a writer has more to do than it can. A queue that is bounded by its length alone fills up under overload, and then
//! everybody waits as long as it is; callers give up, and what is done for them is done for nobody. So a call is refused as soon as
//! it would have to wait too long, judged by how many are before it and by what each costs the writer at present. What was let in is done.
//! Callers are asked about alone, since they can come again: what workers bring has happened already.
//!
//! The queue then stands at that length, and the writer is never idle: it does as much as without, and nobody waits longer than this.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How long a call may have to wait for its turn. With the batch that it goes with, what HTTP takes, and the share of the processor that refusals
/// take, its answer comes within 250 ms.
const LONGEST_WAIT: Duration = Duration::from_millis(120);
/// So many are let in whatever they cost: one batch's worth. A burst that one commit serves is no overload, and on a slow disk each
/// job of a small batch looks dear.
const ALWAYS: usize = 512;
/// Batches of fewer tell nothing: what they cost is the commit, which more jobs would share.
const TELLING: usize = 32;
/// How much one batch counts among those before it: an eighth.
const WEIGHT: u64 = 8;
/// A batch counts as so many times as dear as those before it at most: one that was held up tells little of the next.
const DEAREST: u64 = 16;

/// What waits for one writer, and what that costs. Read by callers, kept by the writer's thread.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// What a job costs, in nanoseconds; 0 before anything is known.
    cost_ns: AtomicU64,
    /// What the writer has taken out of its queue and not done yet.
    in_hand: AtomicUsize,
}

impl Admission {
    /// Whether a call may come in behind so many that are queued.
    pub(crate) fn admits(&self, queued: usize) -> bool {
        let ahead = queued + self.in_hand.load(Ordering::Relaxed);
        if ahead < ALWAYS {
            return true;
        }
        let cost = Duration::from_nanos(self.cost_ns.load(Ordering::Relaxed));
        u32::try_from(ahead).is_ok_and(|ahead| cost.saturating_mul(ahead) <= LONGEST_WAIT)
    }

    /// The writer has so many in hand now.
    pub(crate) fn holds(&self, jobs: usize) {
        self.in_hand.store(jobs, Ordering::Relaxed);
    }

    /// The writer has done so many in that time, while so many waited that could not go with them.
    pub(crate) fn has_done(&self, jobs: usize, took: Duration, behind: usize) {
        if jobs == 0 || jobs.max(behind) < TELLING {
            return;
        }
        let cost = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / jobs as u64;
        let known = self.cost_ns.load(Ordering::Relaxed);
        let cost = if known == 0 {
            cost
        } else {
            (known * (WEIGHT - 1) + cost.min(known.saturating_mul(DEAREST))) / WEIGHT
        };
        // Never unknown again.
        self.cost_ns.store(cost.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    /// A writer that takes that long for a job, after some batches.
    fn writer(cost: Duration) -> Admission {
        let admission = Admission::default();
        for _ in 0..100 {
            admission.has_done(512, cost * 512, 0);
        }
        admission
    }

    #[test]
    fn a_call_is_refused_where_it_would_wait_too_long() {
        let admission = writer(50 * MICROSECOND);
        assert!(admission.admits(2_399));
        assert!(!admission.admits(2_401));
        admission.holds(512);
        assert!(admission.admits(1_887), "what the writer has in hand counts, too");
        assert!(!admission.admits(1_889));
        admission.holds(0);
        assert!(admission.admits(2_399));
    }

    #[test]
    fn a_batch_is_let_in_however_slow_the_writer_is() {
        let admission = writer(Duration::from_secs(1));
        assert!(admission.admits(511));
        assert!(!admission.admits(512));
    }

    #[test]
    fn a_writer_of_which_nothing_is_known_lets_in_what_its_queue_holds() {
        assert!(Admission::default().admits(8_191));
        let admission = Admission::default();
        admission.has_done(31, Duration::from_mins(1), 31);
        assert!(admission.admits(8_191), "a small batch tells nothing");
    }

    #[test]
    fn small_batches_tell_where_others_wait_behind_them() {
        let admission = Admission::default();
        for _ in 0..100 {
            admission.has_done(4, Duration::from_millis(4), 1_000);
        }
        assert!(!admission.admits(512));
    }

    #[test]
    fn one_batch_that_was_held_up_is_soon_forgotten() {
        let admission = writer(20 * MICROSECOND);
        admission.has_done(512, Duration::from_secs(30), 0);
        assert!(admission.admits(1_500), "it counts as sixteen, among eight");
        for _ in 0..20 {
            admission.has_done(512, 512 * 20 * MICROSECOND, 0);
        }
        assert!(admission.admits(5_000));
    }

    #[test]
    fn a_writer_that_has_become_slow_is_believed_after_some_batches() {
        let admission = writer(20 * MICROSECOND);
        for _ in 0..12 {
            admission.has_done(512, Duration::from_secs(1), 0);
        }
        assert!(!admission.admits(512));
    }
}
