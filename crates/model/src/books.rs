//! Books in memory: they turn steps into commands, gather the facts for `decide`, and apply its decisions as a store does.
//! They are written apart from any store, so that the rules, and each store, are judged alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use countersign_core::{
    Account, AccountKey, AccountReport, Action, AdjustmentReason, Answer, ApiError, CallbackUrl, Code, CodeLength,
    Command, Credits, Decision, DeliveryReport, Detail, EmailAddress, EnteredCode, Facts, FirstAnswer, FloodCounters,
    Grace, Idempotency, IdempotencyKey, LedgerEntry, LegName, LimitState, Locale, Order, OrderId, Payload, PhoneNumber,
    Purchase, RequestId, Rules, Send, SendCode, SenderFact, TimelineEvent, Timestamp, TokenClaim, TokenKind, Ttl,
    VerificationRequest, decide,
};

use crate::live::LiveKey;
use crate::routes::{LEGS, guard_of, plan_of, skipped_of};
use crate::settings::{Expected, Sender, Setting, key_of, owner_phone};
use crate::step::{Caller, Entered, Key, Named, Recipient, SendStep, SenderName, Step};

/// The numbers that histories speak of: both owners, three countries, every scripted number.
pub(crate) const PHONES: [u64; 11] = [
    391_234_567_890,
    4_915_123_456_789,
    16_502_530_000,
    12_425_550_123,
    447_911_123_456,
    9_996_610_001,
    9_996_620_002,
    9_996_630_003,
    9_996_640_004,
    9_996_650_005,
    9_996_660_006,
];
/// When every history begins.
const START: Timestamp = Timestamp::from_millis(1_790_000_000_123);

/// What the books know of one account.
pub struct AccountBook {
    /// As it stands.
    pub account: Account,
    /// Its ledger.
    pub entries: Vec<LedgerEntry>,
    /// Its purchases by their entry's number, lapsed ones too.
    pub purchases: BTreeMap<u64, Purchase>,
    /// Its orders of credit, in order of creation.
    pub orders: Vec<Order>,
    /// The kept answers by their key.
    pub first_answers: BTreeMap<String, FirstAnswer>,
    /// The reports of its balance and its budget.
    pub reports: Vec<AccountReport>,
    /// Purchases that haven't lapsed.
    open_purchases: BTreeSet<u64>,
    /// By the kind of token.
    flood: HashMap<TokenKind, LimitState>,
    number_flood: HashMap<PhoneNumber, LimitState>,
}

/// What the books know of one request.
pub struct RequestBook {
    /// Its account's number.
    pub owner: usize,
    /// As it stands.
    pub request: VerificationRequest,
    /// The code that was sent last: people know it after the books have wiped it.
    code: Option<Code>,
    /// What happened to it.
    pub timeline: Vec<TimelineEvent>,
    /// The reports that were made of it.
    pub reports: Vec<DeliveryReport>,
}

/// All of it.
pub struct Books {
    /// The operator's rules, with the prices as they were set last.
    pub rules: Rules,
    /// Every account that was ever made.
    pub accounts: Vec<AccountBook>,
    /// Every request, in order of creation.
    pub requests: Vec<RequestBook>,
    /// Real time.
    pub now: Timestamp,
    /// The account that holds each place.
    pub(crate) places: Vec<usize>,
    pub(crate) senders: HashMap<String, Sender>,
    /// The latest messages, noted while one code lives at a time.
    pub(crate) live: HashMap<LiveKey, usize>,
    made: u64,
}

/// What a step comes to.
#[derive(Debug)]
pub enum Happening {
    /// A command, to be judged and taken in.
    Command(Box<Submitted>),
    /// A setting, which the books have taken in already.
    Setting(Setting, Expected),
    /// Nothing that concerns the books: time passed, or there is no request to speak of.
    Nothing,
}

/// A command with what the books know of what it names.
#[derive(Debug)]
pub struct Submitted {
    /// The account's number.
    pub account: usize,
    /// The request that the command names, where the books find it under this account.
    pub request: Option<usize>,
    /// The command.
    pub command: Command,
    /// The answer that stands under its key.
    pub first_answer: Option<FirstAnswer>,
    sender: SenderFact,
}

impl AccountBook {
    pub(crate) fn new(key: AccountKey, owner: PhoneNumber) -> Self {
        Self {
            account: Account::new(key, owner),
            entries: Vec::new(),
            purchases: BTreeMap::new(),
            orders: Vec::new(),
            first_answers: BTreeMap::new(),
            reports: Vec::new(),
            open_purchases: BTreeSet::new(),
            flood: HashMap::new(),
            number_flood: HashMap::new(),
        }
    }
}

impl Books {
    /// Books with as many accounts without money.
    pub fn new(rules: &Rules, places: usize) -> Self {
        Self {
            rules: rules.clone(),
            accounts: (0..places)
                .map(|place| AccountBook::new(key_of(place), owner_phone(place)))
                .collect(),
            requests: Vec::new(),
            now: START,
            places: (0..places).collect(),
            senders: HashMap::new(),
            live: HashMap::new(),
            made: 0,
        }
    }

    /// Steps that let senders be known: each account has a verified one and one that isn't; and a test-mode token.
    pub fn first_steps(&self) -> Vec<Step> {
        let name = |number| SenderName {
            of_another_account: false,
            number,
        };
        let of_place = |account| {
            [
                Step::RotateToken {
                    account,
                    kind: TokenKind::Test,
                    grace: Grace::None,
                },
                Step::AddSender { account, name: name(0) },
                Step::VerifySender { account, name: name(0) },
                Step::AddSender { account, name: name(1) },
            ]
        };
        (0..self.places.len()).flat_map(of_place).collect()
    }

    /// A restart under other rules: prices stay, since they stand in the books, as flood counters do.
    pub fn restart(&mut self, rules: &Rules) {
        let prices = std::mem::take(&mut self.rules.prices);
        self.rules = Rules {
            prices,
            ..rules.clone()
        };
    }

    /// What a step comes to. Settings and the passing of time are taken in at once, commands by [`Books::apply`].
    pub fn prepare(&mut self, step: &Step) -> Happening {
        let command = match step {
            Step::Send(send) => Some(self.send(send)),
            Step::CheckAbility {
                caller,
                phone,
                reach,
                route,
            } => {
                let id_entropy = self.id_entropy();
                let phone = self.recipient(caller, *phone);
                let reach = *reach;
                Some(self.call(
                    caller,
                    None,
                    SenderFact::NotNamed,
                    Action::CheckAbility {
                        phone,
                        email: None,
                        id_entropy,
                        reach,
                        plan: plan_of(*route),
                        skipped: skipped_of(*route),
                        guard: None,
                    },
                ))
            }
            Step::Settle {
                request,
                reachable,
                route,
                key,
            } => self.settle(*request, *reachable, *route, *key),
            Step::Check { of, code, key } => self.check(of, *code, *key),
            Step::Revoke { of } => self.revoke(of),
            Step::News {
                request,
                leg,
                news,
                receipts,
            } => self.work(*request, |request| Action::News {
                request,
                leg: leg.and_then(|leg| LegName::parse(LEGS[leg])),
                news: *news,
                detail: leg.map(|leg| Detail::new(&format!("so says {}", LEGS[leg]))),
                receipts: *receipts,
            }),
            Step::NextLeg { of, key } => self.next_leg(of, *key),
            Step::Wake { request } => self.work(*request, |request| Action::Wake { request }),
            Step::Purchase { account, micros } => {
                let amount = Credits::from_micros(*micros);
                Some(self.submit(self.at(*account), None, None, None, Action::Purchase { amount }))
            }
            Step::MakeOrder { account, micros } => return self.make_order(*account, *micros),
            Step::DecideOrder {
                account,
                order,
                verdict,
                by,
                noted,
            } => Some(self.decide_order(*account, *order, *verdict, *by, *noted)),
            Step::Adjust { account, micros } => Some(self.adjust(*account, *micros)),
            Step::Lapse { account } => Some(self.submit(self.at(*account), None, None, None, Action::Lapse)),
            Step::AdvanceClock { account, by_ms } => {
                let account = self.at(*account);
                let token = Some(self.token(account, TokenKind::Live, false));
                Some(self.submit(account, None, token, None, Action::AdvanceClock { by_ms: *by_ms }))
            }
            Step::TimePasses { by_ms } => {
                self.now = self.now.plus_millis(*by_ms);
                None
            }
            Step::RotateToken { account, kind, grace } => return self.rotate_token(*account, *kind, *grace),
            Step::EndGrace { account, kind } => return self.end_grace(*account, *kind),
            Step::ForgetOldTokens => return self.forget_old_tokens(),
            Step::CloseAccount { account } => return self.close_account(*account),
            Step::OpenAccount { account } => return self.open_account(*account),
            Step::AddSender { account, name } => return self.add_sender(*account, *name),
            Step::VerifySender { account, name } => return self.verify_sender(*account, *name),
            Step::SetPrice {
                of,
                of_route,
                after_ms,
                micros,
            } => return self.set_price(*of, *of_route, *after_ms, *micros),
            Step::PutArea { account, area, verdict } => return self.put_area(*account, *area, *verdict),
            Step::SetLowBalance { account, below_micros } => return self.set_low_balance(*account, *below_micros),
            Step::SetBudget { account, micros } => return self.set_budget(*account, *micros),
            Step::ForgetOldAnswers => return self.forget_old_answers(),
        };
        command.map_or(Happening::Nothing, |submitted| Happening::Command(Box::new(submitted)))
    }

    /// A worker's look at a request, which lets what is due happen.
    pub fn wake(&self, index: usize) -> Submitted {
        let book = &self.requests[index];
        let request = book.request.id;
        self.submit(book.owner, Some(index), None, None, Action::Wake { request })
    }

    fn adjust(&mut self, place: usize, micros: i64) -> Submitted {
        // Each reason its own, so that no two entries can be mistaken for each other.
        let reason = format!("correction {}", self.next_entropy());
        let action = Action::Adjust {
            amount: Credits::from_micros(micros),
            reason: AdjustmentReason::new(&reason).unwrap(),
        };
        self.submit(self.at(place), None, None, None, action)
    }

    fn revoke(&self, of: &Named) -> Option<Submitted> {
        let (caller, index, known) = self.name(of)?;
        let request = self.requests[index].request.id;
        let token = Some(self.token_that_asks(caller, index, of));
        Some(self.submit(caller, known, token, None, Action::Revoke { request }))
    }

    fn send(&mut self, step: &SendStep) -> Submitted {
        let account = self.at(step.caller.account);
        let named = step
            .on
            .and_then(|(request, own_phone)| Some((self.pick(request)?, own_phone)));
        let to = match named {
            Some((index, true)) => self.requests[index].request.phone,
            _ => self.recipient(&step.caller, step.phone),
        };
        let code = if step.supplied {
            SendCode::Supplied(Code::parse("4711").unwrap())
        } else {
            let entropy = u128::from(step.entropy);
            SendCode::Generate {
                length: CodeLength::default(),
                entropy,
            }
        };
        let sender = step.sender.map(|name| self.sender_name(account, name));
        let fact = sender
            .as_ref()
            .map_or(SenderFact::NotNamed, |username| self.sender_fact(account, username));
        let action = Action::Send(Box::new(Send {
            phone: to,
            request: named.map(|(index, _)| self.requests[index].request.id),
            sender,
            code,
            callback_url: step
                .callback
                .then(|| CallbackUrl::from_stored("https://example.com/reports".into())),
            payload: step.payload.then(|| Payload::new("order 7".into()).unwrap()),
            ttl: Ttl::new(step.ttl_seconds).unwrap(),
            locale: step.entropy.is_multiple_of(3).then(|| Locale::parse("pt-BR").unwrap()),
            email: step
                .entropy
                .is_multiple_of(4)
                .then(|| EmailAddress::parse("ida@example.com").unwrap()),
            id_entropy: self.id_entropy(),
            reach: step.reach,
            plan: plan_of(step.route),
            skipped: skipped_of(step.route),
            guard: guard_of(step.entropy),
        }));
        self.call(&step.caller, named.map(|(index, _)| index), fact, action)
    }

    fn check(&self, of: &Named, entered: Entered, key: Option<Key>) -> Option<Submitted> {
        let (caller, index, known) = self.name(of)?;
        let request = &self.requests[index].request;
        let right = self.requests[index].code.as_ref().map_or("0000", Code::as_str);
        let code = match entered {
            Entered::Nothing => None,
            Entered::Right => EnteredCode::new(right.to_owned()),
            Entered::Wrong(digit) => EnteredCode::new(format!("{right}{digit}")),
        };
        let action = Action::Check {
            request: request.id,
            code,
        };
        let token = Some(self.token_that_asks(caller, index, of));
        Some(self.submit(caller, known, token, key, action))
    }

    /// An account's present token of a kind, or the one before it.
    fn token(&self, account: usize, kind: TokenKind, is_stale: bool) -> TokenClaim {
        let account = &self.accounts[account].account;
        let present = match kind {
            TokenKind::Live => account.live.generation,
            TokenKind::Test => account.test.generation,
        };
        TokenClaim {
            kind,
            generation: present.saturating_sub(u32::from(is_stale)),
        }
    }

    /// The token with which a request is asked for: mostly of the kind that made it.
    pub(crate) fn token_that_asks(&self, caller: usize, index: usize, named: &Named) -> TokenClaim {
        let kind = match (self.requests[index].request.test, named.by_the_other_kind) {
            (true, false) | (false, true) => TokenKind::Test,
            (true, true) | (false, false) => TokenKind::Live,
        };
        self.token(caller, kind, named.stale_token)
    }

    /// An API call by an account's token.
    fn call(&self, caller: &Caller, named: Option<usize>, sender: SenderFact, action: Action) -> Submitted {
        let account = self.at(caller.account);
        let token = self.token(account, caller.kind, caller.stale_token);
        // The books find a request only under the caller's own account.
        let known = named.filter(|&index| self.requests[index].owner == account);
        let mut submitted = self.submit(account, known, Some(token), caller.key, action);
        submitted.sender = sender;
        submitted
    }

    /// A worker's command.
    fn work(&self, request: usize, action: impl Fn(RequestId) -> Action) -> Option<Submitted> {
        let index = self.pick(request)?;
        let book = &self.requests[index];
        Some(self.submit(book.owner, Some(index), None, None, action(book.request.id)))
    }

    pub(crate) fn submit(
        &self,
        account: usize,
        request: Option<usize>,
        token: Option<TokenClaim>,
        key: Option<Key>,
        action: Action,
    ) -> Submitted {
        let idempotency = key.map(|key| idempotency(key, token));
        let first_answer = idempotency
            .as_ref()
            .and_then(|used| self.accounts[account].first_answers.get(used.key.as_str()))
            .cloned();
        Submitted {
            account,
            request,
            command: Command {
                now: self.now,
                token,
                idempotency,
                action,
            },
            first_answer,
            sender: SenderFact::NotNamed,
        }
    }

    /// Judges a command by what stands in the books.
    pub fn decide(&self, submitted: &Submitted) -> Decision {
        let book = &self.accounts[submitted.account];
        let command = &submitted.command;
        let account_now = book.account.clock(command.now);
        let open = || book.open_purchases.iter().map(|entry| &book.purchases[entry]);
        let due: Vec<_> = open()
            .filter(|purchase| purchase.lapses_at <= account_now)
            .cloned()
            .collect();
        decide(
            &Facts {
                account: &book.account,
                request: submitted.request.map(|index| &self.requests[index].request),
                order: named_order(command).and_then(|id| book.orders.iter().find(|order| order.id == id)),
                first_answer: submitted.first_answer.as_ref(),
                sender: submitted.sender,
                flood: FloodCounters {
                    account: book.flood.get(&kind_of(command)).copied().unwrap_or_default(),
                    number: called_phone(command)
                        .and_then(|phone| book.number_flood.get(&phone))
                        .copied()
                        .unwrap_or_default(),
                },
                earlier: self.earlier(submitted).map(|index| &self.requests[index].request),
                due_purchases: &due,
                next_lapse_after: open()
                    .map(|purchase| purchase.lapses_at)
                    .filter(|&at| at > account_now)
                    .min(),
                rules: &self.rules,
            },
            command,
        )
    }

    /// What a check without a code would answer at this moment.
    pub fn status(&self, index: usize) -> Result<Answer, ApiError> {
        let book = &self.requests[index];
        let action = Action::Check {
            request: book.request.id,
            code: None,
        };
        self.decide(&self.submit(book.owner, Some(index), None, None, action))
            .outcome
    }

    /// The time on an account's clock.
    pub fn account_now(&self, account: usize) -> Timestamp {
        self.accounts[account].account.clock(self.now)
    }

    /// Takes a decision in.
    pub fn apply(&mut self, submitted: &Submitted, mut decision: Decision) {
        self.note_codes(submitted, &mut decision);
        let book = &mut self.accounts[submitted.account];
        book.account = decision.account;
        book.entries.extend(decision.entries);
        book.reports
            .extend(decision.low_balance.into_iter().chain(decision.budget));
        for purchase in decision.purchases {
            if purchase.lapsed {
                book.open_purchases.remove(&purchase.entry);
            } else {
                book.open_purchases.insert(purchase.entry);
            }
            book.purchases.insert(purchase.entry, purchase);
        }
        book.flood.insert(kind_of(&submitted.command), decision.flood.account);
        if let Some(decided) = decision.order
            && let Some(order) = book.orders.iter_mut().find(|order| order.id == decided.id)
        {
            *order = decided;
        }
        if let Some(phone) = called_phone(&submitted.command) {
            book.number_flood.insert(phone, decision.flood.number);
        }
        if let Some(first) = decision.first_answer {
            book.first_answers
                .insert(first.idempotency.key.as_str().to_owned(), first);
        }
        if let Some(changed) = decision.request {
            let code = changed
                .message
                .as_ref()
                .and_then(|message| message.code.whole().copied());
            let Some(index) = submitted.request else {
                self.requests.push(RequestBook {
                    owner: submitted.account,
                    request: changed,
                    code,
                    timeline: decision.timeline,
                    reports: decision.reports,
                });
                return;
            };
            let book = &mut self.requests[index];
            book.request = changed;
            book.code = code.or(book.code);
        }
        if let Some(index) = submitted.request {
            self.requests[index].timeline.extend(decision.timeline);
            self.requests[index].reports.extend(decision.reports);
        }
    }

    fn recipient(&self, caller: &Caller, phone: Recipient) -> PhoneNumber {
        match phone {
            Recipient::Shared(index) => PhoneNumber::from_stored(PHONES[index % PHONES.len()]),
            Recipient::Own => self.accounts[self.at(caller.account)].account.owner,
        }
    }

    pub(crate) fn pick(&self, request: usize) -> Option<usize> {
        // Counted from the newest: histories mostly speak of what has just been made.
        let count = self.requests.len();
        (count > 0).then(|| count - 1 - request % count)
    }

    /// Who calls, which request they name, and which one the books find under their account.
    pub(crate) fn name(&self, named: &Named) -> Option<(usize, usize, Option<usize>)> {
        let index = self.pick(named.request)?;
        let owner = self.requests[index].owner;
        Some(if named.by_another_account {
            (self.another(owner), index, None)
        } else {
            (owner, index, Some(index))
        })
    }

    /// An account that isn't this one.
    pub(crate) fn another(&self, account: usize) -> usize {
        let mut others = self.places.iter().copied().filter(|&other| other != account);
        let next = self.places.iter().copied().find(|&other| other > account);
        next.or_else(|| others.next()).unwrap()
    }

    /// Spread over all 64 bits, as randomness is: low-balance reports count theirs from 1.
    fn id_entropy(&mut self) -> u64 {
        self.next_entropy().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn next_entropy(&mut self) -> u64 {
        self.made += 1;
        self.made
    }
}

fn idempotency(key: Key, token: Option<TokenClaim>) -> Idempotency {
    let named = IdempotencyKey::new(&format!("key {}", key.name)).unwrap();
    Idempotency {
        key: match token.map(|token| token.kind) {
            Some(TokenKind::Test) => named.of_test_mode(),
            _ => named,
        },
        fingerprint: [key.used_for; 32],
    }
}

/// Whose flood counters a command meets.
fn kind_of(command: &Command) -> TokenKind {
    command.token.map_or(TokenKind::Live, |token| token.kind)
}

fn named_order(command: &Command) -> Option<OrderId> {
    match &command.action {
        Action::DecideOrder { order, .. } => Some(*order),
        _ => None,
    }
}

fn called_phone(command: &Command) -> Option<PhoneNumber> {
    match &command.action {
        Action::Send(send) => Some(send.phone),
        Action::CheckAbility { phone, .. } => Some(*phone),
        _ => None,
    }
}
