//! One batch of commands against a backend: facts are loaded once, [`decide`] answers each command in turn, later commands see
//! earlier ones' changes, and what is left over is the set of rows to write. No SQL here; both backends share it (P5).

use std::collections::hash_map::Entry;

use countersign_core::{
    Account, AccountKey, Action, Command, Decision, DeliveryReport, DeliveryState, Facts, FirstAnswer, FloodCounters,
    IdempotencyKey, LedgerEntry, Order, OrderId, PhoneNumber, Purchase, RequestId, Rules, SenderFact, SenderUsername,
    TimelineEvent, Timestamp, TokenKind, UsageFacts, VerificationRequest, Work, decide, usage_change,
};
use foldhash::HashMap;

use crate::Outcome;
use crate::flood::{BatchFlood, Caller, FloodBook, flood_phone};
use crate::types::{Committed, Lease, RequestRef, StoreError};
use crate::usage::NewUsage;

/// Where a batch loads its facts from.
pub(crate) trait FactSource {
    /// An account.
    fn account(&mut self, key: AccountKey) -> Result<Option<Account>, StoreError>;
    /// A request of an account.
    fn request(&mut self, request: RequestRef) -> Result<Option<VerificationRequest>, StoreError>;
    /// An order of credit of an account.
    fn order(&mut self, account: AccountKey, id: OrderId) -> Result<Option<Order>, StoreError>;
    /// The answer that is kept under an idempotency key.
    fn first_answer(&mut self, account: AccountKey, key: &IdempotencyKey) -> Result<Option<FirstAnswer>, StoreError>;
    /// What is known of a sender, seen from an account.
    fn sender(&mut self, account: AccountKey, username: &SenderUsername) -> Result<SenderFact, StoreError>;
    /// The latest message with that account, number and sender, as the books noted it while one code lived at a time.
    fn live_code(&mut self, key: &LiveKey) -> Result<Option<RequestId>, StoreError>;
    /// Purchases that haven't lapsed, oldest first.
    fn open_purchases(&mut self, account: AccountKey) -> Result<Vec<Purchase>, StoreError>;
}

/// Among which messages one code lives: an account's to a number, as a sender or none; tests by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LiveKey {
    pub(crate) account: AccountKey,
    pub(crate) phone: PhoneNumber,
    pub(crate) sender: Option<SenderUsername>,
    pub(crate) test: bool,
}

impl LiveKey {
    /// Of the message of a request.
    fn of(request: &VerificationRequest) -> Option<Self> {
        let message = request.message.as_ref()?;
        Some(Self {
            account: request.account,
            phone: request.phone,
            sender: message.sender.clone(),
            test: request.test,
        })
    }

    /// Of the message that a command would send.
    pub(crate) fn named(account: AccountKey, command: &Command, request: Option<&VerificationRequest>) -> Option<Self> {
        match &command.action {
            Action::Send(send) => Some(Self {
                account,
                phone: send.phone,
                sender: send.sender.clone(),
                test: command.token.is_some_and(|claim| claim.kind == TokenKind::Test),
            }),
            Action::Settle { .. } => Self::of(request?),
            _ => None,
        }
    }
}

/// A row that a batch touched.
#[derive(Debug)]
pub(crate) struct Touched<T> {
    /// The row as it stands now.
    pub(crate) row: T,
    /// Whether the database has it already.
    pub(crate) stored: bool,
    /// Whether it must be written.
    pub(crate) changed: bool,
    /// Whether a request's message came, went or moved in time, or its plan changed: only then are their columns written again.
    pub(crate) message_changed: bool,
}

/// A timeline event or report with the request that it belongs to.
pub(crate) type Of<T> = (RequestRef, T);

/// What a batch has loaded and changed so far.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Under which the work that it makes is this node's.
    pub(crate) lease: Lease,
    pub(crate) accounts: HashMap<AccountKey, Touched<Account>>,
    pub(crate) requests: HashMap<RequestRef, Option<Touched<VerificationRequest>>>,
    pub(crate) entries: Vec<LedgerEntry>,
    pub(crate) purchases: HashMap<(AccountKey, u64), Purchase>,
    /// Orders that the batch decided.
    pub(crate) orders: HashMap<(AccountKey, OrderId), Order>,
    pub(crate) timeline: Vec<Of<TimelineEvent>>,
    pub(crate) reports: Vec<Of<DeliveryReport>>,
    /// Reports of balances that became low, under ids of their own.
    pub(crate) low_balances: Vec<Of<DeliveryReport>>,
    /// Reports of daily budgets, likewise.
    pub(crate) budgets: Vec<Of<DeliveryReport>>,
    pub(crate) answers: HashMap<(AccountKey, IdempotencyKey), FirstAnswer>,
    /// The latest messages, where one code lives at a time.
    pub(crate) live_codes: HashMap<LiveKey, RequestId>,
    /// How far a batch moved accounts' clocks: rows that wait for a time move with them.
    pub(crate) clocks_moved: Vec<(AccountKey, i64)>,
    /// What statistics add up.
    pub(crate) usage: Vec<NewUsage>,
    /// For the workers, in order.
    pub(crate) committed: Vec<Committed>,
    /// Flood counters that it changed; they count once it is committed.
    pub(crate) flood: BatchFlood,
}

impl Batch {
    /// Judges one command on top of what the batch did before.
    pub(crate) fn judge(
        &mut self,
        source: &mut impl FactSource,
        rules: &Rules,
        flood: &FloodBook,
        account_key: AccountKey,
        command: &Command,
    ) -> Result<Outcome, StoreError> {
        let account = match self.accounts.entry(account_key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let row = source.account(account_key)?.ok_or(StoreError::NotFound("account"))?;
                entry.insert(Touched {
                    row,
                    stored: true,
                    changed: false,
                    message_changed: false,
                })
            }
        };
        let named = named_request(&command.action).map(|id| RequestRef {
            account: account_key,
            id,
        });
        if let Some(request) = named {
            load_request(&mut self.requests, source, request)?;
        }
        let earlier = if rules.one_live_code.is_some() {
            let request = named.and_then(|named| row_of(&self.requests, named));
            let key = LiveKey::named(account_key, command, request);
            load_earlier(&mut self.requests, &self.live_codes, source, key)?
        } else {
            None
        };
        let request = named.and_then(|named| row_of(&self.requests, named));
        let loaded_order;
        let order = match named_order(&command.action) {
            None => None,
            Some(id) => {
                if let Some(order) = self.orders.get(&(account_key, id)) {
                    Some(order)
                } else {
                    loaded_order = source.order(account_key, id)?;
                    loaded_order.as_ref()
                }
            }
        };
        let loaded_answer;
        let first_answer = match &command.idempotency {
            None => None,
            Some(idempotency) => {
                if let Some(answer) = self.answers.get(&(account_key, idempotency.key.clone())) {
                    Some(answer)
                } else {
                    loaded_answer = source.first_answer(account_key, &idempotency.key)?;
                    loaded_answer.as_ref()
                }
            }
        };
        let phone = flood_phone(&command.action);
        let caller = (account_key, command.token.map_or(TokenKind::Live, |token| token.kind));
        let counters = phone.map_or_else(FloodCounters::default, |phone| {
            self.flood.counters(flood, caller, phone)
        });
        let sender = match &command.action {
            Action::Send(send) => match &send.sender {
                Some(username) => source.sender(account_key, username)?,
                None => SenderFact::NotNamed,
            },
            _ => SenderFact::NotNamed,
        };
        let account_now = account.row.clock(command.now);
        let (due_purchases, next_lapse_after) = if account.row.next_lapse_at.is_some_and(|at| at <= account_now) {
            let mut open = open_purchases(source, &self.purchases, account_key)?;
            let still_open = open
                .iter()
                .position(|purchase| purchase.lapses_at > account_now)
                .unwrap_or(open.len());
            let next = open.get(still_open).map(|purchase| purchase.lapses_at);
            open.truncate(still_open);
            (open, next)
        } else {
            (Vec::new(), None)
        };
        let facts = Facts {
            account: &account.row,
            request,
            order,
            first_answer,
            sender,
            flood: counters,
            earlier: earlier.and_then(|earlier| row_of(&self.requests, earlier)),
            due_purchases: &due_purchases,
            next_lapse_after,
            rules,
        };
        let was_sent = request.is_some_and(|request| request.delivery == DeliveryState::Sent);
        let decision = decide(&facts, command);
        if rules.one_live_code.is_some()
            && let Some(row) = decision.request.as_ref().filter(|_| !was_sent)
            && row.delivery == DeliveryState::Sent
            && let Some(key) = LiveKey::of(row)
        {
            self.live_codes.insert(key, row.id);
        }
        Ok(self.apply(caller, phone, command.now, counters, decision))
    }

    /// Takes a decision's changes in; answers its outcome.
    fn apply(
        &mut self,
        caller: Caller,
        phone: Option<PhoneNumber>,
        now: Timestamp,
        counters_before: FloodCounters,
        decision: Decision,
    ) -> Outcome {
        let account_key = caller.0;
        if let Some(account) = self.accounts.get_mut(&account_key)
            && account.row != decision.account
        {
            let moved_ms = decision.account.clock_offset_ms - account.row.clock_offset_ms;
            if moved_ms != 0 {
                self.clocks_moved.push((account_key, moved_ms));
            }
            account.row = decision.account;
            account.changed = true;
        }
        // Only what changed: a counter that no limit asked for was not loaded either, and must stay as it stands in the books.
        if let Some(phone) = phone {
            self.flood.note(caller, phone, now, counters_before, decision.flood);
        }
        self.entries.extend(decision.entries);
        for purchase in decision.purchases {
            self.purchases.insert((account_key, purchase.entry), purchase);
        }
        if let Some(order) = decision.order {
            self.orders.insert((account_key, order.id), order);
        }
        if let Some(answer) = decision.first_answer {
            self.answers
                .insert((account_key, answer.idempotency.key.clone()), answer);
        }
        if let Some(low) = decision.low_balance {
            let id = RequestRef {
                account: account_key,
                id: low.id,
            };
            self.low_balances.push((id, low.report));
        }
        if let Some(alarm) = decision.budget {
            let id = RequestRef {
                account: account_key,
                id: alarm.id,
            };
            self.budgets.push((id, alarm.report));
        }
        if let Some(ended) = decision.ended {
            self.take_in(ended.request, ended.timeline, ended.reports, ended.work);
        }
        if let Some(row) = decision.request {
            self.take_in(row, decision.timeline, decision.reports, decision.work);
        }
        decision.outcome
    }

    /// Takes in what became of a request.
    fn take_in(
        &mut self,
        row: VerificationRequest,
        timeline: Vec<TimelineEvent>,
        reports: Vec<DeliveryReport>,
        work: Option<Work>,
    ) {
        let request = RequestRef {
            account: row.account,
            id: row.id,
        };
        let before = self.requests.get(&request).and_then(Option::as_ref);
        let (change, moved) = usage_change(
            before.map(|touched| UsageFacts::of(&touched.row, &[])),
            &UsageFacts::of(&row, &timeline),
        );
        let changes = [Some(change), moved].into_iter().flatten();
        self.usage.extend(
            changes
                .filter(|change| !change.is_empty())
                .map(|change| NewUsage::new(request.account, &change)),
        );
        self.timeline.extend(timeline.into_iter().map(|event| (request, event)));
        if work.is_some() || !reports.is_empty() {
            self.committed.push(Committed {
                lease: self.lease,
                work,
                request: row.clone(),
            });
        }
        self.reports.extend(reports.into_iter().map(|report| (request, report)));
        match self.requests.entry(request) {
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Some(touched) => {
                    touched.message_changed |= life_of(&touched.row) != life_of(&row) || touched.row.plan != row.plan;
                    touched.row = row;
                    touched.changed = true;
                }
                vacant => {
                    *vacant = Some(Touched {
                        row,
                        stored: false,
                        changed: true,
                        message_changed: true,
                    });
                }
            },
            Entry::Vacant(entry) => {
                entry.insert(Some(Touched {
                    row,
                    stored: false,
                    changed: true,
                    message_changed: true,
                }));
            }
        }
    }
}

type Requests = HashMap<RequestRef, Option<Touched<VerificationRequest>>>;

/// Loads a request, unless the batch has touched it.
fn load_request(requests: &mut Requests, source: &mut impl FactSource, request: RequestRef) -> Result<(), StoreError> {
    if let Entry::Vacant(entry) = requests.entry(request) {
        let row = source.request(request)?;
        entry.insert(row.map(|row| Touched {
            row,
            stored: true,
            changed: false,
            message_changed: false,
        }));
    }
    Ok(())
}

/// A request that was loaded, if there is one.
fn row_of(requests: &Requests, request: RequestRef) -> Option<&VerificationRequest> {
    let touched = requests.get(&request)?;
    touched.as_ref().map(|touched| &touched.row)
}

/// Loads the latest message of a key: the batch's own, else the one that the books noted.
fn load_earlier(
    requests: &mut Requests,
    live_codes: &HashMap<LiveKey, RequestId>,
    source: &mut impl FactSource,
    key: Option<LiveKey>,
) -> Result<Option<RequestRef>, StoreError> {
    let Some(key) = key else { return Ok(None) };
    let id = match live_codes.get(&key) {
        Some(id) => Some(*id),
        None => source.live_code(&key)?,
    };
    let Some(id) = id else { return Ok(None) };
    let request = RequestRef {
        account: key.account,
        id,
    };
    load_request(requests, source, request)?;
    Ok(Some(request))
}

/// An account's purchases that haven't lapsed, oldest first, with what the batch did to them.
fn open_purchases(
    source: &mut impl FactSource,
    changed: &HashMap<(AccountKey, u64), Purchase>,
    account: AccountKey,
) -> Result<Vec<Purchase>, StoreError> {
    let mut open = source.open_purchases(account)?;
    open.retain(|purchase| {
        !changed
            .get(&(account, purchase.entry))
            .is_some_and(|changed| changed.lapsed)
    });
    for ((key, _), purchase) in changed {
        if *key == account && !purchase.lapsed && !open.iter().any(|old| old.entry == purchase.entry) {
            open.push(purchase.clone());
        }
    }
    open.sort_by_key(|purchase| purchase.entry);
    Ok(open)
}

/// When a request's message lives, if it has one: it comes, goes, and is settled, but otherwise never changes.
fn life_of(request: &VerificationRequest) -> Option<(Timestamp, Timestamp)> {
    request
        .message
        .as_ref()
        .map(|message| (message.sent_at, message.expires_at))
}

/// The request that a command names, to be loaded.
pub(crate) fn named_request(action: &Action) -> Option<RequestId> {
    match action {
        Action::Send(send) => send.request,
        Action::CheckAbility { .. }
        | Action::Purchase { .. }
        | Action::DecideOrder { .. }
        | Action::Adjust { .. }
        | Action::Lapse
        | Action::AdvanceClock { .. } => None,
        Action::Settle { request, .. }
        | Action::Check { request, .. }
        | Action::Revoke { request }
        | Action::News { request, .. }
        | Action::NextLeg { request }
        | Action::Wake { request } => Some(*request),
    }
}

fn named_order(action: &Action) -> Option<OrderId> {
    match action {
        Action::DecideOrder { order, .. } => Some(*order),
        _ => None,
    }
}
