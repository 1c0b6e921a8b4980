//! What the upstream said about numbers, for a while: who can't be reached isn't asked for again, and a fee that was paid for a
//! question is used by the next message to that number. Bounded; the oldest answer goes first.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use countersign_core::PhoneNumber;
use tokio::time::Instant;

use crate::ports::Handle;

/// Numbers that are kept.
const CAPACITY: usize = 20_000;
/// How long a request that was paid for by a question is used: the upstream takes it for an hour.
const PAID_LIFE: Duration = Duration::from_mins(55);
/// How long a number that can't be reached isn't asked for again: soon after somebody joins, they are found.
const UNREACHABLE_LIFE: Duration = Duration::from_mins(10);

/// What is known of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// It can be reached, and the upstream's request of that name is paid for; a message can be sent on it once.
    Paid(Handle),
    /// It can't be reached.
    Unreachable,
}

impl Known {
    const fn life(&self) -> Duration {
        match self {
            Self::Paid(_) => PAID_LIFE,
            Self::Unreachable => UNREACHABLE_LIFE,
        }
    }
}

#[derive(Default)]
pub(super) struct Answers {
    known: HashMap<PhoneNumber, (Known, Instant)>,
    /// Every answer that was put in, oldest first; some aren't known any more.
    order: VecDeque<(PhoneNumber, Instant)>,
}

impl Answers {
    /// Keeps an answer that came at that time.
    pub(super) fn put(&mut self, phone: PhoneNumber, known: Known, at: Instant) {
        self.known.insert(phone, (known, at));
        self.order.push_back((phone, at));
        while let Some((oldest, put_at)) = self.order.front().copied() {
            if self.order.len() <= CAPACITY && at.duration_since(put_at) < PAID_LIFE {
                break;
            }
            self.order.pop_front();
            // A later answer about the same number stays.
            if self.known.get(&oldest).is_some_and(|(_, at)| *at == put_at) {
                self.known.remove(&oldest);
            }
        }
    }

    /// What is known of a number.
    pub(super) fn find(&self, phone: PhoneNumber, now: Instant) -> Option<&Known> {
        let (known, at) = self.known.get(&phone)?;
        (now.duration_since(*at) < known.life()).then_some(known)
    }

    /// Takes the paid request of a number: nobody else gets it. With the time of its answer, to be put back with.
    pub(super) fn take_paid(&mut self, phone: PhoneNumber, now: Instant) -> Option<(Handle, Instant)> {
        let Some(Known::Paid(_)) = self.find(phone, now) else {
            return None;
        };
        match self.known.remove(&phone) {
            Some((Known::Paid(handle), at)) => Some((handle, at)),
            _ => None,
        }
    }

    /// Puts a paid request back that no message was sent on, unless something newer is known.
    pub(super) fn put_back(&mut self, phone: PhoneNumber, handle: Handle, at: Instant) {
        // Its place in the order is still there, or it is too old to be kept.
        if self.order.iter().any(|place| *place == (phone, at)) {
            self.known.entry(phone).or_insert((Known::Paid(handle), at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: PhoneNumber = PhoneNumber::from_stored(391_234_567_890);

    fn paid(name: &str) -> Known {
        Known::Paid(Handle::new(name).unwrap())
    }

    #[test]
    fn a_paid_request_is_taken_once_and_can_be_put_back() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        answers.put(PHONE, paid("a"), now);
        let (handle, at) = answers.take_paid(PHONE, now).unwrap();
        assert_eq!(answers.take_paid(PHONE, now), None);
        answers.put_back(PHONE, handle.clone(), at);
        assert_eq!(answers.take_paid(PHONE, now), Some((handle, at)));
    }

    #[test]
    fn what_was_put_back_replaces_nothing_newer() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        answers.put(PHONE, paid("a"), now);
        let (handle, at) = answers.take_paid(PHONE, now).unwrap();
        answers.put(PHONE, paid("b"), now + Duration::from_secs(1));
        answers.put_back(PHONE, handle, at);
        assert_eq!(answers.find(PHONE, now + Duration::from_secs(1)), Some(&paid("b")));
    }

    #[test]
    fn each_answer_has_its_own_life() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        answers.put(PHONE, Known::Unreachable, now);
        assert_eq!(answers.find(PHONE, now + UNREACHABLE_LIFE), None);
        answers.put(PHONE, paid("a"), now);
        assert!(answers.find(PHONE, now + UNREACHABLE_LIFE).is_some());
        assert_eq!(answers.find(PHONE, now + PAID_LIFE), None);
        assert_eq!(answers.take_paid(PHONE, now + PAID_LIFE), None);
    }

    #[test]
    fn the_oldest_answers_make_room() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        for number in 0..=u64::try_from(CAPACITY).unwrap() {
            answers.put(
                PhoneNumber::from_stored(1_000_000_000 + number),
                Known::Unreachable,
                now,
            );
        }
        assert_eq!(answers.find(PhoneNumber::from_stored(1_000_000_000), now), None);
        assert_eq!((answers.known.len(), answers.order.len()), (CAPACITY, CAPACITY));
        answers.put(PHONE, paid("a"), now + PAID_LIFE);
        assert_eq!((answers.known.len(), answers.order.len()), (1, 1));
    }
}
