//! Whether a destination is tried at all: after several failures in a row its circuit opens, and only one probe after each
//! growing cool-down finds out whether it answers again. Pure book-keeping.

use std::time::Duration;

use tokio::time::Instant;

/// When circuits open, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitSettings {
    /// The failure in a row that opens it.
    pub failures: u32,
    /// The first cool-down; each failed probe doubles it.
    pub first_cool_down: Duration,
    /// The longest.
    pub longest_cool_down: Duration,
}

impl Default for CircuitSettings {
    /// 5 failures; 5 s, growing to 5 min: a receiver that comes back waits at most that long.
    fn default() -> Self {
        Self {
            failures: 5,
            first_cool_down: Duration::from_secs(5),
            longest_cool_down: Duration::from_mins(5),
        }
    }
}

/// The circuit of one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Circuit {
    settings: CircuitSettings,
    state: State,
    cool_down: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Attempts go; so many failed in a row.
    Closed { failures: u32 },
    /// None goes before this time; then one.
    Open { until: Instant },
    /// One is under way to find out.
    Probing,
}

impl Circuit {
    pub(crate) const fn new(settings: CircuitSettings) -> Self {
        Self {
            settings,
            state: State::Closed { failures: 0 },
            cool_down: settings.first_cool_down,
        }
    }

    /// Whether an attempt may begin.
    pub(crate) fn lets_through(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } => until <= now,
            State::Probing => false,
        }
    }

    /// Until when nothing goes; `None` where something may, or is about to show it.
    pub(crate) fn open_until(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Open { until } if until > now => Some(until),
            _ => None,
        }
    }

    /// Whether only a probe may go.
    pub(crate) const fn wants_probe(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    /// Whether it has nothing to remember.
    pub(crate) const fn is_pristine(&self) -> bool {
        matches!(self.state, State::Closed { failures: 0 })
    }

    /// An attempt begins; it was let through.
    pub(crate) const fn began(&mut self) {
        if self.wants_probe() {
            self.state = State::Probing;
        }
    }

    /// An attempt was acknowledged. Answers whether that closed it.
    pub(crate) const fn acknowledged(&mut self) -> bool {
        let was_open = self.wants_probe();
        *self = Self::new(self.settings);
        was_open
    }

    /// An attempt failed. Answers until when nothing goes, where that opened it.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Closed { failures } if failures + 1 < self.settings.failures => {
                self.state = State::Closed { failures: failures + 1 };
                return None;
            }
            State::Closed { .. } => self.cool_down = self.settings.first_cool_down,
            // It began before the circuit opened, and says nothing new.
            State::Open { .. } => return None,
            State::Probing => self.cool_down = (self.cool_down * 2).min(self.settings.longest_cool_down),
        }
        let until = now + self.cool_down;
        self.state = State::Open { until };
        Some(until)
    }

    /// Nothing was sent after all: what was to be found out is still unknown.
    pub(crate) fn never_began(&mut self, now: Instant) {
        if self.state == State::Probing {
            self.state = State::Open { until: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: CircuitSettings = CircuitSettings {
        failures: 3,
        first_cool_down: Duration::from_secs(5),
        longest_cool_down: Duration::from_secs(18),
    };

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::new(SETTINGS);
        assert_eq!((circuit.failed(now), circuit.failed(now)), (None, None));
        assert_eq!(circuit.failed(now), Some(now + Duration::from_secs(5)));
        circuit
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let now = Instant::now();
        let mut circuit = Circuit::new(SETTINGS);
        for _ in 0..10 {
            assert_eq!((circuit.failed(now), circuit.failed(now)), (None, None));
            assert!(!circuit.acknowledged() && circuit.lets_through(now));
        }
        assert!(circuit.is_pristine());
        assert!(!opened(now).lets_through(now));
    }

    #[test]
    fn one_probe_goes_after_a_cool_down_that_doubles_up_to_its_bound() {
        let mut now = Instant::now();
        let mut circuit = opened(now);
        for cool_down in [5, 10, 18, 18] {
            let until = now + Duration::from_secs(cool_down);
            assert_eq!(circuit.open_until(now), Some(until));
            assert!(!circuit.lets_through(until.checked_sub(Duration::from_millis(1)).unwrap()));
            assert!(circuit.lets_through(until));
            circuit.began();
            assert!(!circuit.lets_through(until) && circuit.open_until(until).is_none());
            assert!(circuit.failed(until).is_some());
            // Others that began long ago fail too.
            assert_eq!(circuit.failed(until), None);
            now = until;
        }
        circuit.began();
        assert!(circuit.acknowledged() && circuit.is_pristine());
        assert_eq!(opened(now).open_until(now), Some(now + Duration::from_secs(5)));
    }

    #[test]
    fn a_probe_that_never_began_leaves_the_next_one_to_go() {
        let now = Instant::now();
        let mut circuit = opened(now);
        circuit.began();
        circuit.never_began(now);
        assert!(circuit.lets_through(now) && circuit.wants_probe());
    }
}
