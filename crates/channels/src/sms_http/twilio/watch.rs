//! Messages that Twilio took: what was heard of each, and when to ask for it again: what became of it, and what it cost, which
//! Twilio knows only a while after. Bounded: what doesn't fit isn't asked for.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::ports::{Handle, MessageKey};

/// Messages that are kept.
const CAPACITY: usize = 50_000;
/// The pause between two questions doubles up to this while the message lives.
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// Where callbacks come, the first question comes so long after the message's end.
const SETTLING: Duration = Duration::from_secs(5);
/// The first question for the price comes so long after the final news; the pauses double.
const PRICE_AFTER: Duration = Duration::from_secs(10);
/// Questions once the message's life is over or its fate is known. The last comes after about ten minutes, or half an hour.
const LAST_QUESTIONS: u8 = 6;
/// A message of which all is known is remembered for so long, against copies of callbacks.
const MEMORY: Duration = Duration::from_mins(10);

/// Where a message stands, in the order in which it may come: an arrival after a failure is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stand {
    /// On its way, or a word that we don't know.
    UnderWay,
    Failed,
    Delivered,
    Read,
}

#[derive(Debug)]
struct Entry {
    /// `None`: a sign-in's.
    message: Option<MessageKey>,
    stand: Stand,
    price_known: bool,
    /// The next pause between two questions.
    pause: Duration,
    ends_at: Instant,
    due_at: Instant,
    questions_left: u8,
}

impl Entry {
    fn is_done(&self) -> bool {
        self.price_known && (self.message.is_none() || self.stand > Stand::UnderWay)
    }
}

/// What was said of a message that wasn't known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Learnt {
    pub(super) is_news: bool,
    pub(super) is_price_news: bool,
    /// Somebody should look when the next question is due.
    pub(super) is_due_earlier: bool,
}

pub(super) struct Watch {
    /// Whether prices are asked for.
    prices: bool,
    entries: HashMap<Handle, Entry>,
    due: BTreeSet<(Instant, Handle)>,
}

impl Watch {
    pub(super) fn new(prices: bool) -> Self {
        Self {
            prices,
            entries: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// Keeps a message that was taken; `poll` is the first pause where its fate is asked for, `None` where callbacks tell it. What a
    /// callback said already stays. Answers whether there was room.
    pub(super) fn add(
        &mut self,
        handle: &Handle,
        message: Option<MessageKey>,
        life: Duration,
        poll: Option<Duration>,
        now: Instant,
    ) -> bool {
        if self.entries.contains_key(handle) {
            return true;
        }
        if self.entries.len() >= CAPACITY {
            return false;
        }
        let ends_at = now + life + SETTLING;
        let pause = poll.unwrap_or(MAX_PAUSE);
        let due_at = poll.map_or(ends_at, |poll| ends_at.min(now + poll));
        self.insert(
            handle.clone(),
            Entry {
                message,
                stand: Stand::UnderWay,
                price_known: !self.prices,
                pause,
                ends_at,
                due_at,
                questions_left: LAST_QUESTIONS,
            },
        );
        true
    }

    /// Takes in what was said of a message, by whoever it was said.
    pub(super) fn learn(
        &mut self,
        handle: &Handle,
        message: Option<MessageKey>,
        stand: Stand,
        has_price: bool,
        now: Instant,
    ) -> Learnt {
        let known = self.remove(handle);
        if known.is_none() && self.entries.len() >= CAPACITY {
            // The books tell news and costs apart from their copies.
            return Learnt {
                is_news: stand > Stand::UnderWay,
                is_price_news: has_price,
                is_due_earlier: false,
            };
        }
        // A callback that overtook the answer to its send, or of a message of before the restart.
        let mut entry = known.unwrap_or(Entry {
            message,
            stand: Stand::UnderWay,
            price_known: !self.prices,
            pause: MAX_PAUSE,
            ends_at: now,
            due_at: now + MEMORY,
            questions_left: LAST_QUESTIONS,
        });
        let learnt = Learnt {
            is_news: stand > entry.stand,
            is_price_news: has_price && !entry.price_known,
            is_due_earlier: stand > Stand::UnderWay && entry.stand == Stand::UnderWay,
        };
        entry.stand = entry.stand.max(stand);
        entry.price_known |= has_price;
        if entry.is_done() {
            entry.due_at = now + MEMORY;
        } else if learnt.is_due_earlier {
            entry.ends_at = now;
            entry.pause = PRICE_AFTER * 2;
            entry.due_at = now + PRICE_AFTER;
        }
        self.insert(handle.clone(), entry);
        learnt
    }

    /// Twilio doesn't know the message.
    pub(super) fn forget(&mut self, handle: &Handle) {
        self.remove(handle);
    }

    /// When something comes up next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Up to so many messages to ask for now. Each comes up again after its pause, whatever becomes of the question.
    pub(super) fn take_due(&mut self, now: Instant, limit: usize) -> Vec<(Handle, Option<MessageKey>)> {
        let mut questions = Vec::new();
        while questions.len() < limit {
            let Some((_, handle)) = self.due.first().filter(|(at, _)| *at <= now).cloned() else {
                break;
            };
            let Some(mut entry) = self.remove(&handle) else {
                self.due.pop_first();
                continue;
            };
            if entry.is_done() || entry.questions_left == 0 {
                continue;
            }
            questions.push((handle.clone(), entry.message));
            if now < entry.ends_at {
                entry.due_at = entry.ends_at.min(now + entry.pause);
                entry.pause = MAX_PAUSE.min(entry.pause * 2);
            } else {
                entry.questions_left -= 1;
                entry.due_at = now + entry.pause;
                entry.pause *= 2;
            }
            self.insert(handle, entry);
        }
        questions
    }

    /// A pause is wanted: a message comes up again after it.
    pub(super) fn put_off(&mut self, handle: &Handle, until: Instant) {
        let Some(mut entry) = self.remove(handle) else { return };
        entry.due_at = entry.due_at.max(until);
        self.insert(handle.clone(), entry);
    }

    fn insert(&mut self, handle: Handle, entry: Entry) {
        self.due.insert((entry.due_at, handle.clone()));
        self.entries.insert(handle, entry);
    }

    fn remove(&mut self, handle: &Handle) -> Option<Entry> {
        let entry = self.entries.remove(handle)?;
        self.due.remove(&(entry.due_at, handle.clone()));
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

    fn handle() -> Handle {
        Handle::new("SM1").unwrap()
    }

    fn watch(prices: bool, poll: Option<Duration>, now: Instant) -> Watch {
        let mut watch = Watch::new(prices);
        assert!(watch.add(&handle(), Some(message()), 100 * SECOND, poll, now));
        watch
    }

    fn questions(watch: &mut Watch, begin: Instant) -> Vec<u64> {
        let mut asked_after = Vec::new();
        while let Some(now) = watch.next_due() {
            for _ in watch.take_due(now, 10) {
                asked_after.push(now.duration_since(begin).as_secs());
            }
        }
        asked_after
    }

    #[test]
    fn questions_come_in_growing_pauses_and_end_a_while_after_the_messages_life() {
        let begin = Instant::now();
        let mut watch = watch(true, Some(5 * SECOND), begin);
        assert_eq!(
            questions(&mut watch, begin),
            [5, 10, 20, 40, 80, 105, 165, 285, 525, 1_005, 1_965]
        );
        assert!(watch.entries.is_empty());
    }

    #[test]
    fn with_callbacks_the_first_question_comes_after_the_messages_life() {
        let begin = Instant::now();
        let mut watch = watch(true, None, begin);
        assert_eq!(questions(&mut watch, begin).first(), Some(&105));
    }

    #[test]
    fn after_the_final_news_only_the_price_is_asked_for_until_it_is_known() {
        let begin = Instant::now();
        let mut watch = watch(true, None, begin);
        let learnt = watch.learn(&handle(), Some(message()), Stand::Delivered, false, begin);
        assert!(learnt.is_news && learnt.is_due_earlier && !learnt.is_price_news);
        assert_eq!(watch.next_due(), Some(begin + 10 * SECOND));
        assert_eq!(watch.take_due(begin + 10 * SECOND, 1).len(), 1);
        assert_eq!(watch.next_due(), Some(begin + 30 * SECOND));
        let learnt = watch.learn(&handle(), Some(message()), Stand::Delivered, true, begin + 10 * SECOND);
        assert!(!learnt.is_news && learnt.is_price_news);
        assert!(
            !watch
                .learn(&handle(), Some(message()), Stand::Delivered, true, begin)
                .is_price_news
        );
        assert_eq!(questions(&mut watch, begin), [0_u64; 0]);
    }

    #[test]
    fn where_prices_are_not_asked_for_nothing_is_asked_after_the_final_news() {
        let begin = Instant::now();
        let mut watch = watch(false, Some(SECOND), begin);
        assert!(
            watch
                .learn(&handle(), Some(message()), Stand::Failed, false, begin)
                .is_news
        );
        assert!(
            watch
                .learn(&handle(), Some(message()), Stand::Delivered, false, begin)
                .is_news
        );
        assert!(
            !watch
                .learn(&handle(), Some(message()), Stand::Failed, false, begin)
                .is_news
        );
        assert_eq!(questions(&mut watch, begin), [0_u64; 0]);
    }

    #[test]
    fn a_callback_before_its_answer_or_after_a_restart_is_news_and_asks_for_the_price() {
        let now = Instant::now();
        let mut watch = Watch::new(true);
        assert!(
            watch
                .learn(&handle(), Some(message()), Stand::Delivered, false, now)
                .is_news
        );
        assert!(watch.add(&handle(), Some(message()), SECOND, Some(SECOND), now));
        assert!(
            !watch
                .learn(&handle(), Some(message()), Stand::Delivered, false, now)
                .is_news
        );
        assert_eq!(watch.next_due(), Some(now + PRICE_AFTER));
        watch.put_off(&handle(), now + 60 * SECOND);
        assert_eq!(watch.next_due(), Some(now + 60 * SECOND));
        watch.forget(&handle());
        assert_eq!(watch.next_due(), None);
    }
}
