//! What this process has submitted and still knows: which message an id names, whom a phone answers, and receipts that came before
//! the answer to their submit. All of it is bounded; what falls out is found in the books.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_core::{PhoneNumber, Timestamp};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::address::Source;
use super::receipt::{canonical, in_other_base};
use crate::{Handle, MessageKey};

/// Submitted messages that are known without the books: at 100 a second, those of three minutes.
const MAX_SENT: usize = 20_000;
/// Receipts that wait for the answer to their submit.
const MAX_EARLY: usize = 256;
/// So long after it went out, a submit may still be answered: longer than any patience that can be set. Receipts that name no
/// message are not turned away for ever because a message centre left a submit without its answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(90);
/// By so many last digits a receipt's number is compared with the message's: prefixes are written in many ways.
const COMPARED_DIGITS: u64 = 10_000_000;

/// What was sent to a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A code of a verification request.
    Message(MessageKey),
    /// The code of a sign-in, by its attempt.
    Login(i64),
}

/// What is submitted.
#[derive(Debug, Clone)]
pub(super) struct Submission {
    pub(super) subject: Subject,
    pub(super) phone: PhoneNumber,
    pub(super) source: Source,
    /// When its life ends, real time.
    pub(super) ends_at: Timestamp,
}

/// What was accepted.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) submission: Submission,
    /// The id as the message centre wrote it.
    pub(super) id: Handle,
    /// What was told of it: 0 nothing, 1 that it failed, 2 that it arrived.
    told: AtomicU8,
}

impl Sent {
    /// Whether nothing final is known of it.
    pub(super) fn is_open(&self) -> bool {
        self.told.load(Ordering::SeqCst) == 0
    }
}

/// News of a message that is being told. Unless that is finished, it isn't told: the next receipt is news again.
#[derive(Debug)]
pub(super) struct Telling {
    sent: Arc<Sent>,
    before: u8,
}

impl Telling {
    /// Begins to tell that a message arrived or failed; `None` where that is no news.
    pub(super) fn begin(sent: &Arc<Sent>, arrived: bool) -> Option<Self> {
        let step = if arrived { 2 } else { 1 };
        let before = sent.told.fetch_max(step, Ordering::SeqCst);
        let sent = Arc::clone(sent);
        (before < step).then_some(Self { sent, before })
    }

    /// It was told.
    pub(super) fn finish(mut self) {
        self.before = self.sent.told.load(Ordering::SeqCst);
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.sent.told.store(self.before, Ordering::SeqCst);
    }
}

/// Where a receipt's message is.
#[derive(Debug)]
pub(super) enum Found {
    Here(Arc<Sent>),
    /// Not here; it is told once a submit is answered with that id.
    NotYet {
        told: oneshot::Receiver<Arc<Sent>>,
        /// Names the submits that had gone out by then, for [`Messages::are_answered`].
        submits: Submits,
    },
    /// Not here, and no answer is awaited that could bring it.
    Nowhere,
    /// Not here, and too many wait.
    TooMany,
}

#[derive(Debug, Default)]
pub(super) struct Messages {
    inner: Mutex<Inner>,
}

/// A submit that may still be answered, perhaps late; while it is kept, receipts wait for it.
#[derive(Debug)]
pub(super) struct Awaited {
    messages: Arc<Messages>,
    number: u64,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.messages.lock().awaited.remove(&self.number);
    }
}

/// All submits that had gone out at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Submits(u64);

#[derive(Debug, Default)]
struct Inner {
    by_id: HashMap<String, Arc<Sent>>,
    by_subject: HashMap<Subject, Arc<Sent>>,
    /// What was sent last to a number, for its answers.
    last: HashMap<PhoneNumber, Arc<Sent>>,
    order: VecDeque<Arc<Sent>>,
    early: VecDeque<Early>,
    /// Submits that may still be answered, numbered in their order, with when they went out.
    awaited: BTreeMap<u64, Instant>,
    submits: u64,
}

#[derive(Debug)]
struct Early {
    id: String,
    phone: Option<u64>,
    told: oneshot::Sender<Arc<Sent>>,
}

impl Messages {
    /// A submit is about to go out.
    pub(super) fn await_answer(self: &Arc<Self>) -> Awaited {
        let mut inner = self.lock();
        let number = inner.submits;
        inner.submits += 1;
        inner.awaited.insert(number, Instant::now());
        drop(inner);
        Awaited {
            messages: Arc::clone(self),
            number,
        }
    }

    /// The message centre took a submission under that id. Receipts that came before are told.
    pub(super) fn accepted(&self, submission: Submission, id: Handle) {
        let key = canonical(id.as_str());
        let sent = Arc::new(Sent {
            submission,
            id,
            told: AtomicU8::new(0),
        });
        let mut inner = self.lock();
        if inner.order.len() >= MAX_SENT {
            inner.forget_oldest();
        }
        inner.order.push_back(Arc::clone(&sent));
        inner.by_subject.insert(sent.submission.subject, Arc::clone(&sent));
        inner.last.insert(sent.submission.phone, Arc::clone(&sent));
        inner.by_id.insert(key.clone(), Arc::clone(&sent));
        let waiting = std::mem::take(&mut inner.early).into_iter();
        let (told_now, later): (VecDeque<_>, _) = waiting
            .filter(|early| !early.told.is_closed())
            .partition(|early| early.names(&key, &sent));
        inner.early = later;
        drop(inner);
        for early in told_now {
            let _ = early.told.send(Arc::clone(&sent));
        }
    }

    /// The message that a receipt names; `phone` is the number that the receipt comes from, where it says so.
    pub(super) fn find(&self, id: &str, phone: Option<u64>) -> Found {
        let mut inner = self.lock();
        let key = canonical(id);
        let same = inner.by_id.get(&key);
        let other = in_other_base(id);
        let mut other = other.iter().filter_map(|form| inner.by_id.get(form));
        let mut fitting = || other.find(|sent| is_same_number(phone, sent));
        // The same form goes first, unless the number says that the other base is meant.
        let found = match same {
            Some(same) if is_same_number(phone, same) => Some(same),
            Some(same) => fitting().or(Some(same)),
            None => fitting(),
        };
        if let Some(sent) = found {
            return Found::Here(Arc::clone(sent));
        }
        // Looked at after the ids: an answer is noted first and no longer awaited then.
        let submits = Submits(inner.submits);
        if inner.are_answered(submits) {
            return Found::Nowhere;
        }
        inner.early.retain(|early| !early.told.is_closed());
        if inner.early.len() >= MAX_EARLY {
            return Found::TooMany;
        }
        let (told, found) = oneshot::channel();
        inner.early.push_back(Early { id: key, phone, told });
        Found::NotYet { told: found, submits }
    }

    /// Whether none of these submits may still be answered. Later ones don't count: on a busy session there is always one.
    pub(super) fn are_answered(&self, submits: Submits) -> bool {
        self.lock().are_answered(submits)
    }

    /// Whether a message is known here by exactly that id.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.lock().by_id.contains_key(&canonical(id))
    }

    /// What was sent under a name of ours.
    pub(super) fn of(&self, subject: Subject) -> Option<Arc<Sent>> {
        self.lock().by_subject.get(&subject).cloned()
    }

    /// What a phone answers to: the last thing sent there, while it lives.
    pub(super) fn last_to(&self, phone: PhoneNumber, now: Timestamp) -> Option<Arc<Sent>> {
        let inner = self.lock();
        let last = inner.last.get(&phone);
        last.filter(|sent| sent.submission.ends_at > now).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn are_answered(&self, submits: Submits) -> bool {
        let mut before = self.awaited.range(..submits.0);
        !before.any(|(_, went_out)| went_out.elapsed() < ANSWERED_WITHIN)
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front() else { return };
        let is_oldest = |sent: &Arc<Sent>| Arc::ptr_eq(sent, &oldest);
        let id = canonical(oldest.id.as_str());
        if self.by_id.get(&id).is_some_and(is_oldest) {
            self.by_id.remove(&id);
        }
        if self.by_subject.get(&oldest.submission.subject).is_some_and(is_oldest) {
            self.by_subject.remove(&oldest.submission.subject);
        }
        if self.last.get(&oldest.submission.phone).is_some_and(is_oldest) {
            self.last.remove(&oldest.submission.phone);
        }
    }
}

impl Early {
    fn names(&self, key: &str, sent: &Sent) -> bool {
        self.id == key || (in_other_base(&self.id).iter().any(|form| form == key) && is_same_number(self.phone, sent))
    }
}

/// An id in another base may be another message's id: then the number decides.
fn is_same_number(phone: Option<u64>, sent: &Sent) -> bool {
    phone.is_some_and(|phone| phone % COMPARED_DIGITS == sent.submission.phone.digits() % COMPARED_DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::SandboxNumbers;

    fn phone(text: &str) -> PhoneNumber {
        PhoneNumber::parse(text, SandboxNumbers::Refused).unwrap()
    }

    fn submission(attempt: i64, to: &str) -> Submission {
        Submission {
            subject: Subject::Login(attempt),
            phone: phone(to),
            source: Source::none(),
            ends_at: Timestamp::from_millis(1_000),
        }
    }

    fn handle(id: &str) -> Handle {
        Handle::new(id).unwrap()
    }

    fn subject(found: Found) -> Option<Subject> {
        match found {
            Found::Here(sent) => Some(sent.submission.subject),
            Found::NotYet { .. } | Found::Nowhere | Found::TooMany => None,
        }
    }

    const NUMBER: &str = "+4915123456789";
    const DIGITS: Option<u64> = Some(4_915_123_456_789);

    #[test]
    fn an_id_is_found_in_the_form_of_the_answer_and_in_the_other_base() {
        let messages = Messages::default();
        messages.accepted(submission(1, NUMBER), handle("1A2B"));
        assert_eq!(subject(messages.find("00001a2b", None)), Some(Subject::Login(1)));
        assert_eq!(subject(messages.find("6699", DIGITS)), Some(Subject::Login(1)));
        assert_eq!(subject(messages.find("6699", None)), None, "the number decides");
        assert_eq!(subject(messages.find("6699", Some(4_915_100_000_000))), None);
    }

    #[test]
    fn the_same_form_goes_before_the_other_base() {
        let messages = Messages::default();
        messages.accepted(submission(1, NUMBER), handle("16"));
        messages.accepted(submission(2, NUMBER), handle("10"));
        assert_eq!(subject(messages.find("10", DIGITS)), Some(Subject::Login(2)));
        assert_eq!(subject(messages.find("16", DIGITS)), Some(Subject::Login(1)));
    }

    #[test]
    fn the_other_base_goes_first_where_only_its_number_fits() {
        let messages = Messages::default();
        messages.accepted(submission(1, NUMBER), handle("A"));
        messages.accepted(submission(2, "+4915100000000"), handle("10"));
        assert_eq!(subject(messages.find("10", DIGITS)), Some(Subject::Login(1)));
        assert_eq!(subject(messages.find("10", None)), Some(Subject::Login(2)));
    }

    #[test]
    fn a_receipt_before_its_answer_is_told_when_the_answer_comes() {
        let messages = Arc::new(Messages::default());
        assert!(matches!(messages.find("6699", DIGITS), Found::Nowhere));
        let _awaited = messages.await_answer();
        let Found::NotYet { told: mut early, .. } = messages.find("6699", DIGITS) else {
            panic!("it is known already")
        };
        messages.accepted(submission(1, NUMBER), handle("77"));
        assert!(early.try_recv().is_err(), "another message");
        messages.accepted(submission(2, NUMBER), handle("1a2b"));
        assert_eq!(early.try_recv().unwrap().submission.subject, Subject::Login(2));
    }

    #[tokio::test(start_paused = true)]
    async fn only_submits_that_went_out_before_a_receipt_can_bring_its_message_and_not_for_ever() {
        let messages = Arc::new(Messages::default());
        let before = messages.await_answer();
        let Found::NotYet { submits, .. } = messages.find("7", DIGITS) else {
            panic!("nothing is awaited")
        };
        let _after = messages.await_answer();
        assert!(!messages.are_answered(submits));
        drop(before);
        assert!(messages.are_answered(submits));
        tokio::time::advance(ANSWERED_WITHIN).await;
        assert!(matches!(messages.find("7", DIGITS), Found::Nowhere));
    }

    #[test]
    fn early_receipts_are_bounded_and_make_room_when_nobody_waits() {
        let messages = Arc::new(Messages::default());
        let awaited = messages.await_answer();
        let waiting: Vec<_> = (0..MAX_EARLY)
            .map(|id| messages.find(&format!("x{id}"), None))
            .collect();
        assert!(matches!(messages.find("y", None), Found::TooMany));
        drop(waiting);
        assert!(matches!(messages.find("y", None), Found::NotYet { .. }));
        drop(awaited);
        assert!(matches!(messages.find("z", None), Found::Nowhere));
    }

    #[test]
    fn the_oldest_message_is_forgotten_and_nothing_else() {
        let messages = Messages::default();
        for attempt in 0..=i64::try_from(MAX_SENT).unwrap() {
            messages.accepted(submission(attempt, NUMBER), handle(&format!("id-{attempt}")));
        }
        assert!(messages.of(Subject::Login(0)).is_none());
        assert_eq!(subject(messages.find("id-0", None)), None);
        assert_eq!(subject(messages.find("id-1", None)), Some(Subject::Login(1)));
        assert_eq!(messages.lock().by_id.len(), MAX_SENT);
        assert!(messages.last_to(phone(NUMBER), Timestamp::from_millis(0)).is_some());
    }

    #[test]
    fn a_phone_answers_the_last_message_while_that_lives() {
        let messages = Messages::default();
        messages.accepted(submission(1, NUMBER), handle("1"));
        messages.accepted(submission(2, NUMBER), handle("2"));
        let last = |now| messages.last_to(phone(NUMBER), Timestamp::from_millis(now));
        assert_eq!(last(999).unwrap().submission.subject, Subject::Login(2));
        assert!(last(1_000).is_none());
    }

    #[test]
    fn what_was_told_is_news_once_but_an_arrival_after_a_failure_is() {
        let messages = Messages::default();
        messages.accepted(submission(1, NUMBER), handle("1"));
        let sent = messages.of(Subject::Login(1)).unwrap();
        assert!(sent.is_open());
        drop(Telling::begin(&sent, true));
        assert!(sent.is_open(), "telling was broken off");
        Telling::begin(&sent, false).unwrap().finish();
        assert!(!sent.is_open());
        assert!(Telling::begin(&sent, false).is_none());
        Telling::begin(&sent, true).unwrap().finish();
        assert!(Telling::begin(&sent, true).is_none());
        assert!(Telling::begin(&sent, false).is_none());
    }
}
