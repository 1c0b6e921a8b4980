//! The contract for who is about to sign in: attempts by phone number, which the phone's holder confirms, and links that sign in
//! once. Part of [`crate::SiteStore`].

use std::fmt;

use countersign_core::{AccountKey, Code, PhoneNumber, Timestamp};
use futures_util::future::BoxFuture;

use crate::types::StoreError;

/// The wrong code that ends an attempt.
pub const MAX_LOGIN_TRIES: u8 = 5;
/// How long nobody is asked for a number whose holder said "It wasn't me".
pub const LOGIN_BLOCK_MS: i64 = 3_600_000;
/// The most links of one account that stand at a time; the oldest goes.
pub const MAX_LOGIN_LINKS: usize = 5;

/// What the browser that began an attempt holds, or what stands in a link: 32 random bytes. The books know a keyed hash.
#[derive(Clone)]
pub struct LoginToken(pub [u8; 32]);

impl fmt::Debug for LoginToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginToken(hidden)")
    }
}

/// How far an attempt is. It only moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginState {
    /// The phone's holder hasn't answered.
    Pending,
    /// The phone's holder said yes, or its code was typed.
    Confirmed,
    /// The phone's holder said no, or too many wrong codes were typed.
    Refused,
    /// It opened a session.
    Used,
}

/// Somebody who is about to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginAttempt {
    /// Names it in the messenger; opens nothing.
    pub id: i64,
    /// The number that was typed. Whether it has an account is no part of this.
    pub phone: PhoneNumber,
    /// How far it is.
    pub state: LoginState,
    /// How many wrong codes were typed.
    pub wrong_tries: u8,
    /// When it began, real time.
    pub created_at: Timestamp,
    /// When it ends, real time.
    pub expires_at: Timestamp,
    /// What the browser calls itself.
    pub device: String,
    /// Where it asks from.
    pub address: String,
}

/// An attempt that begins.
#[derive(Debug, Clone)]
pub struct NewLogin {
    /// What its browser holds.
    pub token: LoginToken,
    /// Names it in the messenger: random.
    pub id: i64,
    /// The number that was typed.
    pub phone: PhoneNumber,
    /// What can be typed instead of pressing a button.
    pub code: Code,
    /// What the browser calls itself; kept to 200 characters.
    pub device: String,
    /// Where it asks from.
    pub address: String,
    /// Real time.
    pub now: Timestamp,
    /// How long it stands.
    pub life_ms: i64,
}

/// What a phone's holder says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginAnswer {
    /// "Confirm".
    Confirm,
    /// "It wasn't me": nobody is asked for the number for an hour.
    Refuse,
}

/// What became of a typed code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginEntry {
    /// It was right: the attempt is confirmed.
    Right,
    /// It was wrong; so many more may be tried.
    Wrong {
        /// Tries that are left.
        left: u8,
    },
    /// The attempt is over: refused, used, or its time has passed.
    Over,
}

/// Who is about to sign in.
pub trait Logins: Send + Sync {
    /// Begins an attempt; answers whether the number's holder may be asked now. The same is written whether or not.
    fn begin_login(&self, new: NewLogin) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// The attempt of a browser, if it still stands at real time `now`.
    fn login(&self, token: &LoginToken, now: Timestamp) -> BoxFuture<'_, Result<Option<LoginAttempt>, StoreError>>;
    /// What an attempt that is still pending asks, with the code that can be typed instead: for the built-in inbox of another node than
    /// the one that asks.
    fn login_question(
        &self,
        id: i64,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<(LoginAttempt, Code)>, StoreError>>;
    /// Tells the other nodes, if there are any, that an attempt is asked for in the built-in inbox.
    fn login_was_asked(&self, id: i64);
    /// Notes what the phone's holder says; `None` where no such attempt is pending any more.
    fn answer_login(
        &self,
        id: i64,
        answer: LoginAnswer,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<LoginAttempt>, StoreError>>;
    /// Compares a typed code. The wrong one after which none is left refuses the attempt.
    fn enter_login_code(
        &self,
        token: LoginToken,
        entered: String,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<LoginEntry, StoreError>>;
    /// Uses up a confirmed attempt, once: answers whose number was proven.
    fn take_login(&self, token: LoginToken, now: Timestamp) -> BoxFuture<'_, Result<Option<PhoneNumber>, StoreError>>;
    /// Keeps a link that signs in to an account once. [`StoreError::NotFound`] where the account is closed.
    fn make_login_link(
        &self,
        account: AccountKey,
        token: LoginToken,
        now: Timestamp,
        life_ms: i64,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Whether a link stands; using it is another call.
    fn login_link(&self, token: &LoginToken, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// Uses up a link: answers the account that it opens.
    fn take_login_link(
        &self,
        token: LoginToken,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<AccountKey>, StoreError>>;
}
