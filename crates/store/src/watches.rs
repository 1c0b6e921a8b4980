//! Who waits for a request to change: open pages. The writer looks here after each commit, which costs one atomic look
//! while nobody waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::watch;

use crate::types::RequestRef;

/// Most watches at once: each is a page that somebody looks at.
const MAX_WATCHES: usize = 1_000;

/// No further watch is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{MAX_WATCHES} pages are watching already: reload the page by hand")]
pub struct TooManyWatches;

/// All watches of the books.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// How many there are; read without the lock.
    open: AtomicUsize,
    /// One channel for each watched request, however many watch it.
    requests: Mutex<HashMap<RequestRef, watch::Sender<()>>>,
}

/// A watch of one request. It ends when it is dropped.
#[derive(Debug)]
pub struct RequestWatch {
    watches: Arc<Watches>,
    request: RequestRef,
    changes: watch::Receiver<()>,
}

impl Watches {
    pub(crate) fn open(self: &Arc<Self>, request: RequestRef) -> Result<RequestWatch, TooManyWatches> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if self.open.load(Ordering::Relaxed) >= MAX_WATCHES {
            return Err(TooManyWatches);
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        let changes = requests
            .entry(request)
            .or_insert_with(|| watch::channel(()).0)
            .subscribe();
        Ok(RequestWatch {
            watches: Arc::clone(self),
            request,
            changes,
        })
    }

    /// Whether anybody waits.
    pub(crate) fn are_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Tells everybody: any request may have changed.
    pub(crate) fn tell_all(&self) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in requests.values() {
            sender.send_replace(());
        }
    }

    /// Tells who waits for these requests; they are asked for only where anybody waits for any.
    pub(crate) fn tell<I: IntoIterator<Item = RequestRef>>(&self, changed: impl FnOnce() -> I) {
        // A watch that opens during this look reads the books after it opened, so it sees what was committed.
        if self.open.load(Ordering::Relaxed) == 0 {
            return;
        }
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for request in changed() {
            if let Some(sender) = requests.get(&request) {
                sender.send_replace(());
            }
        }
    }
}

impl RequestWatch {
    /// Waits for the next change. Several that come at once are told once.
    pub async fn changed(&mut self) {
        // The sender lives as long as this watch does.
        let _ = self.changes.changed().await;
    }
}

impl Drop for RequestWatch {
    fn drop(&mut self) {
        let mut requests = self.watches.requests.lock().unwrap_or_else(PoisonError::into_inner);
        // This one still counts.
        if requests
            .get(&self.request)
            .is_some_and(|sender| sender.receiver_count() <= 1)
        {
            requests.remove(&self.request);
        }
        self.watches.open.fetch_sub(1, Ordering::Relaxed);
    }
}
