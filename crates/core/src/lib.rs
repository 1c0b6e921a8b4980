//! The rules of Countersign. Pure: no I/O, no clock, no randomness; nothing here knows that SQL, HTTP or Telegram exist.
//!
//! Start at [`decide`]: it takes what the books know ([`Facts`]) and a [`Command`], and answers a [`Decision`]: the outcome
//! for the caller and the changes for the books. Everything else is the vocabulary it speaks.

// Money is integers: where nothing is computed in floats, no sum can be.
#![deny(clippy::float_arithmetic)]

mod account;
mod autofill;
mod budget;
mod calendar;
mod code;
mod command;
mod country;
mod decide;
mod error;
mod guard;
mod held_code;
mod ids;
mod ledger;
mod limits;
mod low_balance;
mod money;
mod order;
mod parameters;
mod phone;
mod price;
mod quota;
mod recipient;
mod request;
mod route;
mod sandbox;
mod signature;
mod sketch;
mod time;
mod token;
mod usage;
mod wire;

pub use account::{Account, CREDIT_LIFE_MS, MAX_PURCHASE, Purchase};
pub use autofill::{AndroidAppHash, Autofill, AutofillError, WebsiteHost};
pub use budget::{DailyBudget, DaySpending};
pub use calendar::{civil_date, days_of_date};
pub use code::{Code, CodeLength, EnteredCode, MAX_CODE_LENGTH, MAX_ENTERED_CODE_BYTES, MIN_CODE_LENGTH};
pub use command::{
    Action, Answer, Command, Decision, DeliveryReport, EndedCode, Facts, FirstAnswer, FloodCounters, Idempotency,
    LegEnd, News, Reach, Rules, Send, SendCode, SenderFact, TimelineEvent, TimelineKind, Work,
};
pub use country::Country;
pub use decide::{RESEND_PAUSE_MS, decide, status_at};
pub use error::ApiError;
pub use guard::{
    Area, AreaChange, AreaRefusal, AreaRules, AreaRulesFull, AreaVerdict, GuardWord, MAX_AREA_RULES, NoArea, Pace,
    Pumping, PumpingParameter, PumpingPlace, PumpingRefusal, PumpingRules, RefusedRange,
};
pub use held_code::{HeldCode, UsedCode};
pub use ids::{AccountId, AccountKey, Bucket, RequestId};
pub use ledger::{AdjustmentReason, EntryHash, EntryKind, LedgerEntry};
pub use limits::{Limit, LimitState};
pub use low_balance::{AccountReport, LowBalance};
pub use money::{Credits, MICROS_PER_CREDIT, ParseCreditsError};
pub use order::{Order, OrderId, OrderNote, OrderParty, OrderState, ProviderName, Verdict};
pub use parameters::{
    CallbackUrl, IdempotencyKey, MAX_TTL_SECONDS, MIN_TTL_SECONDS, Payload, PlainHttp, SenderUsername, Ttl,
};
pub use phone::{LineType, PhoneDetails, PhoneNumber, SandboxNumbers, load_numbering_plans};
pub use price::{
    DEFAULT_PRICE, MAX_PRICE, MAX_PRICE_ROWS, NumberPrefix, PriceChange, PriceList, PriceListFull, PriceRoute,
    PriceRow, RouteName,
};
pub use quota::{Asked, Quota, Share, Taken};
pub use recipient::{EmailAddress, Locale};
pub use request::{
    ABILITY_LIFE_MS, ADMISSION_LIFE_MS, CodeOrigin, DeliveryState, DueStep, LegState, Message, VerificationRequest,
    VerificationState,
};
pub use route::{Detail, LAST_START_MS, LATE_START_MS, LegName, MAX_DETAIL_CHARS, MAX_LEGS, PlannedLeg, RoutePlan};
pub use sandbox::{SCRIPTED_DELAY_MS, SCRIPTED_FLOOD_WAIT_SECONDS, Script};
pub use signature::{SIGNATURE_HEADER, TIMESTAMP_HEADER, sign_report, signature_matches};
pub use sketch::{NumberSketch, SKETCH_GROUPS, SeenNumbers, SketchPlace};
pub use time::{DAY_MS, Timestamp};
pub use token::{ApiToken, Grace, TOKEN_LENGTH, TokenClaim, TokenKind, TokenStanding};
pub use usage::{
    QUARTER_MS, Quarter, TIME_SLOTS, TimeHistogram, USAGE_COUNTS, UsageChange, UsageCount, UsageFacts, UsageSum,
    time_slot, usage_change,
};
pub use wire::{DeliveryStatus, RequestStatus, VerificationStatus};
