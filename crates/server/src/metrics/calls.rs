//! Calls of the Gateway methods, counted as they are answered: two additions to atomics a call, no lock and no allocation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::text::{Exposition, Kind, seconds};
use crate::api::outcome::Outcome;

/// Upper bounds of the histogram in microseconds, with their names in seconds. The promised p99 of a send is 250 ms under overload.
const BOUNDS: [(u64, &str); 12] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (10_000_000, "10"),
];

/// The methods that are counted, in the order of their places; the last stands for every path that is no method.
const METHODS: [&str; 6] = [
    "sendVerificationMessage",
    "checkSendAbility",
    "checkVerificationStatus",
    "revokeVerificationMessage",
    "resendVerificationMessage",
    "unknown",
];

const CALLS: &str = "countersign_calls_total";
const TOOK: &str = "countersign_call_duration_seconds";

/// A call that is being answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    place: usize,
    began: Instant,
}

impl Call {
    /// Begins now. `None`: no method was asked for.
    pub(crate) fn of(method: Option<&str>) -> Self {
        let place = METHODS.iter().position(|known| Some(*known) == method);
        Self {
            place: place.unwrap_or(METHODS.len() - 1),
            began: Instant::now(),
        }
    }
}

/// The calls of one method.
#[derive(Default)]
struct Counted {
    outcomes: [AtomicU64; Outcome::COUNT],
    /// Those that took at most each bound and more than the one before; the last place has those above all.
    took: [AtomicU64; BOUNDS.len() + 1],
    took_us: AtomicU64,
}

/// All calls since the start.
#[derive(Default)]
pub(crate) struct Calls([Counted; METHODS.len()]);

impl Calls {
    /// A call was answered.
    pub(crate) fn answered(&self, call: Call, outcome: Outcome) {
        self.note(call.place, outcome, call.began.elapsed());
    }

    fn note(&self, place: usize, outcome: Outcome, took: Duration) {
        let Some(counted) = self.0.get(place) else { return };
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS
            .iter()
            .position(|(bound, _)| us <= *bound)
            .unwrap_or(BOUNDS.len());
        counted.outcomes[outcome.index()].fetch_add(1, Ordering::Relaxed);
        counted.took[bucket].fetch_add(1, Ordering::Relaxed);
        counted.took_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Writes them down. Outcomes that never came are left out, but for `OK`: a rate needs a series to begin with.
    pub(super) fn expose(&self, to: &mut Exposition) {
        to.family(CALLS, Kind::Counter, "Calls of Gateway methods, by method and outcome.");
        for (method, counted) in METHODS.iter().zip(&self.0) {
            for (word, count) in Outcome::all().iter().zip(&counted.outcomes) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 || (*word == "OK" && *method != "unknown") {
                    to.sample(CALLS, &[("method", method), ("outcome", word)], count);
                }
            }
        }
        to.family(
            TOOK,
            Kind::Histogram,
            "From a call's head to its answer, by method; the books' commit is in it.",
        );
        for (method, counted) in METHODS.iter().zip(&self.0) {
            let took = counted.took.each_ref().map(|count| count.load(Ordering::Relaxed));
            let mut so_far = 0;
            let up_to = BOUNDS.iter().zip(took).map(|((_, name), count)| {
                so_far += count;
                (name, so_far)
            });
            let sum = seconds(counted.took_us.load(Ordering::Relaxed));
            to.histogram(TOOK, &[("method", method)], up_to, took.iter().sum(), sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::response::Response;

    use super::*;

    #[test]
    fn calls_are_counted_by_outcome_and_duration() {
        let calls = Calls::default();
        let ok = Outcome::of(&Ok(Response::default()));
        calls.note(0, ok, Duration::from_millis(1));
        calls.note(0, ok, Duration::from_secs(11));
        let mut to = Exposition::default();
        calls.expose(&mut to);
        let text = to.into_text();
        for line in [
            "countersign_calls_total{method=\"sendVerificationMessage\",outcome=\"OK\"} 2\n",
            "_bucket{method=\"sendVerificationMessage\",le=\"0.001\"} 1\n",
            "_bucket{method=\"sendVerificationMessage\",le=\"10\"} 1\n",
            "_bucket{method=\"sendVerificationMessage\",le=\"+Inf\"} 2\n",
            "_sum{method=\"sendVerificationMessage\"} 11.001000\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
