//! Which of the due reports goes next: receivers take turns, and none has more than its share under way, so that a dead one
//! can't take every place. Pure book-keeping, no I/O.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use countersign_store::{DueReport, ReportKey};
use url::Url;

/// Attempts under way to one receiver.
pub(super) const MAX_PER_HOST: usize = 8;

/// The name of a receiver: its host, without scheme and port.
pub(super) type Host = Arc<str>;

/// Due reports that were read from the books and are not recorded yet: those that wait here, those under way, and
/// those whose attempt isn't written down yet.
#[derive(Debug, Default)]
pub(super) struct ReportQueue {
    hosts: HashMap<Host, HostQueue>,
    /// Hosts that have a report waiting and a place free, each once, in their turn.
    turns: VecDeque<Host>,
    /// All reports here, so that one is never sent twice at once.
    known: HashSet<ReportKey>,
}

#[derive(Debug, Default)]
struct HostQueue {
    waiting: VecDeque<DueReport>,
    under_way: usize,
    /// Whether it stands in `turns`.
    has_turn: bool,
}

impl HostQueue {
    fn wants_turn(&self) -> bool {
        !self.has_turn && !self.waiting.is_empty() && self.under_way < MAX_PER_HOST
    }
}

impl ReportQueue {
    /// How many reports are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes in a due report; `false` where it is known already.
    pub(super) fn add(&mut self, report: DueReport) -> bool {
        if !self.known.insert(report.key) {
            return false;
        }
        let host = host_of(&report);
        let queue = self.hosts.entry(Arc::clone(&host)).or_default();
        queue.waiting.push_back(report);
        self.give_turn(host);
        true
    }

    /// The next report to send, which is under way from now on.
    pub(super) fn take(&mut self) -> Option<(Host, DueReport)> {
        let host = self.turns.pop_front()?;
        let queue = self.hosts.get_mut(&host)?;
        queue.has_turn = false;
        let report = queue.waiting.pop_front()?;
        queue.under_way += 1;
        self.give_turn(Arc::clone(&host));
        Some((host, report))
    }

    /// Frees the place that an attempt took at its receiver.
    pub(super) fn free(&mut self, host: Host) {
        if let Entry::Occupied(mut entry) = self.hosts.entry(Arc::clone(&host)) {
            let queue = entry.get_mut();
            queue.under_way = queue.under_way.saturating_sub(1);
            if queue.under_way == 0 && queue.waiting.is_empty() {
                entry.remove();
                return;
            }
        }
        self.give_turn(host);
    }

    /// Forgets a report whose attempt is recorded: where it is due again, it is taken in again.
    pub(super) fn forget(&mut self, key: ReportKey) {
        self.known.remove(&key);
    }

    fn give_turn(&mut self, host: Host) {
        if let Some(queue) = self.hosts.get_mut(&host).filter(|queue| queue.wants_turn()) {
            queue.has_turn = true;
            self.turns.push_back(host);
        }
    }
}

fn host_of(report: &DueReport) -> Host {
    let url = Url::parse(report.callback_url.as_str()).ok();
    Arc::from(url.as_ref().and_then(Url::host_str).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::{AccountId, AccountKey, Bucket, CallbackUrl, RequestId, Timestamp};
    use countersign_store::RequestRef;

    fn report(url: &str, number: u16) -> DueReport {
        let account = AccountKey {
            bucket: Bucket(0),
            id: AccountId::new(1).unwrap(),
        };
        let request = RequestRef {
            account,
            id: RequestId::new(Timestamp::default(), 1),
        };
        DueReport {
            key: ReportKey { request, number },
            host: Arc::from(""),
            callback_url: CallbackUrl::from_stored(url.to_owned()),
            body: Vec::new(),
            attempts: 0,
            due_at: Timestamp::default(),
        }
    }

    #[test]
    fn a_report_that_is_waiting_or_under_way_is_not_taken_in_again() {
        let mut queue = ReportQueue::default();
        assert!(queue.add(report("https://a.example/", 1)));
        assert!(!queue.add(report("https://a.example/", 1)));
        let (host, taken) = queue.take().unwrap();
        assert!(!queue.add(report("https://a.example/", 1)));
        queue.free(host);
        assert!(!queue.add(report("https://a.example/", 1)));
        queue.forget(taken.key);
        assert!(queue.add(report("https://a.example/", 1)));
    }

    #[test]
    fn a_dead_receiver_with_many_reports_leaves_places_to_the_others() {
        let mut queue = ReportQueue::default();
        for number in 0..100 {
            queue.add(report("https://dead.example/x", number));
        }
        queue.add(report("https://alive.example/", 1_000));
        let taken: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
        let dead = taken.iter().filter(|(host, _)| &**host == "dead.example").count();
        assert_eq!((dead, taken.len()), (MAX_PER_HOST, MAX_PER_HOST + 1));
        assert_eq!(queue.len(), 101);
        let (host, _) = taken.into_iter().next().unwrap();
        queue.free(host);
        assert!(queue.take().is_some());
        assert!(queue.take().is_none());
    }

    #[test]
    fn receivers_take_turns_and_nothing_is_left_of_those_that_are_done() {
        let mut queue = ReportQueue::default();
        for number in 0..3 {
            queue.add(report("https://a.example/", number));
        }
        queue.add(report("https://b.example/", 9));
        let hosts: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
        let order: Vec<&str> = hosts.iter().map(|(host, _)| &**host).collect();
        assert_eq!(order, ["a.example", "b.example", "a.example", "a.example"]);
        for (host, report) in hosts {
            queue.free(host);
            queue.forget(report.key);
        }
        assert!(queue.hosts.is_empty() && queue.turns.is_empty() && queue.len() == 0);
    }
}
