//! The hand-over of work from the books to the workers, in memory and bounded: the writer never waits for it, and what
//! doesn't fit is read back from the books.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// What the books hand to the workers after a commit.
#[derive(Debug)]
pub enum Handed<T> {
    /// A batch's work, in order.
    Batch(Vec<T>),
    /// Some work didn't fit the bounded hand-over, or became this node's otherwise: read it back from the books.
    Missed,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct HandOver<T> {
    batches: mpsc::Receiver<Vec<T>>,
    /// Pieces of work in the batches that wait; a batch may hold hundreds.
    waiting: Arc<AtomicUsize>,
    missed: Arc<AtomicBool>,
}

/// The books' end.
#[derive(Debug)]
pub(crate) struct HandOverSender<T> {
    batches: mpsc::Sender<Vec<T>>,
    waiting: Arc<AtomicUsize>,
    missed: Arc<AtomicBool>,
    /// Pieces of work that may wait.
    max_waiting: usize,
}

/// Both ends of a hand-over of so many batches, and so many pieces of work in them.
pub(crate) fn hand_over<T>(max_batches: usize, max_waiting: usize) -> (HandOverSender<T>, HandOver<T>) {
    let (sender, batches) = mpsc::channel(max_batches);
    let (waiting, missed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let books_end = HandOverSender {
        batches: sender,
        waiting: Arc::clone(&waiting),
        missed: Arc::clone(&missed),
        max_waiting,
    };
    (
        books_end,
        HandOver {
            batches,
            waiting,
            missed,
        },
    )
}

impl<T> HandOver<T> {
    /// The next batch; `None` once the books are closed and everything was taken.
    pub(crate) async fn next(&mut self) -> Option<Handed<T>> {
        // What was missed is asked for once everything that did fit has been taken.
        if self.batches.is_empty() && self.missed.swap(false, Ordering::AcqRel) {
            return Some(Handed::Missed);
        }
        let batch = self.batches.recv().await?;
        Some(self.taken(batch))
    }

    /// What waits already.
    pub(crate) fn try_next(&mut self) -> Option<Handed<T>> {
        match self.batches.try_recv() {
            Ok(batch) => Some(self.taken(batch)),
            Err(_) => self.missed.swap(false, Ordering::AcqRel).then_some(Handed::Missed),
        }
    }

    fn taken(&self, batch: Vec<T>) -> Handed<T> {
        self.waiting.fetch_sub(batch.len(), Ordering::AcqRel);
        // An empty batch only wakes the receiver, so that it sees what was missed.
        if batch.is_empty() && self.missed.swap(false, Ordering::AcqRel) {
            Handed::Missed
        } else {
            Handed::Batch(batch)
        }
    }
}

impl<T> HandOverSender<T> {
    /// Counts the pieces of work that wait.
    pub(crate) fn gauge(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.waiting)
    }

    /// Hands a batch over, without ever waiting.
    pub(crate) fn hand_over(&self, batch: Vec<T>) {
        let count = batch.len();
        let fits = self.waiting.fetch_add(count, Ordering::AcqRel) + count <= self.max_waiting;
        // A closed hand-over needs no note: the server ends, and the next start reads everything back.
        let refused = !fits || matches!(self.batches.try_send(batch), Err(TrySendError::Full(_)));
        if refused {
            self.waiting.fetch_sub(count, Ordering::AcqRel);
            self.miss();
        }
    }

    /// There is work in the books that is in no batch.
    pub(crate) fn miss(&self) {
        self.missed.store(true, Ordering::Release);
        // Where the receiver has just taken everything and sleeps, this wakes it.
        let _ = self.batches.try_send(Vec::new());
    }
}
