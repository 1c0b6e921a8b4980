//! Twilio's Messages API (version 2010-04-01): sends, is asked what became of messages and what they cost, and calls back. Settings and
//! what goes out are here; `codes` knows its errors, `wire` reads its answers, `signature` its calls, `watch` what is under way,
//! `calls` takes callbacks, `questions` asks, `examine` is for `countersign doctor`.

mod calls;
mod codes;
mod examine;
mod questions;
mod signature;
mod watch;
mod wire;

use std::sync::Mutex;
use std::time::Duration;

use countersign_core::Detail;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};
use tokio::sync::Notify;
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::Serializer;

use super::{CONNECT_TIMEOUT, DEFAULT_TIMEOUT, INBOUND_PATH, Outcome, STATUS_PATH, Sending, lock};
use crate::config::{ChannelConfig, ConfigError, Secret};
use crate::http;
use crate::memory::Subject;
use crate::ports::{Handle, Ports};
use codes::Meaning;
use watch::{Stand, Watch};
use wire::{Failure, Told};

const BASE_URL: &str = "https://api.twilio.com";
const DEFAULT_POLL: Duration = Duration::from_secs(5);
/// Longest answer that is read: a message's resource is below 2 KiB, a number's below 4.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// A question about a message is given up after that time: it comes again, and others wait for it.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// What Twilio takes as `ValidityPeriod`, in seconds.
const VALIDITY_SECONDS: std::ops::RangeInclusive<u64> = 1..=36_000;
/// The pause that is made where Twilio names none.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that is believed.
const MAX_PAUSE: Duration = Duration::from_hours(1);
/// In the address for callbacks: whose message it is about. The address is signed, so it can be believed.
const MESSAGE: &str = "m";

pub(super) struct Twilio {
    http: Client,
    /// `…/2010-04-01/Accounts/AC…`: what is below it belongs to the account.
    account_url: String,
    user: String,
    password: Secret,
    /// Signs Twilio's calls; `None`: an API key alone was set, and calls can't be judged.
    auth_token: Option<Secret>,
    from: Option<String>,
    service: Option<String>,
    risk_check: Option<&'static str>,
    timeout: Duration,
    /// `…/channels/NAME` as Twilio reaches it.
    own_url: Option<String>,
    /// Whether Twilio is asked to call back.
    callbacks: bool,
    /// The first pause between two questions about one message.
    poll: Duration,
    watch: Mutex<Watch>,
    /// Wakes the one who asks: something may be due earlier.
    watch_changed: Notify,
}

impl Twilio {
    pub(super) fn read(config: &mut ChannelConfig, ports: &Ports) -> Result<Self, ConfigError> {
        let account_sid = config.required_text("account_sid")?;
        check_sid(config, "account_sid", &account_sid, "AC")?;
        let auth_token = config.secret("auth_token")?;
        let api_key = config.text("api_key")?;
        let api_key_secret = config.secret("api_key_secret")?;
        let (user, password) = match (api_key, api_key_secret, &auth_token) {
            (Some(key), Some(secret), _) => {
                check_sid(config, "api_key", &key, "SK")?;
                (key, secret)
            }
            (None, None, Some(token)) => (account_sid.clone(), token.clone()),
            (None, None, None) => {
                let problem = "missing: set it, or auth_token_file, or api_key with api_key_secret";
                return Err(ConfigError::of_key(config, "auth_token", problem));
            }
            (Some(_), None, _) => {
                let problem = "missing: api_key is set, and this belongs to it";
                return Err(ConfigError::of_key(config, "api_key_secret", problem));
            }
            (None, Some(_), _) => {
                let problem = "missing: api_key_secret is set, and this belongs to it";
                return Err(ConfigError::of_key(config, "api_key", problem));
            }
        };
        if password.reveal().is_empty() || auth_token.as_ref().is_some_and(|token| token.reveal().is_empty()) {
            return Err(ConfigError::of_key(config, "auth_token", "it is empty: copy it again"));
        }
        let from = read_from(config)?;
        let service = config.text("messaging_service_sid")?;
        if let Some(service) = &service {
            check_sid(config, "messaging_service_sid", service, "MG")?;
        }
        if from.is_none() && service.is_none() {
            let problem = "missing: set it, or messaging_service_sid";
            return Err(ConfigError::of_key(config, "from", problem));
        }
        let risk_check = match config.text("risk_check")?.as_deref() {
            None => None,
            Some("enable") => Some("enable"),
            Some("disable") => Some("disable"),
            Some(_) => {
                let problem = "expected \"enable\" or \"disable\"";
                return Err(ConfigError::of_key(config, "risk_check", problem));
            }
        };
        let base_url = read_base_url(config)?;
        let callbacks = config.flag("callbacks")?.unwrap_or(false);
        let poll = config.seconds("poll_s", 1..=60)?.unwrap_or(DEFAULT_POLL);
        let timeout = config.seconds("timeout_s", 1..=60)?.unwrap_or(DEFAULT_TIMEOUT);
        let prices = config.flag("prices")?.unwrap_or(true);
        let public_url = ports.public_url.as_ref();
        if callbacks && public_url.is_none() {
            let problem = "they need server.public_url, under which Twilio reaches this server";
            return Err(ConfigError::of_key(config, "callbacks", problem));
        }
        if callbacks && auth_token.is_none() {
            let problem = "they need auth_token as well: Twilio signs its calls with it, not with an API key";
            return Err(ConfigError::of_key(config, "callbacks", problem));
        }
        let http = http::client(&base_url, ports, CONNECT_TIMEOUT.min(timeout))
            .map_err(|problem| ConfigError::of_key(config, "base_url", problem))?;
        Ok(Self {
            http,
            account_url: format!("{base_url}/2010-04-01/Accounts/{account_sid}"),
            user,
            password,
            auth_token,
            from,
            service,
            risk_check,
            timeout,
            own_url: public_url.map(|url| format!("{url}/channels/{}", config.name)),
            callbacks,
            poll,
            watch: Mutex::new(Watch::new(prices)),
            watch_changed: Notify::new(),
        })
    }

    /// Sends a message: once, whatever comes of it.
    pub(super) async fn send(&self, sending: &Sending<'_>) -> Outcome {
        let request = self
            .http
            .post(format!("{}/Messages.json", self.account_url))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(self.form(sending));
        match self
            .call(request, self.timeout)
            .await
            .and_then(|body| Told::read(&body))
        {
            Ok(told) if told.stand == Stand::Failed => outcome_of(told.code, 400, None),
            Ok(told) => Outcome::Accepted(Some(told.handle)),
            Err(Failure::Refused {
                status,
                code,
                retry_after,
            }) => outcome_of(code, status, retry_after),
            Err(failure) => Outcome::Failed(Detail::new(&failure.to_string())),
        }
    }

    fn form(&self, sending: &Sending<'_>) -> String {
        let whole_seconds = sending.life.as_secs();
        let validity = whole_seconds.clamp(*VALIDITY_SECONDS.start(), *VALIDITY_SECONDS.end());
        let mut form = Serializer::new(String::new());
        form.append_pair("To", &sending.phone.to_string())
            .append_pair("Body", sending.text)
            .append_pair("ValidityPeriod", &validity.to_string());
        let optional = [
            ("From", self.from.clone()),
            ("MessagingServiceSid", self.service.clone()),
            ("RiskCheck", self.risk_check.map(str::to_owned)),
            ("StatusCallback", self.status_url(&sending.id)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                form.append_pair(name, &value);
            }
        }
        form.finish()
    }

    /// Keeps an eye on a message that was taken; `false` where there is no room.
    pub(super) fn watch(&self, handle: &Handle, subject: Subject, life: Duration) -> bool {
        let message = match subject {
            Subject::Message(key) => Some(key),
            Subject::Login(_) => None,
        };
        let poll = (!self.callbacks).then_some(self.poll);
        let is_kept = lock(&self.watch).add(handle, message, life, poll, Instant::now());
        self.watch_changed.notify_one();
        is_kept
    }

    fn status_url(&self, id: &str) -> Option<String> {
        let own_url = self.own_url.as_ref().filter(|_| self.callbacks)?;
        Some(format!("{own_url}/{STATUS_PATH}?{MESSAGE}={id}"))
    }

    fn inbound_url(&self) -> Option<String> {
        self.own_url.as_ref().map(|url| format!("{url}/{INBOUND_PATH}"))
    }

    /// The message as Twilio has it now.
    async fn fetch(&self, handle: &Handle) -> Result<Told, Failure> {
        let url = format!("{}/Messages/{}.json", self.account_url, handle.as_str());
        let timeout = self.timeout.min(QUESTION_TIMEOUT);
        let body = self.call(self.http.get(url), timeout).await?;
        Told::read(&body)
    }

    /// What is at a path of the account.
    async fn get(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.call(self.http.get(format!("{}{path}", self.account_url)), self.timeout)
            .await
    }

    /// The body of an answer that says yes.
    async fn call(&self, request: RequestBuilder, timeout: Duration) -> Result<Vec<u8>, Failure> {
        let request = request
            .timeout(timeout)
            .basic_auth(&self.user, Some(self.password.reveal()));
        let answer = request
            .send()
            .await
            .map_err(|error| Failure::NoAnswer(http::cause(error)))?;
        let status = answer.status();
        let retry_after = http::retry_after(&answer);
        let body = http::body(answer, MAX_ANSWER_BYTES).await.map_err(Failure::NoAnswer)?;
        if status.is_success() {
            return Ok(body);
        }
        Err(Failure::Refused {
            status: status.as_u16(),
            code: wire::error_code(&body),
            retry_after,
        })
    }
}

/// What a refusal means for the message.
fn outcome_of(code: Option<u64>, status: u16, retry_after: Option<Duration>) -> Outcome {
    let detail = Detail::new(&match code {
        Some(code) => codes::words(code),
        None => format!("Twilio answers with the HTTP status {status}"),
    });
    // Nobody promises that a send which ended so did nothing.
    if status >= 500 || status == 408 {
        return Outcome::Failed(detail);
    }
    let by_status = match status {
        401 | 403 | 404 => Meaning::Mend,
        429 => Meaning::Later,
        _ => Meaning::Refused,
    };
    match code.and_then(codes::meaning).unwrap_or(by_status) {
        Meaning::CannotReach => Outcome::CannotReach(detail),
        Meaning::Refused => Outcome::Refused(detail),
        Meaning::Mend => Outcome::Mend(detail),
        Meaning::Later => Outcome::Later(retry_after.unwrap_or(PAUSE).clamp(PAUSE, MAX_PAUSE), detail),
    }
}

/// A name that Twilio gave: two letters and 32 hexadecimal digits.
fn check_sid(config: &ChannelConfig, key: &str, sid: &str, begins: &str) -> Result<(), ConfigError> {
    let digits = sid.strip_prefix(begins).unwrap_or_default();
    if digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let problem = format!("expected {begins} and 32 hexadecimal digits, as the console shows it");
    Err(ConfigError::of_key(config, key, problem))
}

fn read_from(config: &mut ChannelConfig) -> Result<Option<String>, ConfigError> {
    let Some(from) = config.text("from")? else {
        return Ok(None);
    };
    let digits = from.strip_prefix('+').unwrap_or(&from);
    let is_number = (3..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = (1..=11).contains(&from.len())
        && from.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && from.bytes().any(|byte| byte.is_ascii_alphabetic());
    if is_number || is_name {
        return Ok(Some(from));
    }
    let problem = "expected a number like \"+15551234567\", a short code, or a name of at most 11 ASCII characters";
    Err(ConfigError::of_key(config, "from", problem))
}

fn read_base_url(config: &mut ChannelConfig) -> Result<String, ConfigError> {
    let base_url = config.url("base_url")?.unwrap_or_else(|| BASE_URL.to_owned());
    let is_plain = Url::parse(&base_url)
        .is_ok_and(|url| url.username().is_empty() && url.password().is_none() && url.query().is_none());
    if is_plain {
        return Ok(base_url);
    }
    let problem = "expected an address without a user name and without a ?";
    Err(ConfigError::of_key(config, "base_url", problem))
}
