//! Signing in to the pages by phone number: attempts begin here, their question goes out to the phone's holder, and the answer
//! comes back here, whichever channel carried it. The pages are in `portal/login.rs`; who may be asked how is in `policy`.
//!
//! Nobody learns which numbers have accounts: the same is counted, written and answered for each, and whom to ask is found out
//! after the answer was given.

mod policy;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_channels::{Handover, LoginPrompt};
use countersign_core::{Code, CodeLength, Detail, LegName, Limit, PhoneNumber, SandboxNumbers, Timestamp};
use countersign_store::{LoginAnswer, LoginAttempt, LoginEntry, LoginToken, NewLogin, StoreError};
use tokio::sync::{Semaphore, watch};

pub(crate) use policy::Network;
use policy::{AskedBy, NetworkPace, Policy, Standing};

use crate::app::{App, Mode};
use crate::pace::Pace;
use crate::random;
use crate::settings::Settings;
use crate::site::asker::Asker;
use crate::site::page::PageError;
use crate::site::terms::Terms;

/// How long an attempt stands.
pub(crate) const ATTEMPT_LIFE_MS: i64 = 600_000;
/// Waiting pages that are told by themselves; more look when they are reloaded.
const MAX_WAITING: usize = 1_000;
/// Of one attempt: a browser's tabs. Whoever begins one can't take everybody's place with it.
const MAX_WAITING_OF_AN_ATTEMPT: usize = 8;
/// Questions on their way to channels.
const MAX_UNDER_WAY: usize = 64;
/// What one address may begin, as a multiple of what one number may.
const ADDRESS_SHARE: u32 = 4;
/// The longest that one leg may take with a question, and with taking it back.
const ASK_LIMIT: Duration = Duration::from_secs(30);
const WITHDRAW_LIMIT: Duration = Duration::from_secs(5);
const HOUR_MS: i64 = 3_600_000;

/// What signing in keeps in memory. One per server.
pub struct LoginDesk {
    /// Counts answers: each waiting page looks at its own attempt when it moves.
    answers: watch::Sender<u64>,
    waiting: Places,
    under_way: Arc<Semaphore>,
    /// `None` where there is no limit.
    limits: Option<Limits>,
    policy: Policy,
    pub(crate) terms: Terms,
}

struct Limits {
    by_number: Pace<PhoneNumber>,
    by_network: NetworkPace,
    codes_by_network: NetworkPace,
}

impl LoginDesk {
    /// A desk that holds to the operator's limits. Fails where the operator's terms can't be read.
    pub fn new(settings: &Settings) -> io::Result<Self> {
        let in_an_hour = |count: u32| Limit {
            count,
            period_ms: HOUR_MS,
        };
        let limits = settings.limits.login_attempts_per_hour.map(|count| {
            let of_a_network = count.saturating_mul(ADDRESS_SHARE);
            Limits {
                by_number: Pace::new(in_an_hour(count)),
                by_network: NetworkPace::new(in_an_hour(of_a_network)),
                codes_by_network: NetworkPace::new(in_an_hour(of_a_network)),
            }
        });
        Ok(Self {
            answers: watch::Sender::new(0),
            waiting: Places::default(),
            under_way: Arc::new(Semaphore::new(MAX_UNDER_WAY)),
            limits,
            policy: Policy::new(),
            terms: Terms::load(settings.site.terms_file.as_deref())?,
        })
    }

    /// A place among the waiting pages; `None` where all are taken.
    pub(crate) fn wait(app: &Arc<App>, token: &LoginToken) -> Option<Waiting> {
        let desk = &app.login;
        desk.waiting.take(token).then(|| Waiting {
            answers: desk.answers.subscribe(),
            app: Arc::clone(app),
            token: token.clone(),
        })
    }

    /// Some attempt may have been answered: waiting pages look at theirs.
    pub(crate) fn told(&self) {
        self.answers.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// A page that waits for its answer.
pub(crate) struct Waiting {
    answers: watch::Receiver<u64>,
    app: Arc<App>,
    token: LoginToken,
}

impl Waiting {
    /// Waits until some attempt was answered.
    pub(crate) async fn answered(&mut self) {
        // An error says that the server is gone; then the connection is, too.
        let _ = self.answers.changed().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.app.login.waiting.give_back(&self.token);
    }
}

/// How many pages wait, by attempt.
#[derive(Default)]
struct Places(Mutex<HashMap<[u8; 32], usize>>);

impl Places {
    fn take(&self, token: &LoginToken) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_this = counts.get(&token.0).copied().unwrap_or_default();
        if of_this >= MAX_WAITING_OF_AN_ATTEMPT || counts.values().sum::<usize>() >= MAX_WAITING {
            return false;
        }
        counts.insert(token.0, of_this + 1);
        true
    }

    fn give_back(&self, token: &LoginToken) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_this) = counts.get_mut(&token.0) {
            *of_this -= 1;
            if *of_this == 0 {
                counts.remove(&token.0);
            }
        }
    }
}

/// A number as people type it: grouped, with `00` or `+` in front.
pub(crate) fn typed_phone(text: &str, mode: Mode) -> Option<PhoneNumber> {
    let digits: String = text
        .chars()
        .filter(|sign| !sign.is_whitespace() && !matches!(sign, '-' | '(' | ')' | '.' | '/'))
        .collect();
    let sandbox_numbers = match mode {
        Mode::Sandbox => SandboxNumbers::Accepted,
        Mode::Production => SandboxNumbers::Refused,
    };
    PhoneNumber::parse(digits.strip_prefix("00").unwrap_or(&digits), sandbox_numbers)
}

/// Counts what could be a guess: of a code, or of a link.
pub(crate) async fn count_guess(app: &App, asker: &Asker, now: Timestamp) -> Result<(), PageError> {
    let Some(limits) = &app.login.limits else { return Ok(()) };
    let counted = limits
        .codes_by_network
        .take_on_any_node(&*app.store, "guesses of a network", asker.network(), now);
    counted.await?.map_err(too_many)
}

fn too_many(seconds: u32) -> PageError {
    PageError::TooMany { seconds }
}

/// Begins an attempt and lets the phone's holder be asked, beside the answer: neither what is answered nor how soon depends
/// on whether the number has an account. Answers what the browser keeps.
pub(crate) async fn begin(
    app: &Arc<App>,
    phone: PhoneNumber,
    asker: &Asker,
    now: Timestamp,
) -> Result<LoginToken, PageError> {
    if let Some(limits) = &app.login.limits {
        let store = &*app.store;
        let counted = limits
            .by_network
            .take_on_any_node(store, "sign-ins of a network", asker.network(), now);
        counted.await?.map_err(too_many)?;
        let counted = limits
            .by_number
            .take_on_any_node(store, "sign-ins of a number", phone, phone.to_string(), now);
        counted.await?.map_err(too_many)?;
    }
    let token = LoginToken(random::bytes());
    let new = NewLogin {
        token: token.clone(),
        id: positive(random::bytes()),
        phone,
        code: Code::from_entropy(CodeLength::default(), u128::from_ne_bytes(random::bytes())),
        device: asker.device.clone(),
        address: asker.address_text(),
        now,
        life_ms: ATTEMPT_LIFE_MS,
    };
    let prompt = LoginPrompt {
        attempt: new.id,
        phone,
        code: new.code,
        device: new.device.clone(),
        address: new.address.clone(),
        at: now,
        expires_at: now.plus_millis(ATTEMPT_LIFE_MS),
    };
    let may_ask = app.site.begin_login(new).await?;
    let Ok(place) = Arc::clone(&app.login.under_way).try_acquire_owned() else {
        tracing::warn!("too many sign-ins at a time: one is not asked for");
        return Ok(token);
    };
    if may_ask {
        let (app, network) = (Arc::clone(app), asker.network());
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = ask(&app, prompt, network).await {
                tracing::error!(%error, "a sign-in could not be asked for");
            }
        });
    }
    Ok(token)
}

/// Positive 63-bit numbers: every reader of JSON and every form keeps them as text.
fn positive(bytes: [u8; 8]) -> i64 {
    (i64::from_ne_bytes(bytes) & i64::MAX).max(1)
}

/// Asks over one leg after the other, unpaid ones first, until one takes the question.
async fn ask(app: &App, prompt: LoginPrompt, network: Network) -> Result<(), StoreError> {
    let account = app.store.account_of_phone(prompt.phone).await?;
    let standing = match &account {
        Some(account) if account.closed_at.is_none() => Standing::Account,
        _ if app.settings.site.sign_up => Standing::SignUp,
        _ => Standing::Nobody,
    };
    let account_id = account.map(|account| account.key.id);
    for leg in app.routes.login_legs(account_id, prompt.phone).await {
        let policy = &app.login.policy;
        let asked_by = AskedBy {
            standing,
            phone: prompt.phone,
            network,
        };
        if !policy
            .may_use_on_any_node(&*app.store, leg.channel.is_paid(), asked_by, prompt.at)
            .await?
        {
            continue;
        }
        let asking = tokio::time::timeout(ASK_LIMIT, leg.channel.deliver_login(prompt.clone()));
        let asked = asking
            .await
            .unwrap_or_else(|_| Handover::Failed(Detail::new("it gave no answer in time")));
        match asked {
            Handover::Accepted(_) | Handover::Waiting => {
                // The holder's inbox may be open on another node.
                if *leg.channel.name() == LegName::INBOX {
                    app.site.login_was_asked(prompt.attempt);
                }
                return Ok(());
            }
            Handover::Later(_) => tracing::warn!(leg = %leg.channel.name(), "a leg has no time for a sign-in"),
            Handover::CannotReach(why) | Handover::Refused(why) | Handover::Failed(why) => {
                tracing::warn!(leg = %leg.channel.name(), %why, "a leg didn’t carry the question of a sign-in");
            }
        }
    }
    Ok(())
}

/// Notes what the phone's holder says, takes the question away, and lets the waiting page go on. `None`: no such attempt is
/// pending any more.
pub(crate) async fn answer(
    app: &App,
    attempt: i64,
    answer: LoginAnswer,
    now: Timestamp,
) -> Result<Option<LoginAttempt>, StoreError> {
    let answered = app.site.answer_login(attempt, answer, now).await?;
    if answered.is_some() {
        app.login.told();
    }
    take_back(app, attempt).await;
    if let Some(attempt) = &answered {
        tracing::info!(phone = ?attempt.phone, ?answer, "a sign-in was answered");
    }
    Ok(answered)
}

/// Compares a code that was typed on the waiting page.
pub(crate) async fn enter_code(
    app: &App,
    token: LoginToken,
    entered: &str,
    asker: &Asker,
    now: Timestamp,
) -> Result<LoginEntry, PageError> {
    count_guess(app, asker, now).await?;
    let attempt = app.site.login(&token, now).await?;
    let entry = app.site.enter_login_code(token, entered.to_owned(), now).await?;
    if let Some(attempt) = attempt
        && !matches!(entry, LoginEntry::Wrong { left: 1.. })
    {
        app.login.told();
        take_back(app, attempt.id).await;
    }
    Ok(entry)
}

/// Takes a question away from whichever leg of this node it stands on.
pub(crate) async fn take_back(app: &App, attempt: i64) {
    for (_, leg) in app.routes.legs() {
        // Who asked goes on already: a slow leg only keeps its question a while.
        let withdrawn = tokio::time::timeout(WITHDRAW_LIMIT, leg.channel.withdraw_login(attempt));
        if withdrawn.await.is_err() {
            tracing::warn!(leg = %leg.channel.name(), "the question of a sign-in could not be taken back in time");
        }
    }
}

impl Asker {
    /// What limits count it as.
    pub(crate) fn network(&self) -> Network {
        Network::of(self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: usize) -> LoginToken {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        LoginToken(bytes)
    }

    #[test]
    fn one_attempt_has_few_waiting_pages_and_all_of_them_have_a_bound() {
        let places = Places::default();
        for _ in 0..MAX_WAITING_OF_AN_ATTEMPT {
            assert!(places.take(&token(0)));
        }
        assert!(!places.take(&token(0)));
        assert!(places.take(&token(1)), "another attempt has places of its own");
        places.give_back(&token(0));
        assert!(places.take(&token(0)));
        let more = (2..2 * MAX_WAITING)
            .take_while(|&number| places.take(&token(number)))
            .count();
        assert_eq!(more, MAX_WAITING - MAX_WAITING_OF_AN_ATTEMPT - 1);
        for _ in 0..MAX_WAITING_OF_AN_ATTEMPT {
            places.give_back(&token(0));
        }
        assert!(!places.0.lock().unwrap().contains_key(&token(0).0));
    }
}
