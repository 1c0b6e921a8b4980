//! The code, the sender, the sign-in that the page of texts shows. All made up, with names that belong to nobody.

use countersign_channels::preview::Sample;
use countersign_channels::{LoginPrompt, OutgoingMessage};
use countersign_core::{AccountId, AccountKey, Autofill, Code, PhoneNumber, RequestId, SenderUsername, Timestamp};
use url::Url;

use crate::app::App;

const CODE: &str = "482913";
const SENDER: &str = "acme_shop";
/// As long as a name may be.
const LONG_SENDER: &str = "the_marvellous_acme_shop_company";
const DOMAIN: &str = "acme.example";
const ANDROID_HASH: &str = "FA+9qCX9VSu";
const PHONE: PhoneNumber = PhoneNumber::from_stored(391_234_567_890);
/// Monday, 23 November 2026, half past seven in the morning.
const AT: Timestamp = Timestamp::from_millis(1_795_419_000_000);
const LIFE_MS: i64 = 5 * 60_000;
/// Where this server has no public address.
const SITE: &str = "verify.example";

/// What is shown; `None` would be a constant above that isn't what it says, which the page's test rules out.
pub(super) fn sample(app: &App) -> Option<Sample> {
    let public_url = app.settings.server.public_url.as_deref();
    let own = public_url.and_then(|url| Url::parse(url).ok());
    let site = own.as_ref().and_then(Url::host_str).unwrap_or(SITE).to_owned();
    let account = AccountKey::of_new(AccountId::from_entropy(1));
    let expires_at = AT.plus_millis(LIFE_MS);
    Some(Sample {
        message: OutgoingMessage {
            account,
            request: RequestId::new(AT, 1),
            phone: PHONE,
            code: Code::parse(CODE)?,
            sender: Some(SenderUsername::parse(SENDER)?),
            locale: None,
            email: None,
            sent_at: AT,
            expires_at,
            clock_offset_ms: 0,
        },
        long_sender: SenderUsername::parse(LONG_SENDER)?,
        autofill: Autofill::parse(DOMAIN, ANDROID_HASH).ok()?.into(),
        login: LoginPrompt {
            attempt: 1,
            phone: PHONE,
            code: Code::parse(CODE)?,
            device: "Firefox on Linux".to_owned(),
            address: "203.0.113.9".to_owned(),
            at: AT,
            expires_at,
        },
        answer_url: format!("https://{site}/channels/email/answer/…"),
        site,
    })
}
