//! How fast messages go out: no more than so many a second, slower and with pauses after the message centre said that it is too
//! fast, and gradually as fast as before once it takes them again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The first pause after a throttled message; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// The distance of messages after the first throttled one, where none was set.
const SLOW: Duration = Duration::from_millis(50);
const SLOWEST: Duration = Duration::from_secs(1);
/// A message waits here so long for its turn; if it had to wait longer, it waits in the books.
const LONGEST_TURN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Pace {
    /// The distance of two messages that was set; zero where none was.
    set: Duration,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    distance: Duration,
    /// When the next message may go.
    next: Instant,
    /// How long the last pause was; zero where all is well.
    pause: Duration,
    paused_until: Instant,
}

impl Pace {
    pub(super) fn new(messages_per_second: Option<u32>, now: Instant) -> Self {
        let set = messages_per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.max(1));
        Self {
            set,
            now: Mutex::new(Now {
                distance: set,
                next: now,
                pause: Duration::ZERO,
                paused_until: now,
            }),
        }
    }

    /// When it is the turn of one more message. An error says how long it would have to wait, and reserves nothing.
    pub(super) fn turn(&self, now: Instant) -> Result<Instant, Duration> {
        let mut pace = self.lock();
        if pace.paused_until > now {
            return Err(pace.paused_until - now);
        }
        let turn = pace.next.max(now);
        if turn - now > LONGEST_TURN {
            return Err(turn - now);
        }
        pace.next = turn + pace.distance;
        Ok(turn)
    }

    /// The message centre refused a message as too fast. Says how long to wait. What else was under way at that time counts
    /// as the same event.
    pub(super) fn throttled(&self, now: Instant) -> Duration {
        let mut pace = self.lock();
        if pace.paused_until <= now {
            pace.pause = (pace.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            pace.distance = (pace.distance * 2).clamp(SLOW, SLOWEST.max(self.set));
            pace.paused_until = now + pace.pause;
            pace.next = pace.paused_until;
        }
        pace.paused_until - now
    }

    /// It took one: a little faster, as far as it was set.
    pub(super) fn accepted(&self) {
        let mut pace = self.lock();
        pace.pause /= 2;
        if pace.pause < FIRST_PAUSE / 2 {
            pace.pause = Duration::ZERO;
        }
        let faster = pace.distance * 7 / 8;
        let is_fast = faster < Duration::from_millis(2);
        pace.distance = if is_fast { self.set } else { faster.max(self.set) };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_the_distance_that_was_set() {
        let now = Instant::now();
        let pace = Pace::new(Some(10), now);
        let turns: Vec<_> = (0..6).map(|_| (pace.turn(now).unwrap() - now).as_millis()).collect();
        assert_eq!(turns, [0, 100, 200, 300, 400, 500]);
    }

    #[test]
    fn who_would_wait_longer_than_a_second_is_told_to_come_again() {
        let now = Instant::now();
        let pace = Pace::new(Some(1), now);
        let turns: Vec<_> = (0..4).map(|_| pace.turn(now)).collect();
        assert_eq!(turns[1], Ok(now + Duration::from_secs(1)));
        assert_eq!(turns[2..], [Err(Duration::from_secs(2)); 2], "nothing is reserved");
    }

    #[test]
    fn pauses_grow_while_throttling_goes_on_and_end_once_messages_are_taken() {
        let mut now = Instant::now();
        let pace = Pace::new(None, now);
        assert_eq!(pace.throttled(now), Duration::from_secs(1));
        assert_eq!(pace.throttled(now), Duration::from_secs(1), "the same event");
        assert!(pace.turn(now).is_err());
        now += Duration::from_secs(1);
        assert_eq!(pace.turn(now), Ok(now));
        assert_eq!(pace.turn(now), Ok(now + SLOW), "slower than before");
        assert_eq!(pace.throttled(now), Duration::from_secs(2));
        now += Duration::from_secs(2);
        for _ in 0..60 {
            pace.accepted();
        }
        assert_eq!(pace.lock().distance, Duration::ZERO);
        assert_eq!(pace.throttled(now), Duration::from_secs(1));
    }
}
