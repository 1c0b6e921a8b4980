//! Questions to whoever holds a phone: who signs in, and whether that is them. Few, short-lived and bounded; they aren't in the
//! ring of messages, since nothing of them is delivered, read or billed.

use std::collections::VecDeque;

use countersign_core::{PhoneNumber, Timestamp};

use crate::LoginPrompt;

/// The most questions in all; the oldest goes.
const CAPACITY: usize = 1_000;
/// The most questions of one number; its oldest goes.
const OF_A_NUMBER: usize = 5;

/// The questions, the oldest first.
#[derive(Default)]
pub(super) struct Logins(VecDeque<LoginPrompt>);

impl Logins {
    pub(super) fn insert(&mut self, prompt: LoginPrompt) {
        let now = prompt.at;
        self.0
            .retain(|old| old.expires_at > now && old.attempt != prompt.attempt);
        let same = |old: &LoginPrompt| old.phone == prompt.phone;
        if self.0.iter().filter(|old| same(old)).count() >= OF_A_NUMBER
            && let Some(oldest) = self.0.iter().position(same)
        {
            self.0.remove(oldest);
        }
        if self.0.len() >= CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(prompt);
    }

    /// Takes one away; answers whose it was.
    pub(super) fn remove(&mut self, attempt: i64) -> Option<PhoneNumber> {
        let place = self.0.iter().position(|prompt| prompt.attempt == attempt)?;
        self.0.remove(place).map(|prompt| prompt.phone)
    }

    /// Those that can still be answered, of one number or of all, the oldest first.
    pub(super) fn standing(&self, phone: Option<PhoneNumber>, now: Timestamp) -> Vec<LoginPrompt> {
        let wanted = |prompt: &&LoginPrompt| prompt.expires_at > now && phone.is_none_or(|phone| prompt.phone == phone);
        self.0.iter().filter(wanted).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::Code;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn prompt(attempt: i64, phone: u64, at: Timestamp) -> LoginPrompt {
        LoginPrompt {
            attempt,
            phone: PhoneNumber::from_stored(phone),
            code: Code::parse("123456").unwrap(),
            device: "Firefox on Linux".to_owned(),
            address: "192.0.2.1".to_owned(),
            at,
            expires_at: at.plus_millis(600_000),
        }
    }

    fn attempts(logins: &Logins, phone: Option<u64>, now: Timestamp) -> Vec<i64> {
        let found = logins.standing(phone.map(PhoneNumber::from_stored), now);
        found.iter().map(|prompt| prompt.attempt).collect()
    }

    #[test]
    fn a_question_stands_until_it_is_answered_or_its_time_is_over() {
        let mut logins = Logins::default();
        logins.insert(prompt(1, 391, NOW));
        logins.insert(prompt(2, 392, NOW.plus_millis(1)));
        assert_eq!(attempts(&logins, None, NOW), [1, 2]);
        assert_eq!(attempts(&logins, Some(392), NOW), [2]);
        assert_eq!(logins.remove(2), Some(PhoneNumber::from_stored(392)));
        assert_eq!(logins.remove(2), None);
        assert_eq!(attempts(&logins, None, NOW.plus_millis(599_999)), [1]);
        assert!(attempts(&logins, None, NOW.plus_millis(600_000)).is_empty());
    }

    #[test]
    fn memory_is_bounded_by_number_and_in_all() {
        let mut logins = Logins::default();
        for attempt in 0..20 {
            logins.insert(prompt(attempt, 391, NOW));
        }
        assert_eq!(attempts(&logins, None, NOW), [15, 16, 17, 18, 19]);
        for attempt in 100..2_100 {
            logins.insert(prompt(attempt, attempt.unsigned_abs(), NOW));
        }
        let kept = attempts(&logins, None, NOW);
        assert_eq!((kept.len(), kept[0]), (CAPACITY, 1_100));
        logins.insert(prompt(9, 391, NOW.plus_millis(600_000)));
        assert_eq!(logins.0.len(), 1);
    }
}
