//! Books, inbox and workers in one process, as the server puts them together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_channels::{Inbox, InboxReader, Opening};
use countersign_core::{
    AccountId, AccountKey, Action, Answer, ApiToken, CallbackUrl, Code, CodeLength, Command, Credits, News,
    PhoneNumber, PlainHttp, Reach, RequestId, RequestStatus, Rules, Send, SendCode, Timestamp, TokenClaim, Ttl,
};
use countersign_server::settings::Settings;
use countersign_server::workers::{
    CircuitSettings, MAX_RETRIES, ReportSettings, RetrySchedule, WorkerParts, Workers, start_with,
};
use countersign_server::{Mode, clock, random};
use countersign_store::{
    Actor, Books, DueReport, MasterKey, NewAccount, ReportDetail, ReportFilter, ReportKey, ReportState, testing,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::faults::FaultyStore;

/// The longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A number without a script: its messages go to the inbox.
pub(crate) const PHONE: &str = "+9996612345";

/// Everything, running.
pub(crate) struct House {
    pub(crate) store: Arc<dyn Books>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) account: AccountKey,
    pub(crate) token: ApiToken,
    directory: Arc<TempDir>,
    workers: Workers,
    drain: watch::Sender<bool>,
}

/// Report settings with quick retries, and circuits that never open.
pub(crate) fn quick() -> ReportSettings {
    let retries = RetrySchedule::new([20; MAX_RETRIES]);
    ReportSettings {
        retries,
        attempt_timeout: Duration::from_millis(500),
        allow_private_addresses: true,
        allow_loopback: true,
        plain_http: PlainHttp::Accepted,
        circuits: CircuitSettings {
            failures: 1_000,
            ..CircuitSettings::default()
        },
        ..ReportSettings::default()
    }
}

impl House {
    /// New books with one account that has credit.
    pub(crate) async fn new(reports: ReportSettings) -> Self {
        Self::with_faults(reports, 0).await
    }

    /// The same, where the workers see books that fail that often first.
    pub(crate) async fn with_faults(reports: ReportSettings, faults: u32) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let id = AccountId::from_entropy(u64::from_ne_bytes(random::bytes()));
        let (account, token) = (AccountKey::of_new(id), ApiToken::new(id, random::bytes()));
        let (store, _) = open(directory.path());
        let owner = phone("+9996600000");
        let new = NewAccount {
            key: account,
            token: token.clone(),
            name: "Acme".into(),
            phone: owner,
            now: clock::now(),
        };
        store.create_account(new, Actor::Operator).await.unwrap();
        submit(
            store.as_ref(),
            account,
            Action::Purchase {
                amount: Credits::parse("100").unwrap(),
            },
        )
        .await;
        store.close().await.unwrap();
        Self::open(directory, account, token, reports, faults)
    }

    fn open(
        directory: Arc<TempDir>,
        account: AccountKey,
        token: ApiToken,
        reports: ReportSettings,
        faults: u32,
    ) -> Self {
        let (store, committed) = open(directory.path());
        let (news_sender, news) = mpsc::channel(1_024);
        let inbox = Inbox::new(news_sender);
        let (drain, draining) = watch::channel(false);
        let parts = WorkerParts {
            vitals: Arc::default(),
            store: Arc::new(FaultyStore::new(Arc::clone(&store), faults)),
            site: Arc::clone(&store) as Arc<dyn countersign_store::SiteStore>,
            mode: Mode::Sandbox,
            inbox: Some(Arc::clone(&inbox)),
            routes: countersign_server::Routes::built_in(&Settings::defaults(Mode::Sandbox), Some(&inbox)),
            reports,
            draining,
        };
        let workers = start_with(parts, committed, news).unwrap();
        Self {
            store,
            inbox,
            account,
            token,
            directory,
            workers,
            drain,
        }
    }

    /// Ends in order, as at SIGTERM; the books stay open.
    pub(crate) async fn finish(self) -> Arc<dyn Books> {
        self.drain.send_replace(true);
        tokio::time::timeout(PATIENCE, self.workers.finish()).await.unwrap();
        self.store
    }

    /// Stops every worker where it is, does something to the books while none runs, and starts all anew.
    pub(crate) async fn crash<F: AsyncFnOnce(&dyn Books)>(self, meanwhile: F, reports: ReportSettings) -> Self {
        drop(self.workers);
        meanwhile(self.store.as_ref()).await;
        self.store.close().await.unwrap();
        Self::open(self.directory, self.account, self.token, reports, 0)
    }

    /// Makes one more account that has credit.
    pub(crate) async fn another_account(&self, number: u64) -> AccountKey {
        let id = AccountId::from_entropy(u64::from_ne_bytes(random::bytes()));
        let account = AccountKey::of_new(id);
        let new = NewAccount {
            key: account,
            token: ApiToken::new(id, random::bytes()),
            name: "Another".into(),
            phone: phone(&format!("+99966{:05}", 10_000 + number)),
            now: clock::now(),
        };
        self.store.create_account(new, Actor::Operator).await.unwrap();
        let amount = Credits::parse("1000").unwrap();
        submit(self.store.as_ref(), account, Action::Purchase { amount }).await;
        account
    }

    /// Waits until this report stands so in the books.
    pub(crate) async fn wait_for_report(&self, key: ReportKey, state: ReportState) -> ReportDetail {
        wait_until(async || {
            let detail = self.store.report(key).await.unwrap().unwrap();
            (detail.profile.state == state).then_some(detail)
        })
        .await
    }

    /// The only report of a request.
    pub(crate) async fn report_of(&self, request: RequestId) -> ReportKey {
        let all = self
            .store
            .reports(self.account, ReportFilter::All, None, 1_000)
            .await
            .unwrap();
        let of_request: Vec<ReportKey> = all
            .iter()
            .map(|report| report.key)
            .filter(|key| key.request.id == request)
            .collect();
        assert_eq!(of_request.len(), 1);
        of_request[0]
    }

    /// Sends a generated code and answers the request.
    pub(crate) async fn send(&self, to: &str, callback_url: Option<String>) -> RequestId {
        self.send_for(to, callback_url, 3600).await
    }

    pub(crate) async fn send_for(&self, to: &str, callback_url: Option<String>, ttl_seconds: i64) -> RequestId {
        send(self.store.as_ref(), self.account, to, callback_url, ttl_seconds).await
    }

    pub(crate) async fn submit(&self, action: Action) -> Answer {
        submit(self.store.as_ref(), self.account, action).await
    }

    pub(crate) async fn advance_clock(&self, seconds: i64) {
        advance_clock(self.store.as_ref(), self.account, seconds).await;
    }

    /// The stored state of a request.
    pub(crate) async fn status(&self, id: RequestId) -> RequestStatus {
        RequestStatus::from(&self.store.request(self.account, id).await.unwrap().unwrap())
    }

    /// Waits until the books hold this delivery state.
    pub(crate) async fn wait_for_state(&self, id: RequestId, state: &str) -> RequestStatus {
        wait_until(async || {
            let status = self.status(id).await;
            (status.delivery_status.as_ref().unwrap().status == state).then_some(status)
        })
        .await
    }

    /// Opens the inbox of a number: its messages are delivered by that.
    pub(crate) fn open_inbox(&self, of: &str) -> InboxReader {
        self.inbox.open(Opening::Number(phone(of))).unwrap()
    }

    pub(crate) async fn balance(&self) -> Credits {
        self.store.account(self.account.id).await.unwrap().unwrap().balance
    }
}

/// The first reports of requests that are not acknowledged and not lost, whenever they are due.
pub(crate) async fn open_reports(store: &dyn Books) -> Vec<DueReport> {
    let mut open = Vec::new();
    for account in store.report_accounts(None, 1_000).await.unwrap() {
        for (lane, _) in store.report_lanes(account, None, 1_000).await.unwrap() {
            let end = Timestamp::from_millis(i64::MAX);
            open.extend(store.due_reports(lane, end, None, 10_000).await.unwrap());
        }
    }
    open
}

pub(crate) async fn advance_clock(store: &dyn Books, account: AccountKey, seconds: i64) {
    submit(store, account, Action::AdvanceClock { by_ms: seconds * 1_000 }).await;
}

async fn send(
    store: &dyn Books,
    account: AccountKey,
    to: &str,
    callback_url: Option<String>,
    ttl_seconds: i64,
) -> RequestId {
    match submit(store, account, send_action(to, callback_url, ttl_seconds)).await {
        Answer::Status(status) => RequestId::parse(&status.request_id).unwrap(),
        other => panic!("a send answered {other:?}"),
    }
}

fn send_action(to: &str, callback_url: Option<String>, ttl_seconds: i64) -> Action {
    let send = Send {
        email: None,
        locale: None,
        phone: phone(to),
        request: None,
        sender: None,
        code: SendCode::Generate {
            length: CodeLength::default(),
            entropy: 123_456,
        },
        callback_url: callback_url.map(|url| CallbackUrl::parse(&url, PlainHttp::Accepted).unwrap()),
        payload: None,
        ttl: Ttl::new(ttl_seconds).unwrap(),
        id_entropy: u64::from_ne_bytes(random::bytes()),
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    };
    Action::Send(Box::new(send))
}

/// A message that a token sends, to a number that takes it at once.
pub(crate) async fn send_with_token(
    store: &dyn Books,
    account: AccountKey,
    token: TokenClaim,
    to: &str,
    callback_url: String,
) {
    let action = send_action(to, Some(callback_url), 3600);
    let command = Command {
        now: clock::now(),
        token: Some(token),
        idempotency: None,
        action,
    };
    store.submit(account, command).await.unwrap().unwrap();
}

/// A message that arrived, with nobody's help but the books'.
pub(crate) async fn arrived(store: &dyn Books, account: AccountKey, callback_url: String) {
    let request = send(store, account, PHONE, Some(callback_url), 3600).await;
    let news = News::Delivered;
    submit(store, account, Action::news(request, news)).await;
}

async fn submit(store: &dyn Books, account: AccountKey, action: Action) -> Answer {
    let command = Command {
        now: clock::now(),
        token: None,
        idempotency: None,
        action,
    };
    store.submit(account, command).await.unwrap().unwrap()
}

fn open(path: &Path) -> (Arc<dyn Books>, countersign_store::CommittedWork) {
    testing::open(path, MasterKey::from_bytes([1; 32]), Rules::default()).unwrap()
}

pub(crate) fn phone(text: &str) -> PhoneNumber {
    PhoneNumber::from_stored(text.trim_start_matches('+').parse().unwrap())
}

pub(crate) fn code(text: &str) -> Code {
    Code::parse(text).unwrap()
}

/// Looks again and again, as often as others get their turn, until there is something.
pub(crate) async fn wait_until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let watch = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, watch).await.unwrap()
}
