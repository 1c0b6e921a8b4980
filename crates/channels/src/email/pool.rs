//! Connections to the mail server: so many at once, kept for a while for the next message. A kept connection that has died before a
//! message's content went over it is replaced without anybody noticing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::response::Response;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::connection::{Connection, DialError, Dialer, Envelope, Phase, Trouble};

/// A free connection is ended after that time: before most servers do.
const IDLE_LIMIT: Duration = Duration::from_secs(20);
/// So many messages go over one connection: many servers take no more.
const MAX_CARRIED: u32 = 100;
/// A message waits so long for its turn.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// Failures that come so soon after each other belong together: a message comes again after 20 seconds, and waits for its time-out then.
const MIN_GAP: Duration = Duration::from_mins(1);

pub(super) struct Pool {
    dialer: Dialer,
    places: Semaphore,
    /// The last used is the last.
    free: Mutex<VecDeque<Connection>>,
    outage: Outage,
}

/// Since when the mail server takes nothing: it can't be reached, or says nothing that helps. Whatever it does take ends it, over whichever
/// connection: a server that allows fewer connections than we want is not away.
struct Outage {
    /// When it began, and its last failure.
    now: Mutex<Option<(Instant, Instant)>>,
    /// A failure that comes so long after the last one begins anew.
    gap: Duration,
}

impl Outage {
    const fn new(gap: Duration) -> Self {
        Self {
            now: Mutex::new(None),
            gap,
        }
    }

    /// For how long it has been so.
    fn failed(&self) -> Duration {
        let now = Instant::now();
        let mut outage = lock(&self.now);
        let since = match *outage {
            Some((since, last)) if now - last <= self.gap => since,
            _ => now,
        };
        *outage = Some((since, now));
        now - since
    }

    fn ended(&self) {
        *lock(&self.now) = None;
    }
}

/// What became of a message.
pub(super) enum Sent {
    /// The server has it. `reports`: it promised to report.
    Accepted { response: Response, reports: bool },
    /// It said what it says, or nothing; and has said nothing that helps for that time.
    Not(Phase, Trouble, Duration),
    /// There is no connection, and has been none for that time.
    NoConnection(DialError, Duration),
    /// The address needs what the server doesn't offer (SMTPUTF8).
    NotOffered,
    /// All connections are busy.
    Busy,
}

impl Pool {
    /// `patience`: for so long messages wait for a server that takes nothing.
    pub(super) fn new(dialer: Dialer, size: usize, patience: Duration) -> Self {
        Self {
            dialer,
            places: Semaphore::new(size),
            free: Mutex::default(),
            outage: Outage::new(patience.max(MIN_GAP)),
        }
    }

    pub(super) const fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Sends a message over a free connection, or over a new one.
    pub(super) async fn send(&self, envelope: &Envelope<'_>, needs_utf8: bool, message: &[u8]) -> Sent {
        let Ok(Ok(place)) = tokio::time::timeout(TURN_WAIT, self.places.acquire()).await else {
            return Sent::Busy;
        };
        while let Some(connection) = self.take_free() {
            match over(connection, envelope, needs_utf8, message).await {
                // It may have died long ago; of this message it carried nothing.
                (
                    _,
                    Sent::Not(Phase::Sender | Phase::Recipient, Trouble::Lost(_) | Trouble::Reply { code: 421, .. }, _),
                ) => {}
                (connection, sent) => {
                    let sent = self.heed(sent);
                    self.keep(connection, &sent, place).await;
                    return sent;
                }
            }
        }
        let connection = match self.dialer.dial().await {
            Ok(connection) => connection,
            Err(error) => return Sent::NoConnection(error, self.outage.failed()),
        };
        let (connection, sent) = over(connection, envelope, needs_utf8, message).await;
        let sent = self.heed(sent);
        self.keep(connection, &sent, place).await;
        sent
    }

    /// What a message's fate says about the server.
    fn heed(&self, sent: Sent) -> Sent {
        match sent {
            // That it wants nothing now says nothing about whether it is well.
            Sent::Not(_, Trouble::Reply { code: 421, .. }, _)
            | Sent::NotOffered
            | Sent::Busy
            | Sent::NoConnection(..) => sent,
            Sent::Accepted { .. } | Sent::Not(_, Trouble::Reply { .. } | Trouble::NotOffered(_), _) => {
                self.outage.ended();
                sent
            }
            Sent::Not(phase, trouble, _) => Sent::Not(phase, trouble, self.outage.failed()),
        }
    }

    /// Ends connections that have been free for too long; all of them where `all` says so.
    pub(super) async fn sweep(&self, all: bool) {
        let old: Vec<_> = {
            let mut free = lock(&self.free);
            let now = Instant::now();
            let count = free
                .iter()
                .take_while(|one| all || now - one.idle_since >= IDLE_LIMIT)
                .count();
            free.drain(..count).collect()
        };
        futures_util::future::join_all(old.into_iter().map(Connection::quit)).await;
    }

    fn take_free(&self) -> Option<Connection> {
        let connection = lock(&self.free).pop_back()?;
        let is_fresh = connection.idle_since.elapsed() < IDLE_LIMIT;
        // The others are older still: the sweep ends them.
        is_fresh.then_some(connection)
    }

    /// Keeps a connection for the next message, where it is still good.
    async fn keep(&self, mut connection: Connection, sent: &Sent, place: SemaphorePermit<'_>) {
        let is_good = match sent {
            Sent::Accepted { .. } | Sent::NotOffered => true,
            Sent::Not(_, Trouble::Reply { code, .. }, _) => *code != 421 && connection.reset().await,
            Sent::Not(..) | Sent::NoConnection(..) | Sent::Busy => false,
        };
        if is_good && connection.carried < MAX_CARRIED {
            connection.idle_since = Instant::now();
            lock(&self.free).push_back(connection);
        } else if is_good {
            connection.quit().await;
        }
        drop(place);
    }
}

async fn over(
    mut connection: Connection,
    envelope: &Envelope<'_>,
    needs_utf8: bool,
    message: &[u8],
) -> (Connection, Sent) {
    if needs_utf8 && !connection.offers().utf8 {
        return (connection, Sent::NotOffered);
    }
    let reports = envelope.id.is_some() && connection.offers().reports;
    let sent = match connection.send(envelope, message).await {
        Ok(response) => Sent::Accepted { response, reports },
        Err((phase, trouble)) => Sent::Not(phase, trouble, Duration::ZERO),
    };
    (connection, sent)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_ends_with_the_first_message_that_goes_and_is_forgotten_after_a_while() {
        const SECOND: Duration = Duration::from_secs(1);
        let outage = Outage::new(MIN_GAP);
        assert_eq!(outage.failed(), Duration::ZERO);
        for seconds in [20, 40, 60, 80] {
            tokio::time::advance(SECOND * 20).await;
            assert_eq!(outage.failed(), SECOND * seconds);
        }
        outage.ended();
        assert_eq!(outage.failed(), Duration::ZERO, "a message went in between");
        tokio::time::advance(Duration::from_hours(5)).await;
        assert_eq!(outage.failed(), Duration::ZERO, "another outage");
    }
}
