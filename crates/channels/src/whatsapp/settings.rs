//! What the operator set for a `whatsapp` channel, read and judged once.

use std::time::Duration;

use reqwest::header::HeaderValue;
use ring::digest::{SHA256, digest};
use ring::hmac;
use url::Url;

use super::languages::Languages;
use crate::Texts;
use crate::config::{ChannelConfig, ConfigError, Secret};

/// Meta’s own address.
pub(super) const META: &str = "https://graph.facebook.com";
/// Meta keeps a version alive for about two years.
const API_VERSION: &str = "v25.0";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Meta's longest name of a template, in characters.
const MAX_TEMPLATE: usize = 512;
/// Shorter words could be guessed; whoever guesses it gains nothing but an echo.
const MIN_VERIFY_TOKEN: usize = 8;

/// The settings.
pub(super) struct Settings {
    /// Meta's number for our business number.
    pub(super) phone_number_id: String,
    /// Meta's number for the account that owns it (WABA).
    pub(super) business_account_id: Option<String>,
    pub(super) template: String,
    pub(super) languages: Languages,
    /// Without a slash at its end.
    pub(super) base_url: String,
    pub(super) api_version: String,
    pub(super) timeout: Duration,
    pub(super) paid: bool,
    /// Marked as sensitive: it prints as nothing.
    pub(super) authorization: HeaderValue,
    pub(super) access_token: Secret,
    /// Of the app secret, which signs webhooks.
    pub(super) signing_key: hmac::Key,
    /// SHA-256 of the word by which Meta makes sure of our address: compared so, its length doesn't show.
    pub(super) verify_token: [u8; 32],
}

impl Settings {
    pub(super) fn read(config: &mut ChannelConfig, texts: &Texts) -> Result<Self, ConfigError> {
        let phone_number_id = config.required_text("phone_number_id")?;
        let business_account_id = config.text("business_account_id")?;
        let access_token = config.required_secret("access_token")?;
        let app_secret = config.required_secret("app_secret")?;
        let verify_token = config.required_secret("verify_token")?;
        let template = config.required_text("template")?;
        let languages = config.list("languages")?.unwrap_or_else(|| Languages::of_texts(texts));
        let base_url = config.url("base_url")?.unwrap_or_else(|| META.to_owned());
        let api_version = config.text("api_version")?.unwrap_or_else(|| API_VERSION.to_owned());
        let timeout = config.seconds("timeout_s", 1..=60)?.unwrap_or(DEFAULT_TIMEOUT);
        let paid = config.flag("paid")?.unwrap_or(true);
        config.finish()?;

        let wrong = |key: &str, problem: &str| Err(ConfigError::of_key(config, key, problem));
        let is_id = |id: &str| (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit());
        if !is_id(&phone_number_id) {
            let problem = "expected the digits that Meta shows as Phone number ID (not the phone number itself)";
            return wrong("phone_number_id", problem);
        }
        if business_account_id.as_deref().is_some_and(|id| !is_id(id)) {
            let problem = "expected the digits that Meta shows as WhatsApp Business Account ID";
            return wrong("business_account_id", problem);
        }
        if !is_template(&template) {
            return wrong("template", "expected a template’s name: small letters, digits and _");
        }
        if !is_version(&api_version) {
            return wrong("api_version", "expected a version of the Graph API, such as \"v25.0\"");
        }
        let is_plain = Url::parse(&base_url)
            .is_ok_and(|url| url.username().is_empty() && url.password().is_none() && url.query().is_none());
        if !is_plain {
            return wrong("base_url", "expected an address without a user name and without a ?");
        }
        let languages =
            Languages::read(&languages).map_err(|problem| ConfigError::of_key(config, "languages", problem))?;
        if app_secret.reveal().trim().is_empty() {
            return wrong("app_secret", "it is empty: copy it from the app’s basic settings");
        }
        if verify_token.reveal().len() < MIN_VERIFY_TOKEN {
            return wrong(
                "verify_token",
                "it is too short: choose at least 8 characters that nobody guesses",
            );
        }
        let Some(authorization) = bearer(&access_token) else {
            return wrong(
                "access_token",
                "it is empty or holds what no token holds: copy it again",
            );
        };
        let mut verify_hash = [0; 32];
        verify_hash.copy_from_slice(digest(&SHA256, verify_token.reveal().as_bytes()).as_ref());
        Ok(Self {
            phone_number_id,
            business_account_id,
            template,
            languages,
            base_url,
            api_version,
            timeout,
            paid,
            authorization,
            access_token,
            signing_key: hmac::Key::new(hmac::HMAC_SHA256, app_secret.reveal().as_bytes()),
            verify_token: verify_hash,
        })
    }
}

fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
        .ok()
        .filter(|_| !token.reveal().trim().is_empty())?;
    value.set_sensitive(true);
    Some(value)
}

fn is_template(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=MAX_TEMPLATE).contains(&name.len()) && name.bytes().all(fits)
}

/// `v25.0`.
fn is_version(text: &str) -> bool {
    let number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = text.strip_prefix('v').and_then(|rest| rest.split_once('.'));
    parts.is_some_and(|(major, minor)| number(major) && number(minor))
}
