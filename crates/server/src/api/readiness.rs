//! Whether the server takes work, as `/readyz` says: it isn't ending, and its books keep what is written to them. They are asked to
//! keep something at most once a second, whoever asks here and how often.

use std::sync::Arc;
use std::time::Duration;

use countersign_store::{StoreError, Trouble};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::app::App;

/// How long an answer of the books holds.
const HOLDS_FOR: Duration = Duration::from_secs(1);
/// How long they are given: a load balancer that asks mostly waits for some seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the books said last.
#[derive(Debug)]
pub(super) struct Readiness {
    last: Arc<Mutex<Option<Verdict>>>,
    holds_for: Duration,
    patience: Duration,
}

#[derive(Debug)]
struct Verdict {
    at: Instant,
    trouble: Option<String>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            last: Arc::default(),
            holds_for: HOLDS_FOR,
            patience: PATIENCE,
        }
    }
}

impl Readiness {
    /// Why no work is taken, in a word or a few; `None`: it is.
    pub(super) async fn trouble(&self, app: &App) -> Option<String> {
        if *app.draining.borrow() {
            return Some("draining".to_owned());
        }
        if let Some(trouble) = app.store.trouble() {
            return Some(trouble.to_string());
        }
        let store = Arc::clone(&app.store);
        self.of_books(async move { store.try_write().await }).await
    }

    /// The same of the books alone. `write` runs only where the last answer doesn't hold any more.
    async fn of_books(&self, write: impl Future<Output = Result<(), StoreError>> + Send + 'static) -> Option<String> {
        // Whoever asks meanwhile waits here, and finds the answer.
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some(verdict) = last.as_ref().filter(|verdict| verdict.at.elapsed() < self.holds_for) {
            return verdict.trouble.clone();
        }
        let patience = self.patience;
        // On its own: a caller that goes away must not make the next one write again.
        let asked = tokio::spawn(async move {
            let trouble = match tokio::time::timeout(patience, write).await {
                Ok(Ok(())) => None,
                // Full of work is no trouble. Where nobody empties the queue, that was said before it was full.
                Ok(Err(StoreError::Busy)) => last.as_ref().and_then(|verdict| verdict.trouble.clone()),
                Ok(Err(error)) => Some(in_words(&error)),
                Err(_) => Some("books too slow".to_owned()),
            };
            *last = Some(Verdict {
                at: Instant::now(),
                trouble: trouble.clone(),
            });
            trouble
        });
        asked.await.unwrap_or_else(|_| Some("books not writable".to_owned()))
    }
}

fn in_words(error: &StoreError) -> String {
    match error {
        StoreError::DiskFull => Trouble::DiskFull.to_string(),
        StoreError::Unavailable | StoreError::Lost => Trouble::Unreachable.to_string(),
        error => {
            tracing::error!(%error, "the books take no writes");
            "books not writable".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    fn with(holds_for: Duration) -> Readiness {
        Readiness {
            holds_for,
            patience: Duration::from_millis(20),
            ..Readiness::default()
        }
    }

    #[tokio::test]
    async fn however_many_ask_the_books_write_once_while_the_answer_holds() {
        let readiness = with(Duration::from_hours(1));
        let writes = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let writes = Arc::clone(&writes);
            readiness.of_books(async move {
                tokio::task::yield_now().await;
                writes.fetch_add(1, Ordering::SeqCst);
                Err(StoreError::DiskFull)
            })
        };
        for answer in join_all((0..50).map(|_| ask())).await {
            assert_eq!(answer.as_deref(), Some("disk full"));
        }
        assert_eq!(writes.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_does_not_make_the_next_one_write_again() {
        let readiness = with(Duration::from_hours(1));
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let write = async move {
            let _ = begun.send(());
            tokio::task::yield_now().await;
            Ok(())
        };
        tokio::select! {
            biased;
            _ = has_begun => {}
            _ = readiness.of_books(write) => {}
        }
        let second = readiness.of_books(async { Err(StoreError::Unavailable) }).await;
        assert_eq!(second, None);
    }

    #[tokio::test]
    async fn books_that_do_not_answer_are_no_books_and_stay_so_while_their_queue_is_full() {
        let readiness = with(Duration::ZERO);
        assert_eq!(readiness.of_books(async { Ok(()) }).await, None);
        assert_eq!(readiness.of_books(async { Err(StoreError::Busy) }).await, None);
        let hung = readiness.of_books(std::future::pending()).await;
        assert_eq!(hung.as_deref(), Some("books too slow"));
        let full = readiness.of_books(async { Err(StoreError::Busy) }).await;
        assert_eq!(full.as_deref(), Some("books too slow"));
        assert_eq!(readiness.of_books(async { Ok(()) }).await, None);
        let away = readiness.of_books(async { Err(StoreError::Unavailable) }).await;
        assert_eq!(away.as_deref(), Some("database unreachable"));
    }
}
