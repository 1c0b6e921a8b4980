//! How core's types stand in columns. Numbers once given to a state are never given to another.

use std::sync::Arc;

use crate::sql::Row;
use countersign_core::{
    Account, AccountId, AccountKey, AdjustmentReason, AreaRules, Bucket, CallbackUrl, Code, CodeOrigin, Credits,
    DailyBudget, DaySpending, DeliveryState, EmailAddress, EnteredCode, EntryHash, EntryKind, HeldCode, LedgerEntry,
    LegEnd, LegState, Locale, LowBalance, Message, News, Payload, PhoneNumber, Purchase, RequestId, RoutePlan,
    SenderUsername, TimelineKind, Timestamp, TokenClaim, TokenKind, TokenStanding, UsedCode, VerificationRequest,
    VerificationState,
};

use crate::reports::{ReportKind, ReportState};
use crate::types::{RequestRef, StoreError};
use crate::vault::{Purpose, Vault};

/// A value in the database that no version of this program wrote.
pub(crate) const fn damaged(what: &'static str) -> StoreError {
    StoreError::Damaged(what)
}

pub(crate) const fn delivery_number(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Admitted => 1,
        DeliveryState::Unreachable => 2,
        DeliveryState::Checked => 3,
        DeliveryState::Sent => 4,
        DeliveryState::Delivered => 5,
        DeliveryState::Read => 6,
        DeliveryState::Expired => 7,
        DeliveryState::Revoked => 8,
    }
}

pub(crate) fn delivery_of(number: i64) -> Result<DeliveryState, StoreError> {
    let found = DeliveryState::ALL
        .into_iter()
        .find(|state| delivery_number(*state) == number);
    found.ok_or_else(|| damaged("a delivery state"))
}

pub(crate) const fn verification_number(state: VerificationState) -> i64 {
    match state {
        VerificationState::Unchecked => 1,
        VerificationState::Invalid => 2,
        VerificationState::Valid => 3,
        VerificationState::AttemptsExceeded => 4,
        VerificationState::Expired => 5,
    }
}

pub(crate) fn verification_of(number: i64) -> Result<VerificationState, StoreError> {
    let found = VerificationState::ALL
        .into_iter()
        .find(|state| verification_number(*state) == number);
    found.ok_or_else(|| damaged("a verification state"))
}

/// Kind and state columns of a timeline row.
pub(crate) const fn timeline_numbers(kind: TimelineKind) -> (i64, i64) {
    match kind {
        TimelineKind::Became(state) => (TIMELINE_BECAME, delivery_number(state)),
        TimelineKind::TooLate(news) => (2, news_number(news)),
        TimelineKind::DeliveryFailed => (3, 0),
        TimelineKind::LegSkipped => (4, 0),
        TimelineKind::LegAccepted => (TIMELINE_LEG_ACCEPTED, 0),
        TimelineKind::LegEnded(end) => (TIMELINE_LEG_ENDED, leg_end_number(end)),
        TimelineKind::Disowned => (7, 0),
    }
}

/// Reads what [`timeline_numbers`] wrote.
pub(crate) fn timeline_kind_of(kind: i64, state: i64) -> Result<TimelineKind, StoreError> {
    Ok(match kind {
        TIMELINE_BECAME => TimelineKind::Became(delivery_of(state)?),
        2 => TimelineKind::TooLate(news_of(state)?),
        3 => TimelineKind::DeliveryFailed,
        4 => TimelineKind::LegSkipped,
        TIMELINE_LEG_ACCEPTED => TimelineKind::LegAccepted,
        TIMELINE_LEG_ENDED => TimelineKind::LegEnded(leg_end_of(state)?),
        7 => TimelineKind::Disowned,
        _ => return Err(damaged("a timeline")),
    })
}

/// The timeline kinds of a state change, and of what became of a leg.
pub(crate) const TIMELINE_BECAME: i64 = 1;
const TIMELINE_LEG_ACCEPTED: i64 = 5;
pub(crate) const TIMELINE_LEG_ENDED: i64 = 6;

const fn leg_end_number(end: LegEnd) -> i64 {
    match end {
        LegEnd::CannotReach => 1,
        LegEnd::Refused => 2,
        LegEnd::Failed => 3,
        LegEnd::NotInTime => 4,
        LegEnd::Resent => 5,
    }
}

pub(crate) fn leg_end_of(number: i64) -> Result<LegEnd, StoreError> {
    let found = LegEnd::ALL.into_iter().find(|end| leg_end_number(*end) == number);
    found.ok_or_else(|| damaged("the end of a leg"))
}

const fn news_number(news: News) -> i64 {
    match news {
        News::Accepted => 1,
        News::Delivered => 2,
        News::Read => 3,
        News::Failed => 4,
        News::Disowned => 5,
        News::CannotReach => 6,
        News::Refused => 7,
    }
}

fn news_of(number: i64) -> Result<News, StoreError> {
    let all = [
        News::Accepted,
        News::Delivered,
        News::Read,
        News::Failed,
        News::Disowned,
        News::CannotReach,
        News::Refused,
    ];
    let found = all.into_iter().find(|news| news_number(*news) == number);
    found.ok_or_else(|| damaged("a channel's news"))
}

const fn origin_number(origin: CodeOrigin) -> i64 {
    match origin {
        CodeOrigin::Generated => 1,
        CodeOrigin::Supplied => 2,
    }
}

fn origin_of(number: i64) -> Result<CodeOrigin, StoreError> {
    match number {
        1 => Ok(CodeOrigin::Generated),
        2 => Ok(CodeOrigin::Supplied),
        _ => Err(damaged("a code's origin")),
    }
}

pub(crate) fn account_key(bucket: i64, id: i64) -> Result<AccountKey, StoreError> {
    let bucket = u8::try_from(bucket).map_err(|_| damaged("a bucket"))?;
    let id = AccountId::new(id).ok_or_else(|| damaged("an account id"))?;
    Ok(AccountKey {
        bucket: Bucket(bucket),
        id,
    })
}

/// A report still to be acknowledged, and one that was lost.
pub(crate) const REPORT_PENDING: i64 = 0;
pub(crate) const REPORT_LOST: i64 = 2;

pub(crate) const fn report_state_number(state: ReportState) -> i64 {
    match state {
        ReportState::Pending => REPORT_PENDING,
        ReportState::Acknowledged => 1,
        ReportState::Lost => REPORT_LOST,
    }
}

pub(crate) fn report_state_of(number: i64) -> Result<ReportState, StoreError> {
    let all = [ReportState::Pending, ReportState::Acknowledged, ReportState::Lost];
    let found = all.into_iter().find(|state| report_state_number(*state) == number);
    found.ok_or_else(|| damaged("a delivery report's state"))
}

pub(crate) const fn report_kind_number(kind: ReportKind) -> i64 {
    match kind {
        ReportKind::Delivery => 0,
        ReportKind::LowBalance => 1,
        ReportKind::DailyBudget => 2,
    }
}

pub(crate) fn report_kind_of(number: i64) -> Result<ReportKind, StoreError> {
    let all = [ReportKind::Delivery, ReportKind::LowBalance, ReportKind::DailyBudget];
    let found = all.into_iter().find(|kind| report_kind_number(*kind) == number);
    found.ok_or_else(|| damaged("a delivery report's kind"))
}

/// Which token made a request, of its two columns.
pub(crate) const fn token_claim(test: bool, generation: u32) -> TokenClaim {
    TokenClaim {
        kind: if test { TokenKind::Test } else { TokenKind::Live },
        generation,
    }
}

/// The key columns of a request's row.
pub(crate) fn request_place(request: RequestRef) -> [i64; 4] {
    [
        i64::from(request.account.bucket.0),
        request.account.id.number(),
        request.id.created_at().millis(),
        request.id.random().cast_signed(),
    ]
}

pub(crate) fn request_id(created_at: i64, random: i64) -> RequestId {
    RequestId::new(Timestamp::from_millis(created_at), random.cast_unsigned())
}

pub(crate) const ACCOUNT_COLUMNS: &str = "phone, closed_at, generation, balance, held, entries, purchased, consumed, \
                                          next_lapse_at, clock_offset_ms, free_day, free_sends, head, last_entry_at, low_balance_below, \
                                          low_balance_url, low_balance_told, low_balance_reports, grace_until, \
                                          test_generation, test_grace_until, areas, daily_budget, daily_budget_url, spent_day, spent, \
                                          budget_told";

/// Reads [`ACCOUNT_COLUMNS`], which begin at a column of the row.
pub(crate) fn account_from_row(key: AccountKey, row: Row<'_>, first: usize) -> Result<Account, StoreError> {
    let closed_at: Option<i64> = row.get(first + 1)?;
    let next_lapse_at: Option<i64> = row.get(first + 8)?;
    Ok(Account {
        key,
        owner: phone_of(row.get(first)?)?,
        closed: closed_at.is_some(),
        live: TokenStanding {
            generation: row.get(first + 2)?,
            grace_until: row.get::<Option<i64>>(first + 18)?.map(Timestamp::from_millis),
        },
        test: TokenStanding {
            generation: row.get(first + 19)?,
            grace_until: row.get::<Option<i64>>(first + 20)?.map(Timestamp::from_millis),
        },
        balance: Credits::from_micros(row.get(first + 3)?),
        held: Credits::from_micros(row.get(first + 4)?),
        entries: row.get::<i64>(first + 5)?.cast_unsigned(),
        purchased: Credits::from_micros(row.get(first + 6)?),
        consumed: Credits::from_micros(row.get(first + 7)?),
        next_lapse_at: next_lapse_at.map(Timestamp::from_millis),
        clock_offset_ms: row.get(first + 9)?,
        free_day: row.get(first + 10)?,
        free_sends: row.get(first + 11)?,
        head: EntryHash::from_bytes(row.get(first + 12)?),
        last_entry_at: Timestamp::from_millis(row.get(first + 13)?),
        low_balance: low_balance_of(row.get(first + 14)?, row.get(first + 15)?).map(Arc::new),
        areas: areas_of(row.get(first + 21)?)?.map(Arc::new),
        low_balance_told: row.get(first + 16)?,
        low_balance_reports: row.get::<i64>(first + 17)?.cast_unsigned(),
        budget: budget_of(row.get(first + 22)?, row.get(first + 23)?).map(Arc::new),
        spending: spending_of(row, first + 24)?,
    })
}

/// Where an account's codes may go; `None` where it has no rules.
pub(crate) fn areas_of(kept: Option<String>) -> Result<Option<AreaRules>, StoreError> {
    kept.map(|kept| AreaRules::decode(&kept).ok_or_else(|| damaged("an account's rules for countries and prefixes")))
        .transpose()
}

/// What an owner wants to be told about the balance, of its two columns.
pub(crate) fn low_balance_of(below: Option<i64>, url: Option<String>) -> Option<LowBalance> {
    Some(LowBalance {
        below: Credits::from_micros(below?),
        url: CallbackUrl::from_stored(url?),
    })
}

/// What may be spent in a day, of its two columns.
pub(crate) fn budget_of(amount: Option<i64>, url: Option<String>) -> Option<DailyBudget> {
    Some(DailyBudget {
        amount: Credits::from_micros(amount?),
        url: url.map(CallbackUrl::from_stored),
    })
}

/// What was spent on a day, of its three columns, which begin at one of the row.
pub(crate) fn spending_of(row: Row<'_>, first: usize) -> Result<DaySpending, StoreError> {
    Ok(DaySpending {
        day: row.get(first)?,
        spent: Credits::from_micros(row.get(first + 1)?),
        told_percent: u8::try_from(row.get::<i64>(first + 2)?).unwrap_or_default(),
    })
}

pub(crate) const ENTRY_COLUMNS: &str = "number, kind, amount, balance_after, at, request_created_at, request_random, previous, \
                                        reason";

/// Reads [`ENTRY_COLUMNS`].
pub(crate) fn entry_from_row(account: AccountKey, row: Row<'_>) -> Result<LedgerEntry, StoreError> {
    let request: Option<(i64, i64)> = row.get::<Option<i64>>(5)?.zip(row.get(6)?);
    Ok(LedgerEntry {
        account,
        number: row.get::<i64>(0)?.cast_unsigned(),
        kind: EntryKind::of_number(row.get(1)?).ok_or_else(|| damaged("the kind of a ledger entry"))?,
        amount: Credits::from_micros(row.get(2)?),
        balance_after: Credits::from_micros(row.get(3)?),
        at: Timestamp::from_millis(row.get(4)?),
        request: request.map(|(created_at, random)| request_id(created_at, random)),
        previous: EntryHash::from_bytes(row.get(7)?),
        reason: row.get::<Option<String>>(8)?.map(AdjustmentReason::from_stored),
    })
}

pub(crate) fn phone_of(digits: i64) -> Result<PhoneNumber, StoreError> {
    u64::try_from(digits)
        .map(PhoneNumber::from_stored)
        .map_err(|_| damaged("a phone number"))
}

pub(crate) fn phone_column(phone: PhoneNumber) -> i64 {
    phone.digits().cast_signed()
}

pub(crate) fn purchase_from_row(account: AccountKey, row: Row<'_>) -> Result<Purchase, crate::sql::Error> {
    Ok(Purchase {
        account,
        entry: row.get::<i64>(0)?.cast_unsigned(),
        through: Credits::from_micros(row.get(1)?),
        lapses_at: Timestamp::from_millis(row.get(2)?),
        lapsed: row.get(3)?,
    })
}

/// What is left of a message's code.
fn held_code(
    vault: &Vault,
    place: &[i64],
    code_sealed: Option<Vec<u8>>,
    used_sealed: Option<Vec<u8>>,
) -> Result<HeldCode, StoreError> {
    if let Some(sealed) = code_sealed {
        let code = String::from_utf8(vault.open(Purpose::Code, place, &sealed)?).ok();
        let code = code.and_then(|code| Code::parse(&code));
        return code.map(HeldCode::Whole).ok_or_else(|| damaged("a code"));
    }
    let Some(sealed) = used_sealed else {
        return Ok(HeldCode::Wiped);
    };
    let used = vault.open(Purpose::UsedCode, place, &sealed)?.try_into();
    used.map(|bytes| HeldCode::Used(UsedCode::from_bytes(bytes)))
        .map_err(|_| damaged("a used code"))
}

pub(crate) const REQUEST_COLUMNS: &str = "bucket, account_id, created_at, random, phone, delivery, delivery_at, fee, \
     refunded, verification, verification_at, wrong_attempts, events, wake_at, code_sealed, code_origin, sent_at, \
     expires_at, accepted, sender, callback_url, payload, entered_sealed, test, generation, plan, leg, leg_at, \
     open_legs, locale, email_sealed, used_sealed";

/// A request as its columns stand, before anything sealed is opened.
#[derive(Debug, Default)]
pub(crate) struct RequestColumns {
    pub(crate) place: [i64; 4],
    pub(crate) phone: i64,
    pub(crate) delivery: i64,
    pub(crate) delivery_at: i64,
    pub(crate) fee: i64,
    pub(crate) refunded: bool,
    pub(crate) verification: i64,
    pub(crate) verification_at: i64,
    pub(crate) wrong_attempts: u8,
    pub(crate) events: u16,
    pub(crate) wake_at: Option<i64>,
    pub(crate) code_sealed: Option<Vec<u8>>,
    pub(crate) code_origin: Option<i64>,
    pub(crate) sent_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) accepted: Option<bool>,
    pub(crate) sender: Option<String>,
    pub(crate) callback_url: Option<String>,
    pub(crate) payload: Option<String>,
    pub(crate) entered_sealed: Option<Vec<u8>>,
    pub(crate) test: bool,
    pub(crate) generation: u32,
    pub(crate) plan: Option<String>,
    pub(crate) leg: Option<u8>,
    pub(crate) leg_at: Option<i64>,
    pub(crate) open_legs: Option<u8>,
    pub(crate) locale: Option<String>,
    pub(crate) email_sealed: Option<Vec<u8>>,
    pub(crate) used_sealed: Option<Vec<u8>>,
    /// Whether no code may be left in the row. Otherwise one that stands there stays, unless the message is written.
    pub(crate) code_is_gone: bool,
}

impl RequestColumns {
    /// Reads [`REQUEST_COLUMNS`].
    pub(crate) fn read(row: Row<'_>) -> Result<Self, crate::sql::Error> {
        Ok(Self {
            place: [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?],
            phone: row.get(4)?,
            delivery: row.get(5)?,
            delivery_at: row.get(6)?,
            fee: row.get(7)?,
            refunded: row.get(8)?,
            verification: row.get(9)?,
            verification_at: row.get(10)?,
            wrong_attempts: row.get(11)?,
            events: row.get(12)?,
            wake_at: row.get(13)?,
            code_sealed: row.get(14)?,
            code_origin: row.get(15)?,
            sent_at: row.get(16)?,
            expires_at: row.get(17)?,
            accepted: row.get(18)?,
            sender: row.get(19)?,
            callback_url: row.get(20)?,
            payload: row.get(21)?,
            entered_sealed: row.get(22)?,
            test: row.get(23)?,
            generation: row.get(24)?,
            plan: row.get(25)?,
            leg: row.get(26)?,
            leg_at: row.get(27)?,
            open_legs: row.get(28)?,
            locale: row.get(29)?,
            email_sealed: row.get(30)?,
            used_sealed: row.get(31)?,
            code_is_gone: false,
        })
    }

    /// The columns of a request; `clock_offset_ms` turns its account's time of waking into real time. The columns of its
    /// plan and message are filled only where they are to be written: sealing costs time.
    pub(crate) fn of(
        request: &VerificationRequest,
        clock_offset_ms: i64,
        vault: &Vault,
        with_message: bool,
    ) -> Result<Self, StoreError> {
        let place = request_place(RequestRef {
            account: request.account,
            id: request.id,
        });
        let entered = request.code_entered.as_ref();
        let entered_sealed = entered
            .map(|entered| vault.seal(Purpose::EnteredCode, &place, entered.as_str().as_bytes()))
            .transpose()?;
        let code = request.message.as_ref().map_or(HeldCode::Wiped, |message| message.code);
        let used_sealed = match code {
            HeldCode::Used(used) => Some(vault.seal(Purpose::UsedCode, &place, used.as_bytes())?),
            HeldCode::Whole(_) | HeldCode::Wiped => None,
        };
        let mut columns = Self {
            place,
            phone: phone_column(request.phone),
            delivery: delivery_number(request.delivery),
            delivery_at: request.delivery_updated_at.millis(),
            fee: request.fee.micros(),
            refunded: request.refunded,
            verification: verification_number(request.verification),
            verification_at: request.verification_updated_at.millis(),
            wrong_attempts: request.wrong_attempts,
            events: request.events,
            wake_at: request.wake_at().map(|at| at.plus_millis(-clock_offset_ms).millis()),
            accepted: request.message.as_ref().map(|message| message.accepted),
            entered_sealed,
            used_sealed,
            code_is_gone: code.whole().is_none(),
            test: request.test,
            generation: request.generation,
            ..Self::default()
        };
        if let (Some(message), Some(_)) = (&request.message, &request.plan) {
            columns.leg = Some(message.legs.leg);
            columns.leg_at = Some(message.legs.started_at.millis());
            columns.open_legs = Some(message.legs.open);
        }
        if with_message {
            columns.plan = request.plan.as_ref().map(|plan| plan.encode());
        }
        if let (Some(message), true) = (&request.message, with_message) {
            let code = message.code.whole();
            columns.code_sealed = code
                .map(|code| vault.seal(Purpose::Code, &place, code.as_str().as_bytes()))
                .transpose()?;
            columns.code_origin = Some(origin_number(message.origin));
            columns.sent_at = Some(message.sent_at.millis());
            columns.expires_at = Some(message.expires_at.millis());
            columns.sender = message.sender.as_ref().map(|sender| sender.as_str().to_owned());
            columns.callback_url = message.callback_url.as_ref().map(|url| url.as_str().to_owned());
            columns.payload = message.payload.as_ref().map(|payload| payload.as_str().to_owned());
            columns.locale = message.locale.as_ref().map(Locale::to_string);
            let email = message.email.as_ref();
            columns.email_sealed = email
                .map(|email| vault.seal(Purpose::Email, &place, email.as_str().as_bytes()))
                .transpose()?;
        }
        Ok(columns)
    }

    /// The request, with what is sealed opened.
    pub(crate) fn open(self, vault: &Vault) -> Result<VerificationRequest, StoreError> {
        let [bucket, account_id, created_at, random] = self.place;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| damaged("a sealed text"));
        let code_entered = match self.entered_sealed {
            None => None,
            Some(sealed) => EnteredCode::new(text(vault.open(Purpose::EnteredCode, &self.place, &sealed)?)?),
        };
        let plan = self.plan.as_deref().map(|plan| RoutePlan::decode(plan).map(Arc::new));
        let legs = match (self.leg, self.leg_at, self.open_legs) {
            (Some(leg), Some(started_at), Some(open)) => Some(LegState {
                leg,
                started_at: Timestamp::from_millis(started_at),
                open,
            }),
            _ => None,
        };
        let message = match (self.code_origin, self.sent_at, self.expires_at) {
            (Some(origin), Some(sent_at), Some(expires_at)) => Some(Message {
                code: held_code(vault, &self.place, self.code_sealed, self.used_sealed)?,
                origin: origin_of(origin)?,
                sender: self.sender.as_deref().and_then(SenderUsername::parse),
                callback_url: self.callback_url.map(CallbackUrl::from_stored),
                payload: self.payload.and_then(Payload::new),
                locale: self.locale.as_deref().and_then(Locale::parse),
                email: match self.email_sealed {
                    None => None,
                    Some(sealed) => EmailAddress::parse(&text(vault.open(Purpose::Email, &self.place, &sealed)?)?),
                },
                sent_at: Timestamp::from_millis(sent_at),
                expires_at: Timestamp::from_millis(expires_at),
                accepted: self.accepted.unwrap_or_default(),
                legs: legs.unwrap_or(LegState::first(Timestamp::from_millis(sent_at))),
            }),
            _ => None,
        };
        Ok(VerificationRequest {
            id: request_id(created_at, random),
            account: account_key(bucket, account_id)?,
            phone: phone_of(self.phone)?,
            test: self.test,
            generation: self.generation,
            delivery: delivery_of(self.delivery)?,
            delivery_updated_at: Timestamp::from_millis(self.delivery_at),
            fee: Credits::from_micros(self.fee),
            refunded: self.refunded,
            plan: match plan {
                None => None,
                Some(plan) => Some(plan.ok_or_else(|| damaged("a plan of a route"))?),
            },
            message,
            verification: verification_of(self.verification)?,
            verification_updated_at: Timestamp::from_millis(self.verification_at),
            code_entered,
            wrong_attempts: self.wrong_attempts,
            events: self.events,
        })
    }
}
