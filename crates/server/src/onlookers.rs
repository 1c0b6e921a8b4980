//! Whether anybody looks at the built-in inbox of this node. What other nodes deliver is followed only meanwhile: it costs the books a
//! question for each of their messages.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

/// After a page or a list was read, its inbox is followed for so long.
const LOOKED_AT_FOR: Duration = Duration::from_mins(1);
/// How long a reader waits at most for what other nodes delivered; then it sees what is here.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(2);

/// Who reads meets who follows.
#[derive(Debug)]
pub struct Onlookers {
    looked_at: Mutex<Option<Instant>>,
    looks: Notify,
    /// Whether what other nodes deliver shows here.
    follows: watch::Sender<bool>,
}

impl Default for Onlookers {
    fn default() -> Self {
        Self {
            looked_at: Mutex::default(),
            looks: Notify::new(),
            // A node that starts reads what there is, as the only one for all that it knows.
            follows: watch::Sender::new(true),
        }
    }
}

impl Onlookers {
    /// Notes that somebody reads the inbox, and waits until it shows what other nodes delivered before. At once where it does already;
    /// after two seconds at most.
    pub(crate) async fn look(&self) {
        *self.looked_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
        if *self.follows.borrow() {
            return;
        }
        self.looks.notify_one();
        let mut follows = self.follows.subscribe();
        // Otherwise the books can't be read just now, and whoever follows says so in the log.
        let _shows = tokio::time::timeout(CAUGHT_UP_WITHIN, follows.wait_for(|follows| *follows)).await;
    }

    /// Whether somebody has looked lately.
    pub(crate) fn are_there(&self) -> bool {
        let looked_at = self.looked_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        looked_at.is_some_and(|at| at.elapsed() < LOOKED_AT_FOR)
    }

    /// Waits for somebody who looks while the inbox doesn't show what other nodes deliver.
    pub(crate) async fn come(&self) {
        self.looks.notified().await;
    }

    /// Says whether the inbox shows, from now on, what other nodes deliver.
    pub(crate) fn follow(&self, follows: bool) {
        self.follows.send_replace(follows);
    }

    /// Whether it does.
    pub(crate) fn are_followed(&self) -> bool {
        *self.follows.borrow()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_looks_waits_until_the_inbox_shows_what_others_delivered() {
        let onlookers = Onlookers::default();
        assert!(onlookers.look().now_or_never().is_some(), "it is followed already");
        onlookers.follow(false);
        let mut look = std::pin::pin!(onlookers.look());
        assert!(look.as_mut().now_or_never().is_none());
        assert!(onlookers.are_there());
        // Who follows is woken, even where it wasn't waiting yet.
        onlookers.come().await;
        onlookers.follow(true);
        assert!(look.now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_looks_at_books_that_cannot_be_read_sees_what_is_here() {
        let onlookers = Onlookers::default();
        onlookers.follow(false);
        let began = Instant::now();
        onlookers.look().await;
        assert!(began.elapsed() >= CAUGHT_UP_WITHIN);
    }
}
