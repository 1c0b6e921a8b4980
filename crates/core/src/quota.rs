//! Quotas: limits that all nodes keep together, without asking the books for each send. A node counts what it lets pass by itself and
//! settles it with the books' counter in chunks; so together they let pass at most nodes × chunk more than the limit. Pure arithmetic:
//! who keeps shares, and when they are settled, is the server's; the counters are rows of the store.

use crate::limits::{Limit, LimitState};
use crate::time::Timestamp;

/// A chunk is this part of a limit's count: so a key is settled some fifty times in its period, however many sends it gets.
const CHUNKS: u32 = 50;
/// Sends in a chunk at most.
const MAX_CHUNK: u32 = 1_000;

/// A limit and the chunk in which its sends are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    limit: Limit,
    chunk: i64,
}

/// Sends that were counted, as a change of any counter: so many more, and never less than they come to by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    count: i64,
    alone: LimitState,
}

/// What one node counts of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// The books' counter as this node last heard of it.
    known: LimitState,
    /// On its way to the books.
    settling: Option<Taken>,
    /// Counted since.
    unsettled: Taken,
}

/// What a share says of one send more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It is counted.
    Passed,
    /// A chunk is full: ask again once it is settled.
    MustSettle,
    /// It would be too many: try again in so many seconds, at least 1.
    Refused(u32),
}

impl Quota {
    /// Of a limit, with a chunk of its fiftieth part: 1 to 1,000.
    pub fn new(limit: Limit) -> Self {
        Self {
            limit,
            chunk: i64::from((limit.count / CHUNKS).clamp(1, MAX_CHUNK)),
        }
    }

    /// How much may pass.
    pub const fn limit(self) -> Limit {
        self.limit
    }

    /// How much each node may let pass beyond it, at most.
    pub const fn chunk(self) -> i64 {
        self.chunk
    }
}

impl Taken {
    /// Whether nothing was counted.
    pub const fn is_nothing(self) -> bool {
        self.count == 0
    }

    /// By how much it moves a counter of that limit, in microseconds; below zero where more was given back than taken.
    pub fn moves_by_us(self, limit: Limit) -> i64 {
        self.count.saturating_mul(limit.interval_us())
    }

    /// Below which no counter stays: what a counter that counts for nothing becomes.
    pub const fn at_least(self) -> LimitState {
        self.alone
    }

    /// A counter after it. Settling in whatever order, nodes come to the same sum.
    pub fn applied_to(self, state: LimitState, limit: Limit) -> LimitState {
        state.moved_by_us(self.moves_by_us(limit)).max(self.alone)
    }

    /// This, and then another.
    fn then(self, next: Self, limit: Limit) -> Self {
        Self {
            count: self.count.saturating_add(next.count),
            alone: next.applied_to(self.alone, limit),
        }
    }
}

impl Share {
    /// Counts one send, if it may pass.
    pub fn take(&mut self, quota: Quota, now: Timestamp) -> Asked {
        let limit = quota.limit;
        if let Err(seconds) = limit.take(self.state(limit), now) {
            // Others can only have counted more.
            return Asked::Refused(seconds);
        }
        let settling = self.settling.map_or(0, |taken| taken.count);
        if settling.saturating_add(self.unsettled.count) >= quota.chunk {
            return Asked::MustSettle;
        }
        let one = Taken {
            count: 1,
            alone: LimitState::until(now).moved_by_us(limit.interval_us()),
        };
        self.unsettled = self.unsettled.then(one, limit);
        Asked::Passed
    }

    /// Counts one less: a send that passed came to nothing.
    pub fn give_back(&mut self, quota: Quota) {
        let less = -quota.limit.interval_us();
        self.unsettled.count = self.unsettled.count.saturating_sub(1);
        self.unsettled.alone = self.unsettled.alone.moved_by_us(less);
    }

    /// What is to be settled now; `None` where that is under way, or there is nothing. [`Self::settled`] or [`Self::not_settled`] follows.
    pub fn settle(&mut self) -> Option<Taken> {
        if self.settling.is_some() || self.unsettled.is_nothing() {
            return None;
        }
        let taken = std::mem::take(&mut self.unsettled);
        self.settling = Some(taken);
        Some(taken)
    }

    /// It was settled, and this is how the books' counter stands.
    pub fn settled(&mut self, counter: LimitState) {
        self.settling = None;
        self.known = counter;
    }

    /// It could not be settled, or nobody knows whether it was: it counts on.
    pub fn not_settled(&mut self, quota: Quota) {
        if let Some(taken) = self.settling.take() {
            self.unsettled = taken.then(self.unsettled, quota.limit);
        }
    }

    /// Whether it may be forgotten: a whole period has passed since all that it counts was spread, so it is of no period that is still to
    /// come. Sooner, a node that forgets would let a chunk pass again and again.
    pub fn is_over(&self, quota: Quota, now: Timestamp) -> bool {
        let period_ago = now.plus_millis(quota.limit.period_ms.saturating_neg());
        self.settling.is_none() && self.state(quota.limit).is_spent(period_ago)
    }

    /// Whether the books know of it: where memory ends, others are forgotten first.
    pub fn was_settled(&self) -> bool {
        self.settling.is_some() || self.known != LimitState::default()
    }

    /// All that this node knows of.
    fn state(&self, limit: Limit) -> LimitState {
        let settling = self.settling.unwrap_or_default();
        self.unsettled.applied_to(settling.applied_to(self.known, limit), limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn quota(count: u32, period_ms: i64) -> Quota {
        Quota::new(Limit { count, period_ms })
    }

    /// The books' counter, and nodes with a share each.
    struct World {
        quota: Quota,
        counter: LimitState,
        shares: Vec<Share>,
        on_their_way: Vec<Option<Taken>>,
        passed: i64,
    }

    impl World {
        fn new(quota: Quota, nodes: usize) -> Self {
            Self {
                quota,
                counter: LimitState::default(),
                shares: vec![Share::default(); nodes],
                on_their_way: vec![None; nodes],
                passed: 0,
            }
        }

        fn begin_to_settle(&mut self, node: usize) {
            if let Some(taken) = self.shares[node].settle() {
                self.on_their_way[node] = Some(taken);
            }
        }

        fn arrive(&mut self, node: usize) {
            if let Some(taken) = self.on_their_way[node].take() {
                self.counter = taken.applied_to(self.counter, self.quota.limit());
                self.shares[node].settled(self.counter);
            }
        }

        /// A send on a node, settling at once where it must.
        fn send(&mut self, node: usize, now: Timestamp) -> bool {
            loop {
                match self.shares[node].take(self.quota, now) {
                    Asked::Passed => {
                        self.passed += 1;
                        return true;
                    }
                    Asked::Refused(_) => return false,
                    Asked::MustSettle => {
                        self.begin_to_settle(node);
                        self.arrive(node);
                    }
                }
            }
        }
    }

    #[test]
    fn a_chunk_is_a_fiftieth_within_bounds() {
        let chunk = |count| quota(count, 1_000).chunk();
        assert_eq!([chunk(1), chunk(99), chunk(500), chunk(1_000_000)], [1, 1, 10, 1_000]);
    }

    #[test]
    fn the_first_chunk_of_a_key_asks_nothing_of_the_books() {
        let quota = quota(100, 60_000);
        let mut share = Share::default();
        assert_eq!(share.take(quota, NOW), Asked::Passed);
        assert_eq!(share.take(quota, NOW), Asked::Passed);
        assert_eq!(share.take(quota, NOW), Asked::MustSettle);
    }

    #[test]
    fn what_came_to_nothing_counts_for_nothing() {
        let mut world = World::new(quota(5, 60_000), 1);
        for _ in 0..50 {
            assert!(world.send(0, NOW));
            world.shares[0].give_back(world.quota);
        }
        for _ in 0..5 {
            assert!(world.send(0, NOW));
        }
        assert!(!world.send(0, NOW));
    }

    #[test]
    fn what_could_not_be_settled_counts_on() {
        let quota = quota(3, 60_000);
        let mut share = Share::default();
        assert_eq!(share.take(quota, NOW), Asked::Passed);
        let taken = share.settle().unwrap();
        assert_eq!(share.settle(), None);
        share.not_settled(quota);
        assert_eq!(share.settle(), Some(taken));
    }

    #[test]
    fn a_share_is_over_a_period_after_all_was_spread() {
        let quota = quota(60, 60_000);
        let mut share = Share::default();
        share.take(quota, NOW);
        assert!(!share.is_over(quota, NOW.plus_millis(60_999)));
        assert!(share.is_over(quota, NOW.plus_millis(61_000)));
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Send(usize),
        /// What a node let pass sets out for the books; others may be faster.
        Settle(usize),
        Arrive(usize),
        TimePasses(i64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            12 => (0..4_usize).prop_map(Event::Send),
            1 => (0..4_usize).prop_map(Event::Settle),
            1 => (0..4_usize).prop_map(Event::Arrive),
            2 => (1..2_000_i64).prop_map(Event::TimePasses),
        ]
    }

    proptest! {
        #[test]
        fn nodes_let_pass_at_most_a_chunk_each_beyond_the_limit(
            count in 1..400_u32,
            nodes in 1..5_usize,
            events in proptest::collection::vec(event(), 1..2_000),
        ) {
            let quota = quota(count, 100_000);
            let mut world = World::new(quota, nodes);
            let mut now = NOW;
            for event in events {
                match event {
                    Event::Send(node) => {
                        world.send(node % nodes, now);
                    }
                    Event::Settle(node) => world.begin_to_settle(node % nodes),
                    Event::Arrive(node) => world.arrive(node % nodes),
                    Event::TimePasses(by_ms) => now = now.plus_millis(by_ms),
                }
                // A burst of the count, one more for each interval since, and a chunk for each node.
                let since_us = (now.millis() - NOW.millis()) * 1_000;
                let of_limit = i64::from(count) + since_us / quota.limit().interval_us();
                let beyond = i64::try_from(nodes).unwrap() * quota.chunk();
                prop_assert!(world.passed <= of_limit + beyond, "{} passed", world.passed);
            }
        }

        #[test]
        fn one_node_keeps_the_limit_exactly(
            count in 1..200_u32,
            pauses in proptest::collection::vec(0..3_000_i64, 1..1_000),
        ) {
            let quota = quota(count, 100_000);
            let mut world = World::new(quota, 1);
            let (mut state, mut now) = (LimitState::default(), NOW);
            for pause in pauses {
                now = now.plus_millis(pause);
                let alone = quota.limit().take(state, now);
                prop_assert_eq!(world.send(0, now), alone.is_ok());
                state = alone.unwrap_or(state);
            }
        }
    }
}
