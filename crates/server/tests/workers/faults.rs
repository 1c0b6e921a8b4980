//! Books that fail as often as a test says: the workers must get everything done all the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use countersign_core::{
    AccountId, AccountKey, ApiToken, Command, LowBalance, PhoneNumber, RequestId, SenderUsername, Timestamp,
    TokenClaim, VerificationRequest,
};
use countersign_store::{
    AccountAccess, AccountProfile, Actor, BackupDone, BackupError, BackupProgress, Books, DuePlace, DueReport, Lease,
    MessageRef, NewAccount, Outcome, PriceRecord, PriceSetting, PricesSet, ReportAttempt, ReportDetail, ReportFilter,
    ReportKey, ReportLane, ReportOutcome, ReportProfile, RequestRef, SenderProfile, StatementPage, Store, StoreError,
    Trouble,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ipnet::IpNet;

use crate::sink::Sink;
use crate::support::{House, PHONE, open_reports, quick};

type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Passes everything on, but fails each of the workers' questions and writes so many times first, busy, without room, and broken in turn.
pub(crate) struct FaultyStore {
    store: Arc<dyn Books>,
    /// Of each method that the workers use.
    faults_left: [AtomicU32; 10],
}

impl FaultyStore {
    pub(crate) fn new(store: Arc<dyn Books>, faults: u32) -> Self {
        Self {
            store,
            faults_left: std::array::from_fn(|_| AtomicU32::new(faults)),
        }
    }

    fn or_fault<'a, T: Send + 'a>(&self, method: usize, answer: Answer<'a, T>) -> Answer<'a, T> {
        let take = |left: u32| left.checked_sub(1);
        match self.faults_left[method].fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(left) if left % 3 == 1 => std::future::ready(Err(StoreError::DiskFull)).boxed(),
            Ok(left) if left % 3 == 2 => std::future::ready(Err(StoreError::Busy)).boxed(),
            Ok(_) => std::future::ready(Err(StoreError::Database("a fault of the test".into()))).boxed(),
            Err(_) => answer,
        }
    }
}

impl Store for FaultyStore {
    fn submit(&self, account: AccountKey, command: Command) -> Answer<'_, Outcome> {
        self.or_fault(0, self.store.submit(account, command))
    }
    fn submit_under(&self, lease: Lease, account: AccountKey, command: Command) -> Answer<'_, Outcome> {
        self.or_fault(0, self.store.submit_under(lease, account, command))
    }
    fn lease(&self) -> Lease {
        self.store.lease()
    }
    fn holds(&self, lease: Lease) -> bool {
        self.store.holds(lease)
    }
    fn submit_by(&self, account: AccountKey, command: Command, by: Actor) -> Answer<'_, Outcome> {
        self.or_fault(0, self.store.submit_by(account, command, by))
    }
    fn record_report(
        &self,
        key: ReportKey,
        attempt: ReportAttempt,
        outcome: ReportOutcome,
        lease: Lease,
    ) -> Answer<'_, Option<DueReport>> {
        self.or_fault(1, self.store.record_report(key, attempt, outcome, lease))
    }
    fn redeliver_report(&self, key: ReportKey, now: Timestamp, by: Actor) -> Answer<'_, ReportProfile> {
        self.store.redeliver_report(key, now, by)
    }
    fn fingerprint(&self, account: AccountKey, text: &[u8]) -> [u8; 32] {
        self.store.fingerprint(account, text)
    }
    fn token(&self, account: AccountKey) -> Answer<'_, ApiToken> {
        self.store.token(account)
    }
    fn signing_token(&self, account: AccountKey, made_with: TokenClaim, now: Timestamp) -> Answer<'_, ApiToken> {
        self.or_fault(2, self.store.signing_token(account, made_with, now))
    }
    fn account(&self, id: AccountId) -> Answer<'_, Option<AccountProfile>> {
        self.or_fault(3, self.store.account(id))
    }
    fn waiting_messages(
        &self,
        now: Timestamp,
        after: Option<MessageRef>,
        limit: usize,
    ) -> Answer<'_, Vec<(MessageRef, VerificationRequest)>> {
        self.or_fault(4, self.store.waiting_messages(now, after, limit))
    }
    fn arrived_messages(&self, since: Timestamp, limit: usize) -> Answer<'_, Vec<VerificationRequest>> {
        self.or_fault(5, self.store.arrived_messages(since, limit))
    }
    fn due_lapses(&self, now: Timestamp, limit: usize) -> Answer<'_, Vec<AccountKey>> {
        self.or_fault(6, self.store.due_lapses(now, limit))
    }
    fn due_requests(&self, now: Timestamp, account: Option<AccountKey>, limit: usize) -> Answer<'_, Vec<RequestRef>> {
        self.or_fault(6, self.store.due_requests(now, account, limit))
    }
    fn report_accounts(&self, after: Option<AccountKey>, limit: usize) -> Answer<'_, Vec<AccountKey>> {
        self.or_fault(7, self.store.report_accounts(after, limit))
    }
    fn report_lanes(
        &self,
        account: AccountKey,
        after: Option<Arc<str>>,
        limit: usize,
    ) -> Answer<'_, Vec<(ReportLane, Timestamp)>> {
        self.or_fault(8, self.store.report_lanes(account, after, limit))
    }
    fn due_reports(
        &self,
        lane: ReportLane,
        now: Timestamp,
        after: Option<DuePlace>,
        limit: usize,
    ) -> Answer<'_, Vec<DueReport>> {
        self.or_fault(9, self.store.due_reports(lane, now, after, limit))
    }
    fn reports(
        &self,
        account: AccountKey,
        filter: ReportFilter,
        before: Option<ReportKey>,
        limit: usize,
    ) -> Answer<'_, Vec<ReportProfile>> {
        self.store.reports(account, filter, before, limit)
    }
    fn report(&self, key: ReportKey) -> Answer<'_, Option<ReportDetail>> {
        self.store.report(key)
    }
    fn create_account(&self, new: NewAccount, by: Actor) -> Answer<'_, AccountProfile> {
        self.store.create_account(new, by)
    }
    fn rotate_token(&self, account: AccountKey, token: ApiToken, by: Actor) -> Answer<'_, ()> {
        self.store.rotate_token(account, token, by)
    }
    fn close_account(&self, account: AccountKey, now: Timestamp, by: Actor) -> Answer<'_, ()> {
        self.store.close_account(account, now, by)
    }
    fn set_allow_list(&self, account: AccountKey, allow_list: Vec<IpNet>, by: Actor) -> Answer<'_, ()> {
        self.store.set_allow_list(account, allow_list, by)
    }
    fn set_low_balance(&self, account: AccountKey, low_balance: Option<LowBalance>, by: Actor) -> Answer<'_, ()> {
        self.store.set_low_balance(account, low_balance, by)
    }
    fn add_sender(
        &self,
        account: AccountKey,
        username: SenderUsername,
        now: Timestamp,
        by: Actor,
    ) -> Answer<'_, SenderProfile> {
        self.store.add_sender(account, username, now, by)
    }
    fn verify_sender(&self, username: SenderUsername, now: Timestamp, by: Actor) -> Answer<'_, SenderProfile> {
        self.store.verify_sender(username, now, by)
    }
    fn set_prices(&self, setting: PriceSetting) -> Answer<'_, PricesSet> {
        self.store.set_prices(setting)
    }

    fn forget_old_answers(&self, now: Timestamp) -> Answer<'_, usize> {
        self.store.forget_old_answers(now)
    }
    fn forget_spent_limits(&self, now: Timestamp) -> Answer<'_, usize> {
        self.store.forget_spent_limits(now)
    }
    fn authenticate(&self, token: &ApiToken) -> Answer<'_, Option<Arc<AccountAccess>>> {
        self.store.authenticate(token)
    }
    fn account_of_phone(&self, phone: PhoneNumber) -> Answer<'_, Option<AccountProfile>> {
        self.store.account_of_phone(phone)
    }
    fn accounts(&self, after: Option<AccountId>, limit: usize) -> Answer<'_, Vec<AccountProfile>> {
        self.store.accounts(after, limit)
    }
    fn statement(
        &self,
        account: AccountKey,
        from: Timestamp,
        to: Timestamp,
        after: Option<u64>,
        limit: usize,
    ) -> Answer<'_, StatementPage> {
        self.store.statement(account, from, to, after, limit)
    }
    fn senders(&self, account: Option<AccountKey>) -> Answer<'_, Vec<SenderProfile>> {
        self.store.senders(account)
    }
    fn price_history(&self, after: Option<u64>, limit: usize) -> Answer<'_, Vec<PriceRecord>> {
        self.store.price_history(after, limit)
    }

    fn request(&self, account: AccountKey, id: RequestId) -> Answer<'_, Option<VerificationRequest>> {
        self.store.request(account, id)
    }
    fn trouble(&self) -> Option<Trouble> {
        self.store.trouble()
    }
    fn try_write(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.try_write()
    }
    fn back_up(
        &self,
        file: PathBuf,
        force: bool,
        progress: Arc<BackupProgress>,
    ) -> BoxFuture<'_, Result<BackupDone, BackupError>> {
        self.store.back_up(file, force, progress)
    }
    fn close(&self) -> Answer<'_, ()> {
        self.store.close()
    }
}

#[tokio::test]
async fn no_failure_of_the_books_ends_a_worker_or_loses_work() {
    let house = House::with_faults(quick(), 6).await;
    let sink = Sink::ok().await;
    let mut reader = house.open_inbox(PHONE);
    let delivered = house.send(PHONE, Some(sink.url("/"))).await;
    reader.next().await.unwrap();
    // Expires for want of a reader.
    let expired = house.send_for("+9996654321", Some(sink.url("/")), 30).await;
    house.advance_clock(30).await;
    house.wait_for_state(delivered, "delivered").await;
    assert!(house.wait_for_state(expired, "expired").await.is_refunded);
    let mut states: Vec<_> = sink
        .wait_for(2)
        .await
        .iter()
        .map(crate::sink::Received::delivery)
        .collect();
    states.sort();
    assert_eq!(states, ["delivered", "expired"]);
    let store = house.finish().await;
    assert!(open_reports(store.as_ref()).await.is_empty());
    assert_eq!(sink.count(), 2);
}
