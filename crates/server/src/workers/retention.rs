//! Lets old verification requests go, once a day, on one node: with them go numbers, codes and payloads. How long they are kept is
//! `privacy.keep_requests_days`. The ledger and the statistics stay.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::DAY_MS;
use countersign_store::{SiteStore, Store};
use tokio::sync::watch;

use super::{Worker, rest};
use crate::clock;

/// After the start, once the callers that waited for it have been served; and after something failed.
const FIRST_RUN: Duration = Duration::from_mins(2);
/// Between two rounds.
const INTERVAL: Duration = Duration::from_hours(24);

pub(super) struct Retention {
    store: Arc<dyn Store>,
    site: Arc<dyn SiteStore>,
    days: u32,
    draining: watch::Receiver<bool>,
}

impl Retention {
    pub(super) fn new(
        store: Arc<dyn Store>,
        site: Arc<dyn SiteStore>,
        days: u32,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            store,
            site,
            days,
            draining,
        }
    }

    /// One round; answers how long to rest.
    async fn round(&self) -> Duration {
        match self.store.claim_task("retention").await {
            Ok(true) => {}
            Ok(false) => return INTERVAL,
            Err(error) => {
                tracing::warn!(%error, "old requests could not be let go; it is tried again");
                return FIRST_RUN;
            }
        }
        let before = clock::now().plus_millis(-i64::from(self.days) * DAY_MS);
        match self.site.let_requests_go(before).await {
            Ok(0) => INTERVAL,
            Ok(count) => {
                tracing::info!(count, days = self.days, "requests older than that were let go");
                INTERVAL
            }
            Err(error) => {
                tracing::warn!(%error, "old requests could not all be let go; it is tried again");
                FIRST_RUN
            }
        }
    }
}

impl Worker for Retention {
    const NAME: &'static str = "retention";

    async fn run(&mut self) {
        let mut pause = FIRST_RUN;
        while !rest(pause, &mut self.draining).await {
            let mut draining = self.draining.clone();
            pause = tokio::select! {
                pause = self.round() => pause,
                // What is left goes after the next start.
                _ = draining.wait_for(|draining| *draining) => return,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::{
        AccountId, AccountKey, Action, Answer, ApiToken, CodeLength, Command, Credits, News, PhoneNumber, Reach,
        RequestId, Rules, Send, SendCode, Timestamp, Ttl,
    };
    use countersign_store::{Actor, Books, MasterKey, NewAccount, audit, testing};
    use std::path::Path;

    const DAYS: u32 = 90;

    struct House {
        books: Arc<dyn Books>,
        retention: Retention,
        _drain: watch::Sender<bool>,
    }

    fn account(number: u64) -> AccountKey {
        AccountKey::of_new(AccountId::from_entropy(number << 32 | 7))
    }

    async fn house(folder: &Path) -> House {
        let (books, work) = testing::open(folder, MasterKey::from_bytes([1; 32]), Rules::default()).unwrap();
        drop(work);
        for number in 1..=2 {
            let new = NewAccount {
                key: account(number),
                token: ApiToken::new(account(number).id, [9; 32]),
                name: "Acme".into(),
                phone: PhoneNumber::from_stored(391_234_567_890 + number),
                now: days_ago(400),
            };
            books.create_account(new, Actor::Operator).await.unwrap();
            let amount = Credits::parse("10").unwrap();
            ask(
                books.as_ref(),
                account(number),
                days_ago(400),
                Action::Purchase { amount },
            )
            .await;
        }
        let (drain, draining) = watch::channel(false);
        let retention = Retention::new(books.clone(), books.clone(), DAYS, draining);
        House {
            books,
            retention,
            _drain: drain,
        }
    }

    fn days_ago(days: i64) -> Timestamp {
        clock::now().plus_millis(-days * DAY_MS)
    }

    async fn ask(books: &dyn Books, account: AccountKey, now: Timestamp, action: Action) -> Answer {
        let command = Command {
            now,
            token: None,
            idempotency: None,
            action,
        };
        books.submit(account, command).await.unwrap().unwrap()
    }

    impl House {
        async fn send(&self, number: u64, at: Timestamp, id_entropy: u64) -> RequestId {
            let send = Send {
                email: None,
                locale: None,
                phone: PhoneNumber::from_stored(393_987_654_321),
                request: None,
                sender: None,
                code: SendCode::Generate {
                    length: CodeLength::default(),
                    entropy: 123_456,
                },
                callback_url: None,
                payload: None,
                ttl: Ttl::default(),
                id_entropy,
                reach: Reach::Reachable,
                plan: None,
                skipped: Vec::new(),
                guard: None,
            };
            ask(self.books.as_ref(), account(number), at, Action::Send(Box::new(send))).await;
            RequestId::new(at, id_entropy)
        }

        async fn read(&self, number: u64, at: Timestamp, id_entropy: u64) -> RequestId {
            let request = self.send(number, at, id_entropy).await;
            let read = Action::news(request, News::Read);
            ask(self.books.as_ref(), account(number), at, read).await;
            request
        }

        async fn keeps(&self, number: u64, request: RequestId) -> bool {
            self.books.request(account(number), request).await.unwrap().is_some()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_days_round_lets_go_what_has_become_too_old_by_its_accounts_clock() {
        let folder = tempfile::tempdir().unwrap();
        let house = house(folder.path()).await;
        let gone = house.read(1, days_ago(91), 1).await;
        let kept = house.read(1, days_ago(89), 2).await;
        let others = house.read(2, days_ago(89), 3).await;
        assert_eq!(house.retention.round().await, INTERVAL);
        assert!(!house.keeps(1, gone).await);
        assert!(house.keeps(1, kept).await && house.keeps(2, others).await);

        // Two days later, on one account's clock.
        let forward = Action::AdvanceClock { by_ms: 2 * DAY_MS };
        ask(house.books.as_ref(), account(1), clock::now(), forward).await;
        assert_eq!(house.retention.round().await, INTERVAL);
        assert!(!house.keeps(1, kept).await);
        assert!(house.keeps(2, others).await);
        house.books.close().await.unwrap();
        let report = audit(&testing::database(folder.path()).unwrap(), &[], |_| {}).unwrap();
        assert_eq!(report.violation, None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_under_way_stays_until_a_round_finds_that_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let house = house(folder.path()).await;
        let request = house.send(1, days_ago(91), 1).await;
        assert_eq!(house.retention.round().await, INTERVAL);
        assert!(house.keeps(1, request).await);
        ask(house.books.as_ref(), account(1), clock::now(), Action::Wake { request }).await;
        assert_eq!(house.retention.round().await, INTERVAL);
        assert!(!house.keeps(1, request).await);
    }
}
