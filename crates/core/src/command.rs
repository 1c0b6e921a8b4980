//! What can be asked of the books, what `decide` must know to answer, and what comes of it.

use std::sync::Arc;

use crate::account::{Account, Purchase};
use crate::code::{Code, CodeLength, EnteredCode};
use crate::error::ApiError;
use crate::guard::GuardWord;
use crate::ids::RequestId;
use crate::ledger::{AdjustmentReason, LedgerEntry};
use crate::limits::{Limit, LimitState};
use crate::low_balance::AccountReport;
use crate::money::Credits;
use crate::order::{Order, OrderId, OrderNote, OrderParty, Verdict};
use crate::parameters::{CallbackUrl, IdempotencyKey, Payload, SenderUsername, Ttl};
use crate::phone::PhoneNumber;
use crate::price::{PriceList, RouteName};
use crate::recipient::{EmailAddress, Locale};
use crate::request::{DeliveryState, VerificationRequest};
use crate::route::{Detail, LegName, RoutePlan};
use crate::time::Timestamp;
use crate::token::TokenClaim;
use crate::wire::RequestStatus;

/// One change of one account, asked by the API, an operator or a worker. It carries its own time and randomness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Real time.
    pub now: Timestamp,
    /// The token that asks; `None` for workers, the pages and the operator.
    pub token: Option<TokenClaim>,
    /// Makes a repeated call give the first answer again.
    pub idempotency: Option<Idempotency>,
    /// What is asked.
    pub action: Action,
}

/// What a command asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `sendVerificationMessage`.
    Send(Box<Send>),
    /// `checkSendAbility`.
    CheckAbility {
        /// The number asked about.
        phone: PhoneNumber,
        /// The recipient's e-mail address, for legs that carry mail.
        email: Option<EmailAddress>,
        /// The random half of the new request's id.
        id_entropy: u64,
        /// Whether the number can be reached.
        reach: Reach,
        /// The legs over which a message goes; `None`: the built-in messenger alone.
        plan: Option<Arc<RoutePlan>>,
        /// Legs that were passed over before anything was asked, with why.
        skipped: Vec<(LegName, Detail)>,
        /// What the guard found out about the number, if anything.
        guard: Option<Box<GuardWord>>,
    },
    /// The answer about an admitted request's reachability.
    Settle {
        /// The admitted request.
        request: RequestId,
        /// Whether a leg reaches the number.
        reachable: bool,
        /// Takes the place of the plan that was admitted: legs that said no are gone.
        plan: Option<Arc<RoutePlan>>,
        /// Legs that said no, with why.
        skipped: Vec<(LegName, Detail)>,
        /// What the guard found out about the number, over the legs that are left, if anything.
        guard: Option<Box<GuardWord>>,
    },
    /// `checkVerificationStatus`.
    Check {
        /// The request.
        request: RequestId,
        /// The code that the person typed, if it is to be judged.
        code: Option<EnteredCode>,
    },
    /// `revokeVerificationMessage`.
    Revoke {
        /// The request.
        request: RequestId,
    },
    /// What a channel says of a message.
    News {
        /// The request.
        request: RequestId,
        /// The leg that tells it; `None`: the one under way.
        leg: Option<LegName>,
        /// What happened.
        news: News,
        /// What the other side said besides.
        detail: Option<Detail>,
        /// Whether the leg will hear of the message's arrival; counts with [`News::Accepted`] only.
        receipts: bool,
    },
    /// The recipient got nothing yet and asks again: the next leg begins at once, on the same request, code and fee.
    NextLeg {
        /// The request.
        request: RequestId,
    },
    /// Time has come for a request: applies what is due, nothing else.
    Wake {
        /// The request.
        request: RequestId,
    },
    /// Credit was bought.
    Purchase {
        /// How much.
        amount: Credits,
    },
    /// An order of credit is paid, or comes to nothing: once. Asked again, it answers what became of it.
    DecideOrder {
        /// The order.
        order: OrderId,
        /// Which of the two.
        verdict: Verdict,
        /// Who says so.
        by: OrderParty,
        /// What is noted of it.
        note: Option<OrderNote>,
    },
    /// The operator corrects the balance.
    Adjust {
        /// By how much; negative takes credit away.
        amount: Credits,
        /// Why; it stands in the ledger.
        reason: AdjustmentReason,
    },
    /// Time has come for the account itself: credit that is due lapses, nothing else happens.
    Lapse,
    /// The sandbox moves this account's clock forward. What is due then is woken by its own commands.
    AdvanceClock {
        /// By how many milliseconds, zero or more.
        by_ms: i64,
    },
}

impl Action {
    /// News of a message by the leg under way, with nothing said besides.
    pub const fn news(request: RequestId, news: News) -> Self {
        Self::News {
            request,
            leg: None,
            news,
            detail: None,
            receipts: false,
        }
    }
}

/// The parameters of a send, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// The recipient.
    pub phone: PhoneNumber,
    /// An ability check to send on.
    pub request: Option<RequestId>,
    /// Whom the recipient sees as the sender.
    pub sender: Option<SenderUsername>,
    /// The code.
    pub code: SendCode,
    /// Where reports go.
    pub callback_url: Option<CallbackUrl>,
    /// Text to give back.
    pub payload: Option<Payload>,
    /// The message's life.
    pub ttl: Ttl,
    /// In which language the recipient reads; `None`: their number's country says it.
    pub locale: Option<Locale>,
    /// Their e-mail address, for a leg that carries mail.
    pub email: Option<EmailAddress>,
    /// The random half of a new request's id.
    pub id_entropy: u64,
    /// Whether the number can be reached.
    pub reach: Reach,
    /// The legs over which the message goes; `None`: the built-in messenger alone. A send on an ability check goes by that
    /// one's plan, if it has one.
    pub plan: Option<Arc<RoutePlan>>,
    /// Legs that were passed over before anything was asked, with why.
    pub skipped: Vec<(LegName, Detail)>,
    /// What the guard found out about the number, if anything.
    pub guard: Option<Box<GuardWord>>,
}

/// The code of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendCode {
    /// The customer's own.
    Supplied(Code),
    /// To be made of the command's randomness.
    Generate {
        /// How many digits.
        length: CodeLength,
        /// 128 random bits.
        entropy: u128,
    },
}

/// What is known about a number's reachability when a command is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The books know that a leg reaches it (the inbox, a bot's opt-in).
    Reachable,
    /// The books know that no leg does.
    Unreachable,
    /// A leg must ask the network: hold the fee, answer [`Answer::Admitted`], and wait for [`Action::Settle`].
    MustAsk,
}

/// A channel's news about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The channel took responsibility for the message.
    Accepted,
    /// It reached the recipient's device.
    Delivered,
    /// The recipient saw it.
    Read,
    /// It can't be reached on this leg.
    CannotReach,
    /// The other side of this leg refuses the message.
    Refused,
    /// This leg has failed for good.
    Failed,
    /// Its recipient says that they asked for no code.
    Disowned,
}

/// An idempotency key and what it was first used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key.
    pub key: IdempotencyKey,
    /// SHA-256 over method and parameters.
    pub fingerprint: [u8; 32],
}

/// The kept first answer to an idempotency key, not older than 24 h.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstAnswer {
    /// What the key was used for.
    pub idempotency: Idempotency,
    /// The `result` of the answer, as JSON.
    pub result: Vec<u8>,
    /// Real time of the call.
    pub at: Timestamp,
}

/// What the books know of the sender that a send names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderFact {
    /// No sender was named.
    NotNamed,
    /// Nobody has registered it.
    Unknown,
    /// It is another account's.
    OtherAccount,
    /// This account's, not verified yet.
    Unverified,
    /// This account's, verified.
    Verified,
}

/// Counters of the flood limits, kept by the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FloodCounters {
    /// Of the account's sends and ability checks.
    pub account: LimitState,
    /// Of those to this number.
    pub number: LimitState,
}

/// The operator's rules that `decide` goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What messages cost.
    pub prices: PriceList,
    /// The route of messages without a plan: the built-in messenger's.
    pub route: RouteName,
    /// Wrong codes after which no code counts any more (the fifth, by default).
    pub max_check_attempts: u8,
    /// Free sends a day to the owner's own number; `None`: unlimited.
    pub free_sends_per_day: Option<u32>,
    /// Sends and ability checks of one account.
    pub account_limit: Option<Limit>,
    /// Sends and ability checks of one account to one number.
    pub number_limit: Option<Limit>,
    /// One live code at a time for an account, a number and a sender: a second send waits so many milliseconds after the first,
    /// and ends its code then. `None`: codes live beside each other.
    pub one_live_code: Option<i64>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            prices: PriceList::default(),
            route: RouteName::INBOX,
            max_check_attempts: 5,
            free_sends_per_day: None,
            account_limit: None,
            number_limit: None,
            one_live_code: None,
        }
    }
}

/// What `decide` must know to answer a command.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The account as it stands.
    pub account: &'a Account,
    /// The request that the command names, if this account has it.
    pub request: Option<&'a VerificationRequest>,
    /// The order of credit that the command names, if this account has it.
    pub order: Option<&'a Order>,
    /// The answer that stands under the command's idempotency key.
    pub first_answer: Option<&'a FirstAnswer>,
    /// The sender that a send names.
    pub sender: SenderFact,
    /// Flood counters.
    pub flood: FloodCounters,
    /// The account's latest message to the number and sender of a send, or of the message that is settled; looked up only where
    /// one code lives at a time.
    pub earlier: Option<&'a VerificationRequest>,
    /// Purchases whose time has come, oldest first; complete where `account.next_lapse_at` is due.
    pub due_purchases: &'a [Purchase],
    /// When the first purchase after those lapses.
    pub next_lapse_after: Option<Timestamp>,
    /// The operator's rules.
    pub rules: &'a Rules,
}

/// The outcome for the caller, and the changes for the books: all of them or none are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What the caller is told, once the changes are durable.
    pub outcome: Result<Answer, ApiError>,
    /// The account after the command.
    pub account: Account,
    /// The request after the command, where it is new or changed.
    pub request: Option<VerificationRequest>,
    /// Whether `request` is new.
    pub request_is_new: bool,
    /// New ledger entries.
    pub entries: Vec<LedgerEntry>,
    /// A new purchase, or purchases that lapsed.
    pub purchases: Vec<Purchase>,
    /// The order of credit after the command, where it was decided.
    pub order: Option<Order>,
    /// The earlier request whose code this command ended.
    pub ended: Option<Box<EndedCode>>,
    /// What happened to the request.
    pub timeline: Vec<TimelineEvent>,
    /// Delivery reports to send.
    pub reports: Vec<DeliveryReport>,
    /// The report of a balance that became low.
    pub low_balance: Option<AccountReport>,
    /// The report of a daily budget that is nearly or wholly used up.
    pub budget: Option<AccountReport>,
    /// The answer to keep under the idempotency key.
    pub first_answer: Option<FirstAnswer>,
    /// Flood counters after the command.
    pub flood: FloodCounters,
    /// Work for the dispatcher, in memory as well as in the books.
    pub work: Option<Work>,
}

/// A request whose code ended because another took its place ([`Rules::one_live_code`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedCode {
    /// The request as it stands then.
    pub request: VerificationRequest,
    /// What happened to it.
    pub timeline: Vec<TimelineEvent>,
    /// Delivery reports to send.
    pub reports: Vec<DeliveryReport>,
    /// Work for the dispatcher.
    pub work: Option<Work>,
}

/// What a caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The request's state.
    Status(Box<RequestStatus>),
    /// The same, told to whom typed its code rightly for the first time: once in a request's life.
    Verified(Box<RequestStatus>),
    /// A revocation was received.
    Revoked,
    /// The fee is on hold; ask the network, then [`Action::Settle`].
    Admitted(RequestId),
    /// A first answer again: the `result` as JSON.
    Again(Vec<u8>),
    /// The order of credit as it stands; `None` where the account has no such one.
    Order(Option<Box<Order>>),
    /// Done; a worker's or an operator's command has no more to know.
    Done,
}

/// One line of a request's timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEvent {
    /// Counts the request's events from 1.
    pub number: u16,
    /// What happened.
    pub kind: TimelineKind,
    /// When, on the account's clock.
    pub at: Timestamp,
    /// The leg that it is about; `None` where the built-in messenger is the only one.
    pub leg: Option<LegName>,
    /// What was said besides.
    pub detail: Option<Detail>,
}

/// How a leg ended, so that the next one went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegEnd {
    /// The number can't be reached on it.
    CannotReach,
    /// Its other side refused the message.
    Refused,
    /// It failed for good.
    Failed,
    /// It told of no arrival within its wait; one may still come.
    NotInTime,
    /// Its recipient asked again before the wait was over ([`Action::NextLeg`]).
    Resent,
}

impl LegEnd {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::CannotReach,
        Self::Refused,
        Self::Failed,
        Self::NotInTime,
        Self::Resent,
    ];
}

/// What a timeline says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimelineKind {
    /// The delivery state changed to this one.
    Became(DeliveryState),
    /// News that came when it could no longer change the state.
    TooLate(News),
    /// The last way to deliver failed; the message expired early.
    DeliveryFailed,
    /// A leg was passed over: it was known not to reach the number, or not to work.
    LegSkipped,
    /// A leg took the message.
    LegAccepted,
    /// A leg ended without having delivered.
    LegEnded(LegEnd),
    /// Its recipient says that they asked for no code: the code ended.
    Disowned,
}

/// A delivery report, frozen at the commit of its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The number of its timeline event: reports of a request go out in this order.
    pub number: u16,
    /// Where it goes.
    pub callback_url: CallbackUrl,
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// The token that made the request: it signs the report while it works, then the present one of its kind does.
    pub token: TokenClaim,
    /// Real time of its state's commit.
    pub created_at: Timestamp,
}

/// What a committed change asks of the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Deliver the request's message on the leg under way.
    Deliver,
    /// Withdraw it from all legs that have begun: it was revoked, disowned, proved by its code, or it expired.
    Withdraw,
    /// It arrived on the leg at this place of the plan: withdraw it from all others that have begun.
    WithdrawOthers {
        /// The place.
        arrived_on: u8,
    },
    /// Send [`Action::Wake`] at once: the sandbox's script goes on.
    Wake,
}
