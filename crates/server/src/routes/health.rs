//! How well a leg does, in memory: a restart begins anew. Failures in a row open its circuit, and plans pass over it until one
//! message has shown that it works again. A leg of whose last hundred messages most failed or were refused is ailing: plans
//! pass over it, too, but for one message every ten seconds.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_core::{Detail, Timestamp};
use tokio::time::Instant;

use crate::workers::{Circuit, CircuitSettings};

/// Hand-overs that the success rate is made of.
const REMEMBERED: usize = 100;
/// A leg is ailing where less than so many percent of them succeed, of so many at least.
const AILING_PERCENT: u8 = 50;
const LEAST_FOR_A_RATE: usize = 20;
/// How often a message finds out whether an ailing leg has recovered.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// What a page or a command shows of a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LegFigures {
    /// Since the start.
    pub(crate) accepted: u64,
    /// Since the start: failures, refusals and numbers that couldn’t be reached.
    pub(crate) failed: u64,
    /// Of the last hundred, in percent; `None` of none.
    pub(crate) success_percent: Option<u8>,
    /// Whether plans pass over it since most failed of late.
    pub(crate) ailing: bool,
    /// The median of the last hundred hand-overs.
    pub(crate) latency: Option<Duration>,
    /// How long it is still passed over.
    pub(crate) rests_for: Option<Duration>,
    /// What went wrong last, and when.
    pub(crate) last_failure: Option<(Timestamp, Detail)>,
}

/// How a hand-over ended, for the leg’s health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HandoverEnd {
    /// The channel took the message.
    Accepted,
    /// The other side answered that it can’t reach this number: it works.
    CannotReach(Detail),
    /// The other side answered, and won’t take the message.
    Refused(Detail),
    /// It doesn’t work.
    Failed(Detail),
}

#[derive(Default)]
pub(crate) struct LegHealth(Mutex<State>);

struct State {
    circuit: Circuit,
    accepted: u64,
    failed: u64,
    recent: VecDeque<(bool, Duration)>,
    last_probe: Option<Instant>,
    last_failure: Option<(Timestamp, Detail)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            circuit: Circuit::new(CircuitSettings::default()),
            accepted: 0,
            failed: 0,
            recent: VecDeque::new(),
            last_probe: None,
            last_failure: None,
        }
    }
}

impl LegHealth {
    /// Whether a plan may use it. An ailing leg answers yes once in a while.
    pub(crate) fn lets_through(&self, now: Instant) -> bool {
        let mut state = self.lock();
        if !state.circuit.lets_through(now) {
            return false;
        }
        if !state.is_ailing() {
            return true;
        }
        let probes = state.last_probe.is_none_or(|last| now - last >= PROBE_INTERVAL);
        if probes {
            state.last_probe = Some(now);
        }
        probes
    }

    /// A hand-over begins. One that was planned before the leg began to rest is no probe, and its failure says nothing new.
    pub(crate) fn began(&self) {
        let mut state = self.lock();
        if state.circuit.lets_through(Instant::now()) {
            state.circuit.began();
        }
    }

    /// A hand-over ended, after so long. Answers until when the leg rests, where that opened its circuit.
    pub(crate) fn ended(&self, end: HandoverEnd, took: Duration, at: Timestamp) -> Option<Instant> {
        let mut state = self.lock();
        if !matches!(end, HandoverEnd::CannotReach(_)) {
            if state.recent.len() == REMEMBERED {
                state.recent.pop_front();
            }
            state.recent.push_back((end == HandoverEnd::Accepted, took));
        }
        match end {
            HandoverEnd::Accepted => {
                state.accepted += 1;
                state.circuit.acknowledged();
                None
            }
            HandoverEnd::CannotReach(why) | HandoverEnd::Refused(why) => {
                state.failed += 1;
                state.last_failure = Some((at, why));
                state.circuit.acknowledged();
                None
            }
            HandoverEnd::Failed(why) => {
                state.failed += 1;
                state.last_failure = Some((at, why));
                state.circuit.failed(Instant::now())
            }
        }
    }

    /// Nothing was handed over after all.
    pub(crate) fn never_began(&self) {
        self.lock().circuit.never_began(Instant::now());
    }

    /// Its figures at this moment.
    pub(crate) fn figures(&self) -> LegFigures {
        let state = self.lock();
        let now = Instant::now();
        let mut times: Vec<_> = state.recent.iter().map(|(_, took)| *took).collect();
        times.sort_unstable();
        LegFigures {
            accepted: state.accepted,
            failed: state.failed,
            success_percent: state.success_percent(),
            ailing: state.is_ailing(),
            latency: times.get(times.len() / 2).copied(),
            rests_for: state.circuit.open_until(now).map(|until| until - now),
            last_failure: state.last_failure.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_ailing(&self) -> bool {
        self.recent.len() >= LEAST_FOR_A_RATE && self.success_percent() < Some(AILING_PERCENT)
    }

    /// `None` of none.
    fn success_percent(&self) -> Option<u8> {
        let good = self.recent.iter().filter(|(good, _)| *good).count();
        let percent = (good * 100).checked_div(self.recent.len())?;
        u8::try_from(percent).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn an_ailing_leg_gets_one_message_in_a_while_until_most_succeed_again() {
        let health = LegHealth::default();
        for _ in 0..20 {
            health.ended(HandoverEnd::Refused(Detail::new("no credit")), Duration::ZERO, NOW);
        }
        let now = Instant::now();
        assert!(health.lets_through(now) && !health.lets_through(now));
        assert!(health.lets_through(now + PROBE_INTERVAL));
        for _ in 0..20 {
            health.ended(HandoverEnd::Accepted, Duration::ZERO, NOW);
        }
        assert!(health.lets_through(now) && health.lets_through(now));
    }

    #[test]
    fn a_leg_that_fails_five_times_in_a_row_rests_and_one_that_reaches_nobody_does_not() {
        let health = LegHealth::default();
        let detail = || Detail::new("no answer");
        for _ in 0..20 {
            health.ended(HandoverEnd::CannotReach(detail()), Duration::from_millis(10), NOW);
        }
        assert!(health.lets_through(Instant::now()));
        for _ in 0..4 {
            assert_eq!(health.ended(HandoverEnd::Failed(detail()), Duration::ZERO, NOW), None);
        }
        assert!(
            health
                .ended(HandoverEnd::Failed(detail()), Duration::ZERO, NOW)
                .is_some()
        );
        assert!(!health.lets_through(Instant::now()));
        let figures = health.figures();
        assert_eq!(
            (figures.accepted, figures.failed, figures.success_percent),
            (0, 25, Some(0))
        );
        assert!(figures.rests_for.is_some() && figures.last_failure == Some((NOW, detail())));
        health.ended(HandoverEnd::Accepted, Duration::from_millis(30), NOW);
        assert!(health.lets_through(Instant::now()) && health.figures().rests_for.is_none());
    }
}
