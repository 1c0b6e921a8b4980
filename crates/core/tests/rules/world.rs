//! One account with credit, and books just big enough to put it through the rules. Time stands still unless a test moves it.

use std::collections::HashMap;

use countersign_core::{
    Account, AccountId, AccountKey, Action, Answer, ApiError, Bucket, CallbackUrl, Code, CodeLength, Command, Credits,
    Decision, DeliveryState, Detail, EnteredCode, EntryKind, Facts, FirstAnswer, FloodCounters, HeldCode, Idempotency,
    LegName, News, NumberPrefix, Order, PhoneNumber, PriceChange, PriceRoute, PriceRow, Purchase, Reach, RequestId,
    RequestStatus, Rules, Send, SendCode, SenderFact, Timestamp, TokenClaim, TokenKind, Ttl, VerificationRequest,
    VerificationState, decide,
};

/// Somebody's number.
pub(crate) const PHONE: PhoneNumber = PhoneNumber::from_stored(391_234_567_890);
/// The account owner's number.
pub(crate) const OWNER: PhoneNumber = PhoneNumber::from_stored(4_915_123_456_789);
/// The code of a generated message in these tests.
pub(crate) const CODE: &str = "111111";
/// When every test begins: the first millisecond of a day.
pub(crate) const START: Timestamp = Timestamp::from_millis(20_700 * 86_400_000);
pub(crate) const HOUR_MS: i64 = 3_600_000;

pub(crate) struct World {
    pub(crate) rules: Rules,
    pub(crate) account: Account,
    pub(crate) now: Timestamp,
    pub(crate) sender: SenderFact,
    pub(crate) token: Option<TokenClaim>,
    pub(crate) key: Option<Idempotency>,
    pub(crate) order: Option<Order>,
    pub(crate) first_answer: Option<FirstAnswer>,
    pub(crate) flood: FloodCounters,
    pub(crate) last: Option<Decision>,
    /// The message that was sent last.
    earlier: Option<RequestId>,
    requests: HashMap<RequestId, VerificationRequest>,
    purchases: Vec<Purchase>,
    made: u64,
}

impl World {
    /// An account with 1 credit.
    pub(crate) fn new() -> Self {
        let id = AccountId::new(7).unwrap();
        let bucket = Bucket(7);
        let mut world = Self {
            rules: Rules::default(),
            account: Account::new(AccountKey { bucket, id }, OWNER),
            now: START,
            sender: SenderFact::NotNamed,
            token: live(1),
            key: None,
            order: None,
            first_answer: None,
            flood: FloodCounters::default(),
            last: None,
            earlier: None,
            requests: HashMap::new(),
            purchases: Vec::new(),
            made: 0,
        };
        world.purchase("1").unwrap();
        world
    }

    /// Judges a command and applies what comes of it.
    pub(crate) fn submit(&mut self, request: Option<RequestId>, action: Action) -> Result<Answer, ApiError> {
        let command = Command {
            now: self.now,
            token: self.token,
            idempotency: self.key.clone(),
            action,
        };
        let account_now = self.account.clock(self.now);
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.purchases)
            .into_iter()
            .partition(|purchase| purchase.lapses_at <= account_now);
        let decision = decide(
            &Facts {
                account: &self.account,
                request: request.and_then(|id| self.requests.get(&id)),
                order: self.order.as_ref(),
                first_answer: self.first_answer.as_ref(),
                sender: self.sender,
                flood: self.flood,
                earlier: self
                    .earlier
                    .filter(|_| self.rules.one_live_code.is_some())
                    .and_then(|id| self.requests.get(&id)),
                due_purchases: &due,
                next_lapse_after: later.iter().map(|purchase| purchase.lapses_at).min(),
                rules: &self.rules,
            },
            &command,
        );
        self.purchases = later;
        self.purchases
            .extend(decision.purchases.iter().filter(|purchase| !purchase.lapsed).cloned());
        self.account = decision.account.clone();
        self.flood = decision.flood;
        self.order = decision.order.clone().or(self.order.take());
        self.first_answer = decision.first_answer.clone().or(self.first_answer.take());
        if let Some(ended) = &decision.ended {
            self.requests.insert(ended.request.id, ended.request.clone());
        }
        if let Some(request) = &decision.request {
            if request.delivery == DeliveryState::Sent {
                self.earlier = Some(request.id);
            }
            self.requests.insert(request.id, request.clone());
        }
        let outcome = decision.outcome.clone();
        self.last = Some(decision);
        outcome
    }

    /// A price of all messages, or its end, from a time on.
    pub(crate) fn price_from(&mut self, effective_from: Timestamp, price: Option<&str>) {
        let row = PriceRow {
            route: PriceRoute::All,
            prefix: NumberPrefix::DEFAULT,
            effective_from,
            price: price.map(credits),
        };
        assert_eq!(self.rules.prices.record(&row), Ok(PriceChange::Added));
    }

    /// What changed by the last command.
    pub(crate) fn last(&self) -> &Decision {
        self.last.as_ref().unwrap()
    }

    /// The kinds of the last command's ledger entries.
    pub(crate) fn entries(&self) -> Vec<EntryKind> {
        self.last().entries.iter().map(|entry| entry.kind).collect()
    }

    pub(crate) fn pass_ms(&mut self, millis: i64) {
        self.now = self.now.plus_millis(millis);
    }

    pub(crate) fn pass_seconds(&mut self, seconds: i64) {
        self.pass_ms(seconds * 1000);
    }

    pub(crate) fn purchase(&mut self, amount: &str) -> Result<Answer, ApiError> {
        let amount = Credits::parse(amount).unwrap();
        self.submit(None, Action::Purchase { amount })
    }

    /// The parameters of a plain send: a generated code for [`PHONE`].
    pub(crate) fn parameters(&mut self) -> Send {
        self.made += 1;
        Send {
            email: None,
            locale: None,
            phone: PHONE,
            request: None,
            sender: None,
            code: SendCode::Generate {
                length: CodeLength::default(),
                entropy: 111_111,
            },
            callback_url: Some(CallbackUrl::from_stored("https://example.com/".to_owned())),
            payload: None,
            ttl: Ttl::default(),
            id_entropy: self.made,
            reach: Reach::Reachable,
            plan: None,
            skipped: Vec::new(),
            guard: None,
        }
    }

    /// Sends with parameters other than the plain ones.
    pub(crate) fn send_with(&mut self, change: impl FnOnce(&mut Send)) -> Result<RequestStatus, ApiError> {
        let mut send = self.parameters();
        change(&mut send);
        status(self.submit(send.request, Action::Send(Box::new(send))))
    }

    /// A plain send.
    pub(crate) fn send(&mut self) -> RequestId {
        id(&self.send_with(|_| {}).unwrap())
    }

    /// A send of the customer's own code, 4711.
    pub(crate) fn send_own_code(&mut self) -> RequestId {
        let own = SendCode::Supplied(Code::parse("4711").unwrap());
        id(&self.send_with(|send| send.code = own).unwrap())
    }

    pub(crate) fn send_to(&mut self, phone: PhoneNumber) -> Result<RequestStatus, ApiError> {
        self.send_with(|send| send.phone = phone)
    }

    pub(crate) fn ability(&mut self, phone: PhoneNumber) -> Result<RequestStatus, ApiError> {
        self.ability_by(phone, Reach::Reachable)
    }

    pub(crate) fn ability_by(&mut self, phone: PhoneNumber, reach: Reach) -> Result<RequestStatus, ApiError> {
        self.made += 1;
        let id_entropy = self.made;
        status(self.submit(
            None,
            Action::CheckAbility {
                email: None,
                phone,
                id_entropy,
                reach,
                plan: None,
                skipped: Vec::new(),
                guard: None,
            },
        ))
    }

    /// An ability check about a number that the network must be asked about, as it is answered.
    pub(crate) fn ability_by_outcome(&mut self, phone: PhoneNumber) -> Result<Answer, ApiError> {
        self.made += 1;
        let action = Action::CheckAbility {
            email: None,
            phone,
            id_entropy: self.made,
            reach: Reach::MustAsk,
            plan: None,
            skipped: Vec::new(),
            guard: None,
        };
        self.submit(None, action)
    }

    /// A send whose reachability the network must be asked about.
    pub(crate) fn admit(&mut self) -> RequestId {
        let mut send = self.parameters();
        send.reach = Reach::MustAsk;
        admitted(self.submit(None, Action::Send(Box::new(send))))
    }

    /// An ability check whose reachability the network must be asked about.
    pub(crate) fn admit_ability(&mut self) -> RequestId {
        self.made += 1;
        let action = Action::CheckAbility {
            email: None,
            phone: PHONE,
            id_entropy: self.made,
            reach: Reach::MustAsk,
            plan: None,
            skipped: Vec::new(),
            guard: None,
        };
        admitted(self.submit(None, action))
    }

    pub(crate) fn settle(&mut self, request: RequestId, reachable: bool) -> Result<RequestStatus, ApiError> {
        let action = Action::Settle {
            request,
            reachable,
            plan: None,
            skipped: Vec::new(),
            guard: None,
        };
        status(self.submit(Some(request), action))
    }

    /// Checks a code; the answer's whole status.
    pub(crate) fn check_status(&mut self, request: RequestId, code: Option<&str>) -> Result<RequestStatus, ApiError> {
        let code = code.map(|code| EnteredCode::new(code.to_owned()).unwrap());
        status(self.submit(Some(request), Action::Check { request, code }))
    }

    /// Checks a code once more under the same key.
    pub(crate) fn check_again(&mut self, request: RequestId, code: &str) -> Result<Answer, ApiError> {
        let code = EnteredCode::new(code.to_owned());
        self.submit(Some(request), Action::Check { request, code })
    }

    /// What the sweep over old requests does.
    pub(crate) fn forget_code(&mut self, request: RequestId) {
        let message = self.requests.get_mut(&request).unwrap().message.as_mut();
        message.unwrap().code = HeldCode::Wiped;
    }

    /// Checks a code; the answer's `verification_status.status`.
    pub(crate) fn check(&mut self, request: RequestId, code: &str) -> String {
        self.check_status(request, Some(code))
            .unwrap()
            .verification_status
            .unwrap()
            .status
    }

    pub(crate) fn revoke(&mut self, request: RequestId) -> Result<Answer, ApiError> {
        self.submit(Some(request), Action::Revoke { request })
    }

    pub(crate) fn news(&mut self, request: RequestId, news: News) {
        assert_eq!(
            self.submit(Some(request), Action::news(request, news)),
            Ok(Answer::Done)
        );
    }

    /// News that a leg tells. Whoever accepts here hears of arrivals.
    pub(crate) fn news_by(&mut self, request: RequestId, leg: &str, news: News) {
        let action = Action::News {
            request,
            leg: LegName::parse(leg),
            news,
            detail: Some(Detail::new("no opt-in")),
            receipts: true,
        };
        assert_eq!(self.submit(Some(request), action), Ok(Answer::Done));
    }

    /// "Next leg now".
    pub(crate) fn next_leg(&mut self, request: RequestId) -> Result<Answer, ApiError> {
        self.submit(Some(request), Action::NextLeg { request })
    }

    pub(crate) fn wake(&mut self, request: RequestId) {
        assert_eq!(self.submit(Some(request), Action::Wake { request }), Ok(Answer::Done));
    }

    pub(crate) fn advance_clock(&mut self, by_ms: i64) -> Result<Answer, ApiError> {
        self.submit(None, Action::AdvanceClock { by_ms })
    }

    pub(crate) fn request(&self, id: RequestId) -> &VerificationRequest {
        &self.requests[&id]
    }

    pub(crate) fn delivery(&self, id: RequestId) -> DeliveryState {
        self.request(id).delivery
    }

    pub(crate) fn verification(&self, id: RequestId) -> VerificationState {
        self.request(id).verification
    }

    /// The states that the last command reported, with whether they say that the fee was refunded.
    pub(crate) fn reported(&self) -> Vec<(String, bool)> {
        let body = |report: &countersign_core::DeliveryReport| {
            let status: RequestStatus = serde_json::from_slice(&report.body).unwrap();
            (status.delivery_status.unwrap().status, status.is_refunded)
        };
        self.last().reports.iter().map(body).collect()
    }

    /// Puts a message into a state, by the way that leads there.
    pub(crate) fn bring_to(&mut self, state: DeliveryState) -> RequestId {
        let id = match state {
            DeliveryState::Admitted | DeliveryState::Unreachable => self.admit(),
            DeliveryState::Checked => id(&self.ability(PHONE).unwrap()),
            _ => self.send(),
        };
        match state {
            DeliveryState::Admitted | DeliveryState::Checked | DeliveryState::Sent => {}
            DeliveryState::Unreachable => drop(self.settle(id, false)),
            DeliveryState::Delivered => self.news(id, News::Delivered),
            DeliveryState::Read => self.news(id, News::Read),
            DeliveryState::Expired => self.news(id, News::Failed),
            DeliveryState::Revoked => drop(self.revoke(id)),
        }
        assert_eq!(self.delivery(id), state);
        id
    }
}

/// The live token of a generation.
#[expect(clippy::unnecessary_wraps, reason = "as a command carries it")]
pub(crate) const fn live(generation: u32) -> Option<TokenClaim> {
    Some(TokenClaim {
        kind: TokenKind::Live,
        generation,
    })
}

/// The test-mode token of a generation.
#[expect(clippy::unnecessary_wraps, reason = "as a command carries it")]
pub(crate) const fn test(generation: u32) -> Option<TokenClaim> {
    Some(TokenClaim {
        kind: TokenKind::Test,
        generation,
    })
}

/// The request that an answer names.
pub(crate) fn id(status: &RequestStatus) -> RequestId {
    RequestId::parse(&status.request_id).unwrap()
}

/// The answer's `delivery_status.status`.
pub(crate) fn delivery_word(status: &RequestStatus) -> &str {
    &status.delivery_status.as_ref().unwrap().status
}

pub(crate) fn credits(text: &str) -> Credits {
    Credits::parse(text).unwrap()
}

fn status(outcome: Result<Answer, ApiError>) -> Result<RequestStatus, ApiError> {
    outcome.map(|answer| match answer {
        Answer::Status(status) | Answer::Verified(status) => *status,
        other => panic!("answered {other:?}"),
    })
}

fn admitted(outcome: Result<Answer, ApiError>) -> RequestId {
    match outcome {
        Ok(Answer::Admitted(id)) => id,
        other => panic!("answered {other:?}"),
    }
}
