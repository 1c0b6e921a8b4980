//! Books in memory: they gather the facts for `decide`, apply its decisions as a store does, and have every decision
//! checked. They are written apart from any store, so that the rules are judged alone.

use std::collections::{BTreeMap, HashMap};

use countersign_core::{
    Account, AccountId, AccountKey, Action, Answer, ApiError, Bucket, CallbackUrl, Code, CodeLength, Command, Credits,
    DEFAULT_PRICE, Decision, DeliveryReport, EnteredCode, Facts, FirstAnswer, FloodCounters, Idempotency,
    IdempotencyKey, LedgerEntry, LimitState, NumberPrefix, Payload, PhoneNumber, PriceRoute, PriceRow, Purchase, Reach,
    RequestId, RouteName, Rules, Send, SendCode, SenderFact, SenderUsername, TimelineEvent, Timestamp, Ttl,
    VerificationRequest, decide,
};

use crate::checks;
use crate::history::{Caller, Entered, Key, Named, SendStep, Step};
use crate::seen::Seen;

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
pub(crate) const START: Timestamp = Timestamp::from_millis(1_790_000_000_123);

/// What the books know of one account.
pub(crate) struct AccountBook {
    pub(crate) account: Account,
    pub(crate) entries: Vec<LedgerEntry>,
    purchases: BTreeMap<u64, Purchase>,
    first_answers: HashMap<u8, FirstAnswer>,
    flood: LimitState,
    number_flood: HashMap<PhoneNumber, LimitState>,
}

/// What the books know of one request.
pub(crate) struct RequestBook {
    pub(crate) owner: usize,
    pub(crate) request: VerificationRequest,
    pub(crate) timeline: Vec<TimelineEvent>,
    pub(crate) reports: Vec<DeliveryReport>,
}

/// All of it.
pub(crate) struct Books<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) seen: &'a Seen,
    pub(crate) accounts: Vec<AccountBook>,
    pub(crate) requests: Vec<RequestBook>,
    now: Timestamp,
    made: u64,
}

/// What a command came with, besides itself.
pub(crate) struct Submitted<'a> {
    pub(crate) account: usize,
    pub(crate) request: Option<usize>,
    pub(crate) command: &'a Command,
    pub(crate) first_answer: Option<&'a FirstAnswer>,
}

impl<'a> Books<'a> {
    pub(crate) fn new(rules: &'a Rules, seen: &'a Seen) -> Self {
        let account = |number: u8| {
            let id = AccountId::new(i64::from(number) + 1).unwrap();
            let bucket = Bucket(number);
            AccountBook {
                account: Account::new(AccountKey { bucket, id }, phone(usize::from(number))),
                entries: Vec::new(),
                purchases: BTreeMap::new(),
                first_answers: HashMap::new(),
                flood: LimitState::default(),
                number_flood: HashMap::new(),
            }
        };
        Self {
            rules,
            seen,
            accounts: vec![account(0), account(1)],
            requests: Vec::new(),
            now: START,
            made: 0,
        }
    }

    /// Lets one step happen.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send(send) => self.send(send),
            Step::CheckAbility {
                caller,
                phone: index,
                reach,
            } => {
                let action = Action::CheckAbility {
                    phone: phone(*index),
                    id_entropy: self.next_entropy(),
                    reach: *reach,
                };
                self.call(caller, None, SenderFact::NotNamed, action)
            }
            Step::Settle {
                request,
                reachable,
                key,
            } => {
                let Some(index) = self.pick(*request) else {
                    return Ok(());
                };
                let (request, reachable) = (self.requests[index].request.id, *reachable);
                self.submit(
                    self.requests[index].owner,
                    Some(index),
                    None,
                    *key,
                    Action::Settle { request, reachable },
                )
            }
            Step::Check { of, code, key } => self.check(of, *code, *key),
            Step::Revoke { of } => {
                let Some((caller, index, known)) = self.name(of) else {
                    return Ok(());
                };
                let action = Action::Revoke {
                    request: self.requests[index].request.id,
                };
                self.submit(
                    caller,
                    known,
                    Some(self.accounts[caller].account.generation),
                    None,
                    action,
                )
            }
            Step::News { request, news } => self.work(*request, |request| Action::News { request, news: *news }),
            Step::Wake { request } => self.work(*request, |request| Action::Wake { request }),
            Step::Purchase { account, micros } => {
                let amount = countersign_core::Credits::from_micros(*micros);
                self.submit(*account, None, None, None, Action::Purchase { amount })
            }
            Step::AdvanceClock { account, by_ms } => {
                let generation = Some(self.accounts[*account].account.generation);
                self.submit(*account, None, generation, None, Action::AdvanceClock { by_ms: *by_ms })
            }
            Step::TimePasses { by_ms } => {
                self.now = self.now.plus_millis(*by_ms);
                Ok(())
            }
            Step::RotateToken { account } => {
                self.accounts[*account].account.generation += 1;
                Ok(())
            }
            Step::CloseAccount { account } => {
                self.accounts[*account].account.closed = true;
                Ok(())
            }
        }
    }

    /// Lets all that waits run out: no message may be under way then, and no fee on hold.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        self.now = self.now.plus_millis(2 * 3_600_000);
        for index in 0..self.requests.len() {
            self.work(index, |request| Action::Wake { request })?;
        }
        checks::nothing_is_left_open(self)
    }

    fn send(&mut self, step: &SendStep) -> Result<(), String> {
        let named = step
            .on
            .and_then(|(request, own_phone)| Some((self.pick(request)?, own_phone)));
        let to = match named {
            Some((index, true)) => self.requests[index].request.phone,
            _ => phone(step.phone),
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
        let sender = (step.sender != SenderFact::NotNamed).then(|| SenderUsername::parse("acme_shop").unwrap());
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
            id_entropy: self.next_entropy(),
            reach: step.reach,
        }));
        self.call(&step.caller, named.map(|(index, _)| index), step.sender, action)
    }

    fn check(&mut self, of: &Named, entered: Entered, key: Option<Key>) -> Result<(), String> {
        let Some((caller, index, known)) = self.name(of) else {
            return Ok(());
        };
        let request = &self.requests[index].request;
        let right = request.message.as_ref().map_or("0000", |message| message.code.as_str());
        let code = match entered {
            Entered::Nothing => None,
            Entered::Right => EnteredCode::new(right.to_owned()),
            Entered::Wrong(digit) => EnteredCode::new(format!("{right}{digit}")),
        };
        let action = Action::Check {
            request: request.id,
            code,
        };
        self.submit(
            caller,
            known,
            Some(self.accounts[caller].account.generation),
            key,
            action,
        )
    }

    /// An API call by an account's token.
    fn call(
        &mut self,
        caller: &Caller,
        named: Option<usize>,
        sender: SenderFact,
        action: Action,
    ) -> Result<(), String> {
        let generation = self.accounts[caller.account].account.generation - u32::from(caller.stale_token);
        // The books find a request only under the caller's own account.
        let known = named.filter(|&index| self.requests[index].owner == caller.account);
        self.submit_with_sender(caller.account, known, Some(generation), caller.key, sender, action)
    }

    /// A worker's command.
    fn work(&mut self, request: usize, action: impl Fn(RequestId) -> Action) -> Result<(), String> {
        let Some(index) = self.pick(request) else { return Ok(()) };
        let action = action(self.requests[index].request.id);
        self.submit(self.requests[index].owner, Some(index), None, None, action)
    }

    fn submit(
        &mut self,
        account: usize,
        request: Option<usize>,
        generation: Option<u32>,
        key: Option<Key>,
        action: Action,
    ) -> Result<(), String> {
        self.submit_with_sender(account, request, generation, key, SenderFact::NotNamed, action)
    }

    fn submit_with_sender(
        &mut self,
        account: usize,
        request: Option<usize>,
        generation: Option<u32>,
        key: Option<Key>,
        sender: SenderFact,
        action: Action,
    ) -> Result<(), String> {
        let command = Command {
            now: self.now,
            generation,
            idempotency: key.map(idempotency),
            action,
        };
        let first_answer = key
            .and_then(|key| self.accounts[account].first_answers.get(&key.name))
            .cloned();
        let decision = self.decide(account, request, first_answer.as_ref(), sender, &command);
        let submitted = Submitted {
            account,
            request,
            command: &command,
            first_answer: first_answer.as_ref(),
        };
        self.seen.note(&decision);
        checks::decision(self, &submitted, &decision)
            .and_then(|()| {
                self.apply(account, request, key, &command, decision);
                checks::books(self, account)
            })
            .and_then(|()| checks::readers_see_what_a_command_would_say(self, account))
            .map_err(|broken| format!("{broken}\nby {command:?}"))
    }

    /// Judges a command by what stands in the books.
    fn decide(
        &self,
        account: usize,
        request: Option<usize>,
        first_answer: Option<&FirstAnswer>,
        sender: SenderFact,
        command: &Command,
    ) -> Decision {
        let book = &self.accounts[account];
        let account_now = book.account.clock(command.now);
        let open = || book.purchases.values().filter(|purchase| !purchase.lapsed);
        let due: Vec<_> = open()
            .filter(|purchase| purchase.lapses_at <= account_now)
            .cloned()
            .collect();
        decide(
            &Facts {
                account: &book.account,
                request: request.map(|index| &self.requests[index].request),
                first_answer,
                sender,
                flood: FloodCounters {
                    account: book.flood,
                    number: called_phone(command)
                        .and_then(|phone| book.number_flood.get(&phone))
                        .copied()
                        .unwrap_or_default(),
                },
                due_purchases: &due,
                next_lapse_after: open()
                    .map(|purchase| purchase.lapses_at)
                    .filter(|&at| at > account_now)
                    .min(),
                rules: self.rules,
            },
            command,
        )
    }

    /// What a check without a code would answer at this moment.
    pub(crate) fn status(&self, index: usize) -> Result<Answer, ApiError> {
        let book = &self.requests[index];
        let action = Action::Check {
            request: book.request.id,
            code: None,
        };
        let command = Command {
            now: self.now,
            generation: None,
            idempotency: None,
            action,
        };
        self.decide(book.owner, Some(index), None, SenderFact::NotNamed, &command)
            .outcome
    }

    /// The time on an account's clock.
    pub(crate) fn account_now(&self, account: usize) -> Timestamp {
        self.accounts[account].account.clock(self.now)
    }

    fn apply(
        &mut self,
        account: usize,
        request: Option<usize>,
        key: Option<Key>,
        command: &Command,
        decision: Decision,
    ) {
        let book = &mut self.accounts[account];
        book.account = decision.account;
        book.entries.extend(decision.entries);
        book.purchases.extend(
            decision
                .purchases
                .into_iter()
                .map(|purchase| (purchase.entry, purchase)),
        );
        book.flood = decision.flood.account;
        if let Some(phone) = called_phone(command) {
            book.number_flood.insert(phone, decision.flood.number);
        }
        if let (Some(key), Some(first)) = (key, decision.first_answer) {
            book.first_answers.insert(key.name, first);
        }
        if let Some(changed) = decision.request {
            match request {
                Some(index) => self.requests[index].request = changed,
                None => self.requests.push(RequestBook {
                    owner: account,
                    request: changed,
                    timeline: Vec::new(),
                    reports: Vec::new(),
                }),
            }
        }
        if let Some(index) = request {
            self.requests[index].timeline.extend(decision.timeline);
            self.requests[index].reports.extend(decision.reports);
        }
    }

    fn pick(&self, request: usize) -> Option<usize> {
        // Counted from the newest: histories mostly speak of what has just been made.
        let count = self.requests.len();
        (count > 0).then(|| count - 1 - request % count)
    }

    /// Who calls, which request they name, and which one the books find under their account.
    fn name(&self, named: &Named) -> Option<(usize, usize, Option<usize>)> {
        let index = self.pick(named.request)?;
        let owner = self.requests[index].owner;
        Some(if named.by_another_account {
            (1 - owner, index, None)
        } else {
            (owner, index, Some(index))
        })
    }

    fn next_entropy(&mut self) -> u64 {
        self.made += 1;
        self.made
    }
}

fn phone(index: usize) -> PhoneNumber {
    PhoneNumber::from_stored(PHONES[index])
}

fn idempotency(key: Key) -> Idempotency {
    Idempotency {
        key: IdempotencyKey::new(&format!("key {}", key.name)).unwrap(),
        fingerprint: [key.used_for; 32],
    }
}

fn called_phone(command: &Command) -> Option<PhoneNumber> {
    match &command.action {
        Action::Send(send) => Some(send.phone),
        Action::CheckAbility { phone, .. } => Some(*phone),
        _ => None,
    }
}

/// What a first send or ability check costs, told apart from the code under test.
pub(crate) fn price(rules: &Rules, owner: PhoneNumber, phone: PhoneNumber, at: Timestamp) -> Credits {
    if phone == owner {
        return Credits::ZERO;
    }
    let digits = phone.digits().to_string();
    let mut named: Vec<PriceRow> = rules.prices.history().collect();
    // Of rows for the same numbers the latest that holds already counts, whether it names a price or takes it away.
    named.retain(|row| row.effective_from <= at);
    let overtaken = |row: &PriceRow| {
        let same = |later: &&PriceRow| (&later.route, later.prefix) == (&row.route, row.prefix);
        named
            .iter()
            .filter(same)
            .any(|later| later.effective_from > row.effective_from)
    };
    let matches =
        |row: &&PriceRow| row.prefix == NumberPrefix::DEFAULT || digits.starts_with(&row.prefix.digits().to_string());
    let holding = named
        .iter()
        .filter(matches)
        .filter(|row| row.price.is_some() && !overtaken(row));
    let best = holding.max_by_key(|row| (row.route == PriceRoute::Only(RouteName::INBOX), row.prefix.digits()));
    best.and_then(|row| row.price).unwrap_or(DEFAULT_PRICE)
}

/// Whether a call's reachability is asked of the network first.
pub(crate) fn must_ask(action: &Action) -> bool {
    match action {
        Action::Send(send) => send.reach == Reach::MustAsk && send.request.is_none(),
        Action::CheckAbility { reach, .. } => *reach == Reach::MustAsk,
        _ => false,
    }
}
