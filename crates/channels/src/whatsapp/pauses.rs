//! When not to send because Meta said that we send too much: to one number, or at all. A pause for all doubles while it goes on.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use countersign_core::PhoneNumber;
use tokio::time::Instant;

use super::lock;

/// All wait so long at most, unless Meta itself names a longer time. Then what waited comes again, and the first refusal begins the next pause.
const LONGEST_FOR_ALL: Duration = Duration::from_mins(1);
/// Numbers that are kept at a time; one more is only tried again too early.
const MAX_NUMBERS: usize = 4_096;

#[derive(Default)]
pub(super) struct Pauses(Mutex<State>);

#[derive(Default)]
struct State {
    numbers: HashMap<PhoneNumber, Instant>,
    all_until: Option<Instant>,
    /// Pauses for all since the last message that was taken.
    streak: u32,
}

impl Pauses {
    /// No message goes out for a while. Answers for how long.
    pub(super) fn all(&self, pause: Duration, asked_for: Option<Duration>) -> Duration {
        let now = Instant::now();
        let mut state = self.lock();
        // Answers to messages that went out before the pause began tell nothing new.
        let goes_on = state.all_until.is_none_or(|until| until <= now);
        let doubled = pause.saturating_mul(1 << state.streak.min(6)).min(LONGEST_FOR_ALL);
        let pause = asked_for.unwrap_or(doubled);
        if goes_on {
            state.streak = state.streak.saturating_add(1);
        }
        state.all_until = state.all_until.max(Some(now + pause));
        pause
    }

    /// No message goes to a number for a while.
    pub(super) fn number(&self, phone: PhoneNumber, pause: Duration) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.numbers.len() >= MAX_NUMBERS {
            state.numbers.retain(|_, until| *until > now);
        }
        if state.numbers.len() < MAX_NUMBERS || state.numbers.contains_key(&phone) {
            state.numbers.insert(phone, now + pause);
        }
    }

    /// A message was taken.
    pub(super) fn worked(&self) {
        self.lock().streak = 0;
    }

    /// How long nothing is to be sent to a number.
    pub(super) fn left_for(&self, phone: PhoneNumber) -> Option<Duration> {
        let state = self.lock();
        let until = state.all_until.max(state.numbers.get(&phone).copied())?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::SandboxNumbers;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn number(last: usize) -> PhoneNumber {
        PhoneNumber::parse(&format!("+39123456{last:04}"), SandboxNumbers::Refused).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_for_all_doubles_while_it_goes_on_and_is_forgotten_by_a_success() {
        let pauses = Pauses::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(pauses.all(SECOND, None), pause);
            assert_eq!(pauses.left_for(number(1)), Some(pause));
            tokio::time::advance(pause).await;
        }
        assert_eq!(pauses.left_for(number(1)), None);
        pauses.worked();
        assert_eq!(pauses.all(SECOND, None), SECOND);
        assert_eq!(pauses.all(SECOND, Some(SECOND * 90)), SECOND * 90, "as Meta says");
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_were_under_way_when_a_pause_began_do_not_lengthen_it() {
        let pauses = Pauses::default();
        pauses.all(SECOND, None);
        for _ in 0..20 {
            pauses.all(SECOND, None);
        }
        assert_eq!(pauses.left_for(number(1)), Some(SECOND * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_waits_alone_and_no_more_are_kept_than_there_is_room_for() {
        let pauses = Pauses::default();
        for last in 0..=MAX_NUMBERS {
            pauses.number(number(last), SECOND);
        }
        assert_eq!(pauses.lock().numbers.len(), MAX_NUMBERS);
        assert_eq!(pauses.left_for(number(0)), Some(SECOND));
        assert_eq!(pauses.left_for(number(MAX_NUMBERS)), None);
        tokio::time::advance(SECOND).await;
        assert_eq!(pauses.left_for(number(0)), None);
        pauses.number(number(MAX_NUMBERS), SECOND);
        assert_eq!(pauses.lock().numbers.len(), 1);
    }
}
