//! Numbers that WhatsApp said it can't deliver to, for some hours: the next message to them goes to the next leg at once. In memory,
//! bounded; what falls out is only tried again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use countersign_core::PhoneNumber;
use tokio::time::Instant;

/// Long enough for all tries of somebody who signs up somewhere, short enough for somebody who installs WhatsApp today.
const REMEMBERED: Duration = Duration::from_hours(6);
/// Numbers that are kept: below 4 MB.
const MAX_NUMBERS: usize = 50_000;

#[derive(Default)]
pub(super) struct Unreachable {
    until: HashMap<PhoneNumber, Instant>,
    /// In the order in which they were put; a number that was put again or taken out stands here still.
    order: VecDeque<(Instant, PhoneNumber)>,
}

impl Unreachable {
    pub(super) fn put(&mut self, phone: PhoneNumber) {
        let now = Instant::now();
        while let Some((until, oldest)) = self.order.front().copied() {
            if until > now && self.order.len() < MAX_NUMBERS {
                break;
            }
            self.order.pop_front();
            if self.until.get(&oldest) == Some(&until) {
                self.until.remove(&oldest);
            }
        }
        let until = now + REMEMBERED;
        self.until.insert(phone, until);
        self.order.push_back((until, phone));
    }

    /// It can be reached after all.
    pub(super) fn remove(&mut self, phone: PhoneNumber) {
        self.until.remove(&phone);
    }

    pub(super) fn knows(&self, phone: PhoneNumber) -> bool {
        self.until.get(&phone).is_some_and(|until| *until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::SandboxNumbers;

    use super::*;

    fn number(last: usize) -> PhoneNumber {
        PhoneNumber::parse(&format!("+3912345{last:05}"), SandboxNumbers::Refused).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_is_remembered_for_hours_and_forgotten_when_it_is_heard_of() {
        let mut unreachable = Unreachable::default();
        unreachable.put(number(1));
        unreachable.put(number(2));
        assert!(unreachable.knows(number(1)) && unreachable.knows(number(2)));
        unreachable.remove(number(2));
        assert!(!unreachable.knows(number(2)));
        tokio::time::advance(REMEMBERED).await;
        assert!(!unreachable.knows(number(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_the_oldest_go_first() {
        let mut unreachable = Unreachable::default();
        for last in 0..MAX_NUMBERS + 2 {
            unreachable.put(number(last));
        }
        assert!(!unreachable.knows(number(1)));
        assert!(unreachable.knows(number(2)) && unreachable.knows(number(MAX_NUMBERS + 1)));
        // The same one again and again takes no place of others for good.
        for _ in 0..MAX_NUMBERS * 2 {
            unreachable.put(number(7));
        }
        assert_eq!((unreachable.until.len(), unreachable.order.len()), (1, MAX_NUMBERS));
    }
}
