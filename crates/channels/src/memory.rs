//! What this process remembers of messages that went out by `sms_http` and `webhook`: whose a name of the other side's is before the
//! books know it, and what a phone's *NO* is about. Bounded: the oldest are forgotten first. After a restart it is empty.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_core::{PhoneNumber, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ports::{Handle, MessageKey};

/// Messages that are remembered.
const CAPACITY: usize = 20_000;
/// News that came before the answer to its send waits for that so long.
const EARLY: Duration = Duration::from_secs(5);
/// Names of phones' messages that are remembered against their copies.
const MAX_HEARD: usize = 4_096;

/// What was sent to a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A code of a verification request.
    Message(MessageKey),
    /// The code of a sign-in, by its attempt.
    Login(i64),
}

#[derive(Default)]
pub(crate) struct Memory {
    inner: Mutex<Inner>,
    /// Something was answered.
    changed: Notify,
}

/// A send whose answer is awaited.
pub(crate) struct Awaited<'a> {
    memory: &'a Memory,
    number: u64,
}

#[derive(Default)]
struct Inner {
    by_handle: HashMap<Handle, Subject>,
    /// What was sent last to a number, and until when it lives.
    last: HashMap<PhoneNumber, (u64, Subject, Timestamp)>,
    order: VecDeque<(u64, PhoneNumber, Option<Handle>)>,
    /// Sends without an answer, numbered in their order.
    awaited: BTreeSet<u64>,
    next: u64,
    heard: VecDeque<Handle>,
}

impl Memory {
    /// A send is about to go out.
    pub(crate) fn await_answer(&self) -> Awaited<'_> {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        inner.awaited.insert(number);
        drop(inner);
        Awaited { memory: self, number }
    }

    /// Something was sent, or is about to be: under that name, where it has one.
    pub(crate) fn sent(&self, subject: Subject, phone: PhoneNumber, handle: Option<Handle>, ends_at: Timestamp) {
        let mut inner = self.lock();
        if inner.order.len() >= CAPACITY {
            inner.forget_oldest();
        }
        let number = inner.next;
        inner.next += 1;
        inner.last.insert(phone, (number, subject, ends_at));
        if let Some(handle) = &handle {
            inner.by_handle.insert(handle.clone(), subject);
        }
        inner.order.push_back((number, phone, handle));
    }

    /// What goes by that name. Where an answer is awaited that could bring the name, it is waited for, but not for long.
    pub(crate) async fn find(&self, handle: &Handle) -> Option<Subject> {
        let deadline = Instant::now() + EARLY;
        let begun = self.lock().next;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no answer is missed.
            changed.as_mut().enable();
            {
                let inner = self.lock();
                if let Some(subject) = inner.by_handle.get(handle) {
                    return Some(*subject);
                }
                // Nothing is awaited that could bring it: it is nobody's.
                inner.awaited.range(..begun).next()?;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return None;
            }
        }
    }

    /// Whether the answer to a send is still to come.
    pub(crate) fn is_awaiting(&self) -> bool {
        !self.lock().awaited.is_empty()
    }

    /// What a phone answers to: the last thing sent there, while it lives.
    pub(crate) fn last_to(&self, phone: PhoneNumber, now: Timestamp) -> Option<Subject> {
        let inner = self.lock();
        let last = inner.last.get(&phone).filter(|(_, _, ends_at)| *ends_at > now);
        last.map(|(_, subject, _)| *subject)
    }

    /// Whether a phone's message of that name was heard before.
    pub(crate) fn was_heard(&self, name: &Handle) -> bool {
        self.lock().heard.iter().any(|heard| heard == name)
    }

    /// A phone's message was heard and what it wants was done.
    pub(crate) fn heard(&self, name: Handle) {
        let mut inner = self.lock();
        if inner.heard.len() >= MAX_HEARD {
            inner.heard.pop_front();
        }
        inner.heard.push_back(name);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.memory.lock().awaited.remove(&self.number);
        self.memory.changed.notify_waiters();
    }
}

impl Inner {
    fn forget_oldest(&mut self) {
        let Some((number, phone, handle)) = self.order.pop_front() else {
            return;
        };
        if self.last.get(&phone).is_some_and(|(of, ..)| *of == number) {
            self.last.remove(&phone);
        }
        if let Some(handle) = handle {
            self.by_handle.remove(&handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::SandboxNumbers;

    use super::*;

    const ENDS: Timestamp = Timestamp::from_millis(1_000);

    fn phone() -> PhoneNumber {
        PhoneNumber::parse("+4915123456789", SandboxNumbers::Refused).unwrap()
    }

    fn handle(name: &str) -> Handle {
        Handle::new(name).unwrap()
    }

    #[test]
    fn a_phone_answers_to_the_last_message_while_that_lives() {
        let memory = Memory::default();
        memory.sent(Subject::Login(1), phone(), None, ENDS);
        memory.sent(Subject::Login(2), phone(), None, ENDS);
        let at = |millis| memory.last_to(phone(), Timestamp::from_millis(millis));
        assert_eq!((at(999), at(1_000)), (Some(Subject::Login(2)), None));
    }

    #[tokio::test]
    async fn the_oldest_message_is_forgotten_and_nothing_else() {
        let memory = Memory::default();
        for number in 0..=CAPACITY {
            let attempt = i64::try_from(number).unwrap();
            memory.sent(
                Subject::Login(attempt),
                phone(),
                Some(handle(&format!("h{number}"))),
                ENDS,
            );
        }
        assert_eq!(memory.find(&handle("h0")).await, None);
        assert_eq!(memory.find(&handle("h1")).await, Some(Subject::Login(1)));
        assert!(memory.last_to(phone(), Timestamp::from_millis(0)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn news_before_its_answer_waits_for_it_and_only_for_sends_before_it() {
        let memory = Memory::default();
        assert_eq!(memory.find(&handle("a")).await, None, "nothing is awaited");
        let awaited = memory.await_answer();
        let answer = async {
            tokio::task::yield_now().await;
            let _later = memory.await_answer();
            memory.sent(Subject::Login(1), phone(), Some(handle("a")), ENDS);
            drop(awaited);
        };
        let name = handle("a");
        let (found, ()) = tokio::join!(memory.find(&name), answer);
        assert_eq!(found, Some(Subject::Login(1)));
        let _never = memory.await_answer();
        assert_eq!(memory.find(&handle("b")).await, None, "not for ever");
    }
}
