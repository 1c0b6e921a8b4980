//! When not to call the upstream because it asked for a pause (`FLOOD_WAIT_n`). It doesn't say whom it means: a number that got too
//! many messages, or the whole account. So it means the number at first, or else whoever floods one number would hold up
//! everybody's messages. Once it says the same of another number, with no success in between, all wait, for a shorter time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use countersign_core::PhoneNumber;
use tokio::time::Instant;

use super::lock;

/// All wait so long at most; then one message tries whether it is over.
const LONGEST_FOR_ALL: Duration = Duration::from_mins(1);
/// Numbers that are kept at a time; one more is only tried again too early.
const MAX_NUMBERS: usize = 4_096;

#[derive(Default)]
pub(super) struct Floods(Mutex<State>);

#[derive(Default)]
struct State {
    numbers: HashMap<PhoneNumber, Instant>,
    all_until: Option<Instant>,
    /// Which number it was said of last, since the last success.
    last: Option<PhoneNumber>,
}

impl Floods {
    /// The upstream asked for a pause when it was called for a number.
    pub(super) fn asked_for(&self, phone: PhoneNumber, pause: Duration) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.numbers.len() >= MAX_NUMBERS {
            state.numbers.retain(|_, until| *until > now);
        }
        if state.numbers.len() < MAX_NUMBERS || state.numbers.contains_key(&phone) {
            state.numbers.insert(phone, now + pause);
        }
        if state.last.is_some_and(|last| last != phone) {
            let until = now + pause.min(LONGEST_FOR_ALL);
            state.all_until = state.all_until.max(Some(until));
        }
        state.last = Some(phone);
    }

    /// The upstream took something.
    pub(super) fn worked(&self) {
        self.lock().last = None;
    }

    /// How long it isn't to be called for a number.
    pub(super) fn left_for(&self, phone: PhoneNumber) -> Option<Duration> {
        let state = self.lock();
        let until = state.all_until.max(state.numbers.get(&phone).copied());
        rest(until)
    }

    /// How long it isn't to be called at all.
    pub(super) fn left_for_all(&self) -> Option<Duration> {
        rest(self.lock().all_until)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

fn rest(until: Option<Instant>) -> Option<Duration> {
    let left = until?.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use countersign_core::SandboxNumbers;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(100);

    fn number(last: usize) -> PhoneNumber {
        PhoneNumber::parse(&format!("+39123456{last:04}"), SandboxNumbers::Refused).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flooded_number_waits_alone() {
        let floods = Floods::default();
        floods.asked_for(number(1), PAUSE);
        floods.asked_for(number(1), PAUSE);
        assert_eq!(floods.left_for(number(1)), Some(PAUSE));
        assert_eq!((floods.left_for(number(2)), floods.left_for_all()), (None, None));
        floods.worked();
        floods.asked_for(number(2), PAUSE);
        assert_eq!(floods.left_for_all(), None, "something was sent in between");
        tokio::time::advance(PAUSE).await;
        assert_eq!(floods.left_for(number(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn all_wait_once_two_numbers_were_refused_in_a_row_but_not_for_long() {
        let floods = Floods::default();
        floods.asked_for(number(1), PAUSE);
        floods.asked_for(number(2), PAUSE);
        assert_eq!(floods.left_for(number(3)), Some(LONGEST_FOR_ALL));
        assert_eq!(floods.left_for(number(2)), Some(PAUSE));
        tokio::time::advance(LONGEST_FOR_ALL).await;
        assert_eq!((floods.left_for(number(3)), floods.left_for_all()), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_numbers_are_kept_than_there_is_room_for() {
        let floods = Floods::default();
        for last in 0..=MAX_NUMBERS {
            floods.asked_for(number(last), PAUSE);
        }
        assert_eq!(floods.lock().numbers.len(), MAX_NUMBERS);
        tokio::time::advance(PAUSE).await;
        floods.asked_for(number(MAX_NUMBERS), PAUSE);
        assert_eq!(floods.lock().numbers.len(), 1);
    }
}
