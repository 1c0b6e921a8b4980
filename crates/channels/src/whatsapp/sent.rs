//! What this process has sent and still knows: which message an id names, what was told of it, and what a number got last, for
//! those who answer. Bounded; what falls out is found by its callback data and in the books.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use countersign_core::{News, PhoneNumber, Timestamp};

use super::lock;
use crate::{Handle, MessageKey};

/// Messages that are known without the books: at 80 a second, those of four minutes.
const MAX_SENT: usize = 20_000;
/// Begins the callback data of a sign-in; its attempt follows.
const LOGIN: &str = "cs1.login.";

/// What was sent to a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A code of a verification request.
    Message(MessageKey),
    /// The code of a sign-in, by its attempt.
    Login(i64),
}

impl Subject {
    /// What comes back in every status: 60 bytes at most, of 512 that there may be.
    pub(super) fn callback_data(self) -> String {
        match self {
            Self::Message(key) => key.to_string(),
            Self::Login(attempt) => format!("{LOGIN}{attempt}"),
        }
    }

    /// Reads that. To be believed only where it came with a signature.
    pub(super) fn read(callback_data: &str) -> Option<Self> {
        match callback_data.strip_prefix(LOGIN) {
            Some(attempt) => attempt.parse().ok().map(Self::Login),
            None => MessageKey::parse(callback_data).map(Self::Message),
        }
    }
}

/// A message that was sent, or may have been.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) subject: Subject,
    pub(super) phone: PhoneNumber,
    /// When it was handed over, real time.
    pub(super) at: Timestamp,
    /// When its life ends, real time.
    pub(super) ends_at: Timestamp,
    /// The furthest that was told of it.
    told: AtomicU8,
}

impl Sent {
    /// Notes that news is being told; whether it is news at all: what comes twice or late is none.
    pub(super) fn tell(&self, news: News) -> bool {
        let step = match news {
            News::Failed => 1,
            // Can come after a failure, where a person has several devices.
            News::Delivered => 2,
            News::Read => 3,
            _ => return true,
        };
        self.told.fetch_max(step, Ordering::SeqCst) < step
    }
}

#[derive(Default)]
pub(super) struct Messages(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    by_subject: HashMap<Subject, Arc<Sent>>,
    by_id: HashMap<Handle, Arc<Sent>>,
    last: HashMap<PhoneNumber, Arc<Sent>>,
    /// The oldest first, with the ids that go with them.
    order: VecDeque<(Arc<Sent>, Option<Handle>)>,
}

impl Messages {
    /// A message is about to be sent: a status can overtake the answer.
    pub(super) fn begin(&self, subject: Subject, phone: PhoneNumber, at: Timestamp, ends_at: Timestamp) -> Arc<Sent> {
        let sent = Arc::new(Sent {
            subject,
            phone,
            at,
            ends_at,
            told: AtomicU8::new(0),
        });
        let mut inner = self.lock();
        inner.make_room();
        inner.by_subject.insert(subject, Arc::clone(&sent));
        inner.order.push_back((Arc::clone(&sent), None));
        sent
    }

    /// The other side took it, or may have; `id` is what it calls it, where that is known.
    pub(super) fn went(&self, sent: &Arc<Sent>, id: Option<&Handle>) {
        let mut inner = self.lock();
        // The newest are at the end.
        let place = inner.order.iter_mut().rev().find(|(of, _)| Arc::ptr_eq(of, sent));
        let Some((_, name)) = place else { return };
        *name = id.cloned();
        inner.last.insert(sent.phone, Arc::clone(sent));
        if let Some(id) = id {
            inner.by_id.insert(id.clone(), Arc::clone(sent));
        }
    }

    /// It surely wasn't sent.
    pub(super) fn forget(&self, sent: &Arc<Sent>) {
        let mut inner = self.lock();
        let place = inner.order.iter().rposition(|(of, _)| Arc::ptr_eq(of, sent));
        if let Some((sent, id)) = place.and_then(|place| inner.order.remove(place)) {
            inner.drop_names(&sent, id.as_ref());
        }
    }

    pub(super) fn by_id(&self, id: &Handle) -> Option<Arc<Sent>> {
        self.lock().by_id.get(id).cloned()
    }

    pub(super) fn of(&self, subject: Subject) -> Option<Arc<Sent>> {
        self.lock().by_subject.get(&subject).cloned()
    }

    /// What was sent last to a number, while it lives.
    pub(super) fn last_to(&self, phone: PhoneNumber, now: Timestamp) -> Option<Arc<Sent>> {
        let last = self.lock().last.get(&phone).cloned();
        last.filter(|sent| sent.ends_at > now)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.0)
    }
}

impl Inner {
    fn make_room(&mut self) {
        while self.order.len() >= MAX_SENT {
            let Some((sent, id)) = self.order.pop_front() else {
                return;
            };
            self.drop_names(&sent, id.as_ref());
        }
    }

    fn drop_names(&mut self, sent: &Arc<Sent>, id: Option<&Handle>) {
        let is_it = |found: Option<&Arc<Sent>>| found.is_some_and(|found| Arc::ptr_eq(found, sent));
        if let Some(id) = id
            && is_it(self.by_id.get(id))
        {
            self.by_id.remove(id);
        }
        if is_it(self.by_subject.get(&sent.subject)) {
            self.by_subject.remove(&sent.subject);
        }
        if is_it(self.last.get(&sent.phone)) {
            self.last.remove(&sent.phone);
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::{AccountId, AccountKey, RequestId, SandboxNumbers};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
    const END: Timestamp = Timestamp::from_millis(1_790_000_300_000);

    fn phone(last: usize) -> PhoneNumber {
        PhoneNumber::parse(&format!("+3912345{last:05}"), SandboxNumbers::Refused).unwrap()
    }

    fn subject(random: u64) -> Subject {
        Subject::Message(MessageKey {
            account: AccountKey::of_new(AccountId::new(7).unwrap()),
            request: RequestId::new(NOW, random),
        })
    }

    #[test]
    fn callback_data_names_its_subject_again() {
        for subject in [subject(9), Subject::Login(77)] {
            assert_eq!(Subject::read(&subject.callback_data()), Some(subject));
        }
        for other in ["", "order 4711", "cs1.login.", "cs1.login.x"] {
            assert_eq!(Subject::read(other), None, "{other}");
        }
    }

    #[test]
    fn news_is_told_once_and_forwards() {
        let messages = Messages::default();
        let sent = messages.begin(subject(1), phone(1), NOW, END);
        let told: Vec<_> = [
            News::Failed,
            News::Failed,
            News::Delivered,
            News::Failed,
            News::Delivered,
            News::Read,
            News::Delivered,
            News::Read,
        ]
        .into_iter()
        .filter(|news| sent.tell(*news))
        .collect();
        assert_eq!(told, [News::Failed, News::Delivered, News::Read]);
    }

    #[test]
    fn what_was_not_sent_is_forgotten_and_what_was_sent_last_is_known() {
        let messages = Messages::default();
        let id = Handle::new("wamid.1").unwrap();
        let first = messages.begin(subject(1), phone(1), NOW, END);
        messages.went(&first, Some(&id));
        let second = messages.begin(subject(2), phone(1), NOW, END);
        messages.forget(&second);
        assert!(messages.of(subject(2)).is_none());
        assert!(Arc::ptr_eq(&messages.by_id(&id).unwrap(), &first));
        assert!(Arc::ptr_eq(&messages.last_to(phone(1), NOW).unwrap(), &first));
        let third = messages.begin(subject(3), phone(1), NOW, END);
        messages.went(&third, None);
        assert!(Arc::ptr_eq(&messages.last_to(phone(1), NOW).unwrap(), &third));
        assert!(messages.last_to(phone(1), END).is_none(), "its life is over");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        let messages = Messages::default();
        let id = Handle::new("wamid.0").unwrap();
        let first = messages.begin(subject(0), phone(0), NOW, END);
        messages.went(&first, Some(&id));
        for number in 1..=MAX_SENT {
            let sent = messages.begin(subject(number as u64), phone(number), NOW, END);
            messages.went(&sent, None);
        }
        assert!(messages.by_id(&id).is_none() && messages.of(subject(0)).is_none());
        assert!(messages.last_to(phone(0), NOW).is_none());
        let inner = messages.lock();
        let sizes = (
            inner.by_subject.len(),
            inner.last.len(),
            inner.order.len(),
            inner.by_id.len(),
        );
        assert_eq!(sizes, (MAX_SENT, MAX_SENT, MAX_SENT, 0));
    }
}
