//! Messages that the upstream took and whose end we don't know: what was heard of each, and when to ask for it again. Bounded:
//! what doesn't fit isn't asked for, and a callback still finds its message by its payload.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::wire::{Delivery, Status};
use crate::ports::{Handle, MessageKey};

/// Messages that are kept.
const CAPACITY: usize = 50_000;
/// The pause between two questions about one message doubles up to this.
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// The last question comes so long after the message's end, when the upstream must have settled it.
const SETTLING: Duration = Duration::from_secs(5);
/// What was heard is remembered for so long after that, against reports that come twice.
const MEMORY: Duration = Duration::from_mins(2);

/// What was heard of a message, in the order in which it may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    Nothing,
    Delivered,
    Read,
    /// It expired or was revoked.
    Ended,
}

#[derive(Debug)]
struct Entry {
    message: MessageKey,
    heard: Heard,
    /// What it cost, in millionths of the upstream's unit.
    cost_micros: i64,
    refund_told: bool,
    /// The next pause between two questions.
    pause: Duration,
    /// When the last question is asked.
    ends_at: Instant,
    /// When it comes up next: for a question, or to be forgotten.
    due_at: Instant,
    asked_last: bool,
}

/// What a state tells that wasn't known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Learnt {
    /// Where the message stands now; `None` where that is no news.
    pub(super) delivery: Option<Delivery>,
    /// What was given back, in millionths of the upstream's unit; `None` where that is no news.
    pub(super) refund_micros: Option<i64>,
}

/// When a message is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// After that pause, and then in growing ones.
    Every(Duration),
    /// Once, after its life: reports come by themselves.
    AtItsEnd,
}

#[derive(Default)]
pub(super) struct UnderWay {
    entries: HashMap<Handle, Entry>,
    by_message: HashMap<MessageKey, Handle>,
    due: BTreeSet<(Instant, Handle)>,
}

impl UnderWay {
    /// Keeps a message that the upstream took; `life` is what is left of its life. What a report said already stays. Answers
    /// whether there was room.
    pub(super) fn add(
        &mut self,
        status: &Status,
        message: MessageKey,
        life: Duration,
        asking: Asking,
        now: Instant,
    ) -> bool {
        let ends_at = now + life + SETTLING;
        let (due_at, pause) = match asking {
            Asking::Every(pause) => (ends_at.min(now + pause), pause),
            Asking::AtItsEnd => (ends_at, MAX_PAUSE),
        };
        let before = self.remove(&status.handle);
        if self.entries.len() >= CAPACITY {
            return false;
        }
        let entry = Entry {
            message,
            heard: before.as_ref().map_or(Heard::Nothing, |before| before.heard),
            cost_micros: status.cost_micros.unwrap_or(0),
            refund_told: before.is_some_and(|before| before.refund_told),
            pause,
            ends_at,
            due_at,
            asked_last: false,
        };
        self.insert(status.handle.clone(), entry);
        true
    }

    /// Takes a state in. `message` is whose it is, where nothing is known of it here.
    pub(super) fn learn(&mut self, status: &Status, message: MessageKey, now: Instant) -> Learnt {
        if !self.entries.contains_key(&status.handle) && self.entries.len() < CAPACITY {
            // A report that overtook the answer to its send, or the first one after a restart: remembered against its copies.
            let ends_at = now + MEMORY;
            let entry = Entry {
                message,
                heard: Heard::Nothing,
                cost_micros: status.cost_micros.unwrap_or(0),
                refund_told: false,
                pause: MAX_PAUSE,
                ends_at,
                due_at: ends_at,
                asked_last: true,
            };
            self.insert(status.handle.clone(), entry);
        }
        let heard = match status.delivery {
            None | Some(Delivery::UnderWay) => Heard::Nothing,
            Some(Delivery::Delivered) => Heard::Delivered,
            Some(Delivery::Read) => Heard::Read,
            Some(Delivery::Expired | Delivery::Revoked) => Heard::Ended,
        };
        let cost_micros = status.cost_micros.unwrap_or(0);
        let Some(entry) = self.entries.get_mut(&status.handle) else {
            // No room: told as it came. The books tell news and costs apart from their copies.
            return Learnt {
                delivery: status.delivery.filter(|_| heard > Heard::Nothing),
                refund_micros: (status.is_refunded && cost_micros > 0).then_some(cost_micros),
            };
        };
        let delivery = status.delivery.filter(|_| heard > entry.heard);
        entry.heard = entry.heard.max(heard);
        let cost_micros = entry.cost_micros.max(cost_micros);
        let is_refund = status.is_refunded && !entry.refund_told && cost_micros > 0;
        entry.refund_told |= is_refund;
        Learnt {
            delivery,
            refund_micros: is_refund.then_some(cost_micros),
        }
    }

    /// Whose message goes by that name.
    pub(super) fn message(&self, handle: &Handle) -> Option<MessageKey> {
        self.entries.get(handle).map(|entry| entry.message)
    }

    /// The name by which a message goes.
    pub(super) fn handle(&self, message: MessageKey) -> Option<Handle> {
        self.by_message.get(&message).cloned()
    }

    /// Nothing more is to be asked of a message: it was withdrawn, or the upstream doesn't know it.
    pub(super) fn end(&mut self, handle: &Handle) {
        if let Some(entry) = self.entries.get_mut(handle) {
            entry.heard = Heard::Ended;
        }
    }

    /// When something comes up next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Up to so many messages to ask for now. Each comes up again after its pause, whatever becomes of the question.
    pub(super) fn take_due(&mut self, now: Instant, limit: usize) -> Vec<(Handle, MessageKey)> {
        let mut questions = Vec::new();
        while questions.len() < limit {
            let Some((_, handle)) = self.due.first().filter(|(at, _)| *at <= now).cloned() else {
                break;
            };
            let Some(mut entry) = self.remove(&handle) else {
                self.due.pop_first();
                continue;
            };
            let is_over = now >= entry.ends_at;
            if entry.asked_last || (is_over && entry.heard >= Heard::Read) {
                continue;
            }
            if entry.heard >= Heard::Read {
                // Nothing to ask: it stays against reports that come twice.
                entry.due_at = entry.ends_at;
            } else {
                questions.push((handle.clone(), entry.message));
                entry.asked_last = is_over;
                entry.due_at = if is_over {
                    now + MEMORY
                } else {
                    entry.ends_at.min(now + entry.pause)
                };
                entry.pause = MAX_PAUSE.min(entry.pause * 2);
            }
            self.insert(handle, entry);
        }
        questions
    }

    /// The upstream wants a pause: a message comes up again after it.
    pub(super) fn put_off(&mut self, handle: &Handle, until: Instant) {
        let Some(mut entry) = self.remove(handle) else { return };
        entry.due_at = entry.due_at.max(until);
        self.insert(handle.clone(), entry);
    }

    fn insert(&mut self, handle: Handle, entry: Entry) {
        self.due.insert((entry.due_at, handle.clone()));
        self.by_message.insert(entry.message, handle.clone());
        self.entries.insert(handle, entry);
    }

    fn remove(&mut self, handle: &Handle) -> Option<Entry> {
        let entry = self.entries.remove(handle)?;
        self.due.remove(&(entry.due_at, handle.clone()));
        if self.by_message.get(&entry.message) == Some(handle) {
            self.by_message.remove(&entry.message);
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::{AccountId, AccountKey, RequestId, Timestamp};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn message() -> MessageKey {
        MessageKey {
            account: AccountKey::of_new(AccountId::new(7).unwrap()),
            request: RequestId::new(Timestamp::from_millis(1_790_000_000_000), 1),
        }
    }

    fn status(delivery: Option<Delivery>, is_refunded: bool) -> Status {
        Status {
            handle: Handle::new("a").unwrap(),
            cost_micros: Some(10_000),
            is_refunded,
            delivery,
            message: None,
        }
    }

    fn added(asking: Asking, now: Instant) -> UnderWay {
        let mut under_way = UnderWay::default();
        assert!(under_way.add(&status(None, false), message(), 100 * SECOND, asking, now));
        under_way
    }

    #[test]
    fn questions_come_in_growing_pauses_and_once_after_the_end() {
        let begin = Instant::now();
        let mut under_way = added(Asking::Every(5 * SECOND), begin);
        let mut asked_after = Vec::new();
        while let Some(now) = under_way.next_due() {
            for _ in under_way.take_due(now, 10) {
                asked_after.push(now.duration_since(begin).as_secs());
            }
        }
        assert_eq!(asked_after, [5, 10, 20, 40, 80, 105]);
        assert_eq!((under_way.entries.len(), under_way.by_message.len()), (0, 0));
    }

    #[test]
    fn with_callbacks_there_is_one_question_at_the_end_and_none_after_final_news() {
        let now = Instant::now();
        let mut under_way = added(Asking::AtItsEnd, now);
        assert_eq!(under_way.next_due(), Some(now + 105 * SECOND));
        under_way.learn(&status(Some(Delivery::Read), false), message(), now);
        assert_eq!(under_way.take_due(now + 105 * SECOND, 10), []);
        assert_eq!(under_way.next_due(), None);
    }

    #[test]
    fn what_comes_twice_or_late_is_no_news() {
        let now = Instant::now();
        let mut under_way = added(Asking::AtItsEnd, now);
        let mut hear = |delivery| under_way.learn(&status(Some(delivery), false), message(), now).delivery;
        assert_eq!(hear(Delivery::UnderWay), None);
        assert_eq!(hear(Delivery::Read), Some(Delivery::Read));
        assert_eq!(hear(Delivery::Delivered), None);
        assert_eq!(hear(Delivery::Read), None);
    }

    #[test]
    fn a_report_that_overtakes_the_answer_to_its_send_is_no_news_afterwards() {
        let now = Instant::now();
        let mut under_way = UnderWay::default();
        let delivered = status(Some(Delivery::Delivered), false);
        assert_eq!(
            under_way.learn(&delivered, message(), now).delivery,
            Some(Delivery::Delivered)
        );
        assert!(under_way.add(&status(None, false), message(), SECOND, Asking::AtItsEnd, now));
        assert_eq!(under_way.learn(&delivered, message(), now).delivery, None);
    }

    #[test]
    fn a_refund_is_told_once() {
        let now = Instant::now();
        let mut under_way = added(Asking::AtItsEnd, now);
        let expired = status(Some(Delivery::Expired), true);
        let first = under_way.learn(&expired, message(), now);
        assert_eq!(
            (first.delivery, first.refund_micros),
            (Some(Delivery::Expired), Some(10_000))
        );
        assert_eq!(under_way.learn(&expired, message(), now), Learnt::default());
    }

    #[test]
    fn a_question_can_be_put_off() {
        let now = Instant::now();
        let mut under_way = added(Asking::Every(SECOND), now);
        let handle = under_way.handle(message()).unwrap();
        under_way.put_off(&handle, now + 30 * SECOND);
        assert_eq!(under_way.next_due(), Some(now + 30 * SECOND));
        assert_eq!(under_way.message(&handle), Some(message()));
    }
}
