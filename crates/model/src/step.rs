//! What a random history is made of: rules, and steps that name accounts, phones and requests by small numbers, so that
//! commands meet each other and a failing history shrinks to something that a person can read.

use countersign_core::{Grace, News, OrderParty, Reach, Rules, TokenKind, Verdict};

/// Rules and what happens under them.
#[derive(Debug, Clone)]
pub struct History {
    /// The operator's rules.
    pub rules: Rules,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One thing that happens. `account` is a place that one account after the other takes; `request` counts back from the
/// newest, modulo how many there are.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the fields are the parameters of the command that each names"
)]
pub enum Step {
    Send(SendStep),
    CheckAbility {
        caller: Caller,
        phone: Recipient,
        reach: Reach,
        route: Route,
    },
    Settle {
        request: usize,
        reachable: bool,
        route: Route,
        key: Option<Key>,
    },
    Check {
        of: Named,
        code: Entered,
        key: Option<Key>,
    },
    Revoke {
        of: Named,
    },
    News {
        request: usize,
        /// One of few legs, whether the request's plan has it or not; `None`: the one under way.
        leg: Option<usize>,
        news: News,
        /// Whether the leg will hear of the arrival.
        receipts: bool,
    },
    /// The next leg, now.
    NextLeg {
        of: Named,
        key: Option<Key>,
    },
    Wake {
        request: usize,
    },
    Purchase {
        account: usize,
        micros: i64,
    },
    /// An owner orders credit.
    MakeOrder {
        account: usize,
        micros: i64,
    },
    /// Somebody decides an order, counted back from the account's newest; sometimes one that there isn't.
    DecideOrder {
        account: usize,
        order: usize,
        verdict: Verdict,
        by: OrderParty,
        noted: bool,
    },
    /// The operator corrects a balance.
    Adjust {
        account: usize,
        micros: i64,
    },
    /// Time has come for an account itself.
    Lapse {
        account: usize,
    },
    AdvanceClock {
        account: usize,
        by_ms: i64,
    },
    TimePasses {
        by_ms: i64,
    },
    RotateToken {
        account: usize,
        kind: TokenKind,
        grace: Grace,
    },
    EndGrace {
        account: usize,
        kind: TokenKind,
    },
    CloseAccount {
        account: usize,
    },
    /// Makes the next account of this place, with the same phone number: a conflict while the last one is open.
    OpenAccount {
        account: usize,
    },
    AddSender {
        account: usize,
        name: SenderName,
    },
    VerifySender {
        account: usize,
        name: SenderName,
    },
    SetPrice {
        /// Which numbers.
        of: PriceOf,
        /// Whether it is the price of one of the two routes there are; else it is every route's.
        of_route: Option<bool>,
        /// From when on, counted from now.
        after_ms: i64,
        /// The price; `None` takes it away.
        micros: Option<i64>,
    },
    /// Sets when an account's owner is told of a low balance; `None`: never.
    SetLowBalance {
        account: usize,
        below_micros: Option<i64>,
    },
    /// Sets a rule for a country or a prefix, by their places in the lists; without a verdict it goes.
    PutArea {
        account: usize,
        area: usize,
        verdict: Option<usize>,
    },
    /// Sets what an account may spend in a day; `None`: no budget.
    SetBudget {
        account: usize,
        micros: Option<i64>,
    },
    ForgetOldAnswers,
    ForgetOldTokens,
}

/// A send's parameters.
#[derive(Debug, Clone)]
pub struct SendStep {
    /// Who sends.
    pub caller: Caller,
    /// To whom.
    pub phone: Recipient,
    /// The request to send on, with the phone that it was made for (`true`) or with `phone`.
    pub on: Option<(usize, bool)>,
    /// The sender that it names.
    pub sender: Option<SenderName>,
    /// Whether the code is the customer's own.
    pub supplied: bool,
    /// Whether reports are asked for.
    pub callback: bool,
    /// Whether it carries a payload.
    pub payload: bool,
    /// Its life.
    pub ttl_seconds: i64,
    /// Whether the number can be reached.
    pub reach: Reach,
    /// Over which legs.
    pub route: Route,
    /// Of the generated code.
    pub entropy: u64,
}

/// The legs of a call, and those that were passed over.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// One of few plans; `None`: the built-in messenger alone.
    pub plan: Option<usize>,
    /// How many legs were passed over.
    pub skipped: usize,
}

/// Who calls, with which token and key.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account's place.
    pub account: usize,
    /// With which of its tokens.
    pub kind: TokenKind,
    /// Whether with the token before the present one.
    pub stale_token: bool,
    /// The idempotency key.
    pub key: Option<Key>,
}

/// One of few idempotency keys, used for one of two things.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Which key.
    pub name: u8,
    /// What it is used for.
    pub used_for: u8,
}

/// A request that a caller names; sometimes a caller who doesn't own it.
#[derive(Debug, Clone)]
pub struct Named {
    /// The request.
    pub request: usize,
    /// Whether the caller is the account in the next place.
    pub by_another_account: bool,
    /// Whether it is asked for with a token of the other kind than the one that made it.
    pub by_the_other_kind: bool,
    /// Whether with the token before the present one.
    pub stale_token: bool,
}

/// A number that a call speaks of.
#[derive(Debug, Clone, Copy)]
pub enum Recipient {
    /// One of few numbers, which calls share.
    Shared(usize),
    /// The owner's own.
    Own,
}

/// One of the names that senders get: an account has a few of its own, and sees those of others.
#[derive(Debug, Clone, Copy)]
pub struct SenderName {
    /// Whether it is a name of the account in the next place.
    pub of_another_account: bool,
    /// Which one.
    pub number: u8,
}

/// Whose price is set.
#[derive(Debug, Clone, Copy)]
pub enum PriceOf {
    /// All numbers that no prefix names.
    Default,
    /// One of few prefixes.
    Prefix(usize),
}

/// What a person typed.
#[derive(Debug, Clone, Copy)]
pub enum Entered {
    /// Nothing: the call asks for the status.
    Nothing,
    /// The right code.
    Right,
    /// A wrong one.
    Wrong(u8),
}
