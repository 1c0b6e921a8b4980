//! Books that keep nothing: every well-formed token opens an account, every command is answered at once with what the real
//! books would have answered to its first call. Whatever the Gateway API's four methods don't need is not there.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use countersign_core::{
    AccountId, AccountKey, Action, Answer, ApiError, ApiToken, Bucket, Code, CodeLength, CodeOrigin, Command, Credits,
    DEFAULT_PRICE, DeliveryState, EnteredCode, HeldCode, LegState, LowBalance, Message, PhoneNumber, RequestId,
    RequestStatus, Send, SendCode, SenderUsername, Timestamp, TokenClaim, TokenKind, VerificationRequest,
    VerificationState, VerificationStatus,
};
use countersign_store::{
    AccountAccess, AccountProfile, Actor, BackupDone, BackupError, BackupProgress, DuePlace, DueReport, Lease,
    MessageRef, NewAccount, Outcome, PriceRecord, PriceSetting, PricesSet, ReportAttempt, ReportDetail, ReportFilter,
    ReportKey, ReportLane, ReportOutcome, ReportProfile, RequestRef, SenderProfile, StatementPage, Store, StoreError,
    Trouble,
};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use ipnet::IpNet;
use ring::hmac;

/// Distinct tokens that are remembered; beyond it the memory starts anew.
const MAX_TOKENS: usize = 10_000;
/// The number that every request without one of its own was sent to.
const ANY_PHONE: PhoneNumber = PhoneNumber::from_stored(393_000_000_000);
/// The life of a message without a `ttl`.
const MESSAGE_LIFE_MS: i64 = 3_600_000;

/// The ceiling's books.
pub(crate) struct CeilingStore {
    lookup_key: hmac::Key,
    /// Looked up as in the real books: by the account's id.
    accounts: RwLock<HashMap<AccountId, Arc<AccountAccess>>>,
}

impl CeilingStore {
    /// Empty, as it stays.
    pub(crate) fn new() -> Self {
        Self {
            lookup_key: hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]),
            accounts: RwLock::new(HashMap::new()),
        }
    }

    fn access(&self, token: &ApiToken) -> Arc<AccountAccess> {
        // The real books compare this hash with the stored one; here there is none, and every token is right.
        black_box(hmac::sign(&self.lookup_key, token.as_str().as_bytes()));
        let id = token.account();
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(access) = accounts.get(&id) {
            return Arc::clone(access);
        }
        drop(accounts);
        let access = Arc::new(AccountAccess {
            key: AccountKey { bucket: Bucket(0), id },
            token: TokenClaim {
                kind: TokenKind::Live,
                generation: 1,
            },
            valid_until: None,
            closed: false,
            allow_list: Vec::new(),
            clock_offset_ms: 0,
            owner: PhoneNumber::from_stored(9_996_600_000),
        });
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= MAX_TOKENS {
            accounts.clear();
        }
        accounts.insert(id, Arc::clone(&access));
        access
    }
}

/// A request as it stands right after its send.
fn sent_request(account: AccountKey, id: RequestId, phone: PhoneNumber, code: Code) -> VerificationRequest {
    let sent_at = id.created_at();
    VerificationRequest {
        id,
        account,
        phone,
        test: false,
        generation: 1,
        delivery: DeliveryState::Sent,
        delivery_updated_at: sent_at,
        fee: DEFAULT_PRICE,
        refunded: false,
        plan: None,
        message: Some(Message {
            email: None,
            locale: None,
            code: HeldCode::Whole(code),
            origin: CodeOrigin::Generated,
            sender: None,
            callback_url: None,
            payload: None,
            sent_at,
            // Never overdue, whenever a benchmark asks about it.
            expires_at: Timestamp::from_millis(i64::MAX - MESSAGE_LIFE_MS),
            accepted: false,
            legs: LegState::first(sent_at),
        }),
        verification: VerificationState::Unchecked,
        verification_updated_at: sent_at,
        code_entered: None,
        wrong_attempts: 0,
        events: 0,
    }
}

fn answer_send(account: AccountKey, now: Timestamp, send: &Send) -> RequestStatus {
    let code = match send.code {
        SendCode::Supplied(code) => code,
        SendCode::Generate { length, entropy } => Code::from_entropy(length, entropy),
    };
    let mut request = sent_request(account, RequestId::new(now, send.id_entropy), send.phone, code);
    if let Some(message) = &mut request.message {
        message.payload.clone_from(&send.payload);
    }
    let mut status = RequestStatus::from(&request);
    status.remaining_balance = Some(Credits::from_micros(1_000_000_000));
    status
}

fn answer_check(account: AccountKey, now: Timestamp, id: RequestId, entered: Option<&EnteredCode>) -> RequestStatus {
    let request = sent_request(account, id, ANY_PHONE, Code::from_entropy(CodeLength::default(), 0));
    let mut status = RequestStatus::from(&request);
    if entered.is_some() {
        status.verification_status = VerificationStatus::new(VerificationState::Valid, now, entered);
    }
    status
}

fn answer(account: AccountKey, command: &Command) -> Outcome {
    let status = match &command.action {
        Action::Send(send) => answer_send(account, command.now, send),
        Action::CheckAbility { phone, id_entropy, .. } => {
            let id = RequestId::new(command.now, *id_entropy);
            let mut request = sent_request(account, id, *phone, Code::from_entropy(CodeLength::default(), 0));
            request.delivery = DeliveryState::Checked;
            request.message = None;
            RequestStatus::from(&request)
        }
        Action::Check { request, code } => answer_check(account, command.now, *request, code.as_ref()),
        Action::Revoke { .. } => return Ok(Answer::Revoked),
        _ => return Err(ApiError::UnknownMethod),
    };
    Ok(Answer::Status(Box::new(status)))
}

/// What the ceiling doesn't have.
fn absent<T: std::marker::Send + 'static>() -> BoxFuture<'static, Result<T, StoreError>> {
    ready(Err(StoreError::NotFound("books behind the ceiling server"))).boxed()
}

fn at_once<T: std::marker::Send + 'static>(value: T) -> BoxFuture<'static, Result<T, StoreError>> {
    ready(Ok(value)).boxed()
}

impl Store for CeilingStore {
    fn submit(&self, account: AccountKey, command: Command) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        at_once(answer(account, &command))
    }

    fn submit_under(
        &self,
        _: Lease,
        account: AccountKey,
        command: Command,
    ) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        self.submit(account, command)
    }
    fn lease(&self) -> Lease {
        Lease::default()
    }
    fn holds(&self, _: Lease) -> bool {
        true
    }
    fn submit_by(&self, account: AccountKey, command: Command, _: Actor) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        self.submit(account, command)
    }

    fn authenticate(&self, token: &ApiToken) -> BoxFuture<'_, Result<Option<Arc<AccountAccess>>, StoreError>> {
        at_once(Some(self.access(token)))
    }

    fn request(
        &self,
        account: AccountKey,
        id: RequestId,
    ) -> BoxFuture<'_, Result<Option<VerificationRequest>, StoreError>> {
        let code = Code::from_entropy(CodeLength::default(), 0);
        at_once(Some(sent_request(account, id, ANY_PHONE, code)))
    }

    fn trouble(&self) -> Option<Trouble> {
        None
    }

    fn try_write(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }

    fn back_up(
        &self,
        _file: PathBuf,
        _force: bool,
        _progress: Arc<BackupProgress>,
    ) -> BoxFuture<'_, Result<BackupDone, BackupError>> {
        ready(Err(BackupError::Closing)).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        at_once(())
    }

    fn create_account(&self, _: NewAccount, _: Actor) -> BoxFuture<'_, Result<AccountProfile, StoreError>> {
        absent()
    }
    fn rotate_token(&self, _: AccountKey, _: ApiToken, _: Actor) -> BoxFuture<'_, Result<(), StoreError>> {
        absent()
    }
    fn close_account(&self, _: AccountKey, _: Timestamp, _: Actor) -> BoxFuture<'_, Result<(), StoreError>> {
        absent()
    }
    fn set_allow_list(&self, _: AccountKey, _: Vec<IpNet>, _: Actor) -> BoxFuture<'_, Result<(), StoreError>> {
        absent()
    }
    fn set_low_balance(&self, _: AccountKey, _: Option<LowBalance>, _: Actor) -> BoxFuture<'_, Result<(), StoreError>> {
        absent()
    }
    fn add_sender(
        &self,
        _: AccountKey,
        _: SenderUsername,
        _: Timestamp,
        _: Actor,
    ) -> BoxFuture<'_, Result<SenderProfile, StoreError>> {
        absent()
    }
    fn verify_sender(
        &self,
        _: SenderUsername,
        _: Timestamp,
        _: Actor,
    ) -> BoxFuture<'_, Result<SenderProfile, StoreError>> {
        absent()
    }
    fn set_prices(&self, _: PriceSetting) -> BoxFuture<'_, Result<PricesSet, StoreError>> {
        absent()
    }
    fn record_report(
        &self,
        _: ReportKey,
        _: ReportAttempt,
        _: ReportOutcome,
        _: Lease,
    ) -> BoxFuture<'_, Result<Option<DueReport>, StoreError>> {
        absent()
    }
    fn redeliver_report(
        &self,
        _: ReportKey,
        _: Timestamp,
        _: Actor,
    ) -> BoxFuture<'_, Result<ReportProfile, StoreError>> {
        absent()
    }
    fn forget_spent_limits(&self, _: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        at_once(0)
    }
    fn forget_old_answers(&self, _: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        at_once(0)
    }
    fn fingerprint(&self, _account: AccountKey, _text: &[u8]) -> [u8; 32] {
        [0; 32]
    }
    fn token(&self, _: AccountKey) -> BoxFuture<'_, Result<ApiToken, StoreError>> {
        absent()
    }
    fn signing_token(&self, _: AccountKey, _: TokenClaim, _: Timestamp) -> BoxFuture<'_, Result<ApiToken, StoreError>> {
        absent()
    }
    fn account(&self, _: AccountId) -> BoxFuture<'_, Result<Option<AccountProfile>, StoreError>> {
        at_once(None)
    }
    fn account_of_phone(&self, _: PhoneNumber) -> BoxFuture<'_, Result<Option<AccountProfile>, StoreError>> {
        at_once(None)
    }
    fn accounts(&self, _: Option<AccountId>, _: usize) -> BoxFuture<'_, Result<Vec<AccountProfile>, StoreError>> {
        at_once(Vec::new())
    }
    fn statement(
        &self,
        _: AccountKey,
        _: Timestamp,
        _: Timestamp,
        _: Option<u64>,
        _: usize,
    ) -> BoxFuture<'_, Result<StatementPage, StoreError>> {
        absent()
    }
    fn senders(&self, _: Option<AccountKey>) -> BoxFuture<'_, Result<Vec<SenderProfile>, StoreError>> {
        at_once(Vec::new())
    }
    fn price_history(&self, _: Option<u64>, _: usize) -> BoxFuture<'_, Result<Vec<PriceRecord>, StoreError>> {
        at_once(Vec::new())
    }
    fn waiting_messages(
        &self,
        _: Timestamp,
        _: Option<MessageRef>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<(MessageRef, VerificationRequest)>, StoreError>> {
        at_once(Vec::new())
    }
    fn arrived_messages(&self, _: Timestamp, _: usize) -> BoxFuture<'_, Result<Vec<VerificationRequest>, StoreError>> {
        at_once(Vec::new())
    }
    fn due_lapses(&self, _: Timestamp, _: usize) -> BoxFuture<'_, Result<Vec<AccountKey>, StoreError>> {
        at_once(Vec::new())
    }

    fn due_requests(
        &self,
        _: Timestamp,
        _: Option<AccountKey>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<RequestRef>, StoreError>> {
        at_once(Vec::new())
    }
    fn report_accounts(&self, _: Option<AccountKey>, _: usize) -> BoxFuture<'_, Result<Vec<AccountKey>, StoreError>> {
        at_once(Vec::new())
    }
    fn report_lanes(
        &self,
        _: AccountKey,
        _: Option<Arc<str>>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<(ReportLane, Timestamp)>, StoreError>> {
        at_once(Vec::new())
    }
    fn due_reports(
        &self,
        _: ReportLane,
        _: Timestamp,
        _: Option<DuePlace>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<DueReport>, StoreError>> {
        at_once(Vec::new())
    }
    fn reports(
        &self,
        _: AccountKey,
        _: ReportFilter,
        _: Option<ReportKey>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<ReportProfile>, StoreError>> {
        at_once(Vec::new())
    }
    fn report(&self, _: ReportKey) -> BoxFuture<'_, Result<Option<ReportDetail>, StoreError>> {
        at_once(None)
    }
}
