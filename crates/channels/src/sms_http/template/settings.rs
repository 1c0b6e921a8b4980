//! What an operator sets for a provider of their own, read once when the channel is made. docs/channel-sms-http.md explains each key.

use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use super::calls::{Calls, Field, Inbound, Proof, Status};
use super::pattern::{Name, Pattern, Place, hard_values};
use super::verdict::{Judge, Test};
use super::{Template, Values};
use crate::config::{ChannelConfig, ConfigError, Secret};
use crate::http;
use crate::ports::Ports;
use crate::sms_http::{CONNECT_TIMEOUT, DEFAULT_TIMEOUT, STATUS_PATH};

/// Headers, and tests of one kind, that can be set.
const MAX_ITEMS: usize = 64;
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

type Headers = Vec<(HeaderName, Pattern)>;
type Body = Option<(Pattern, &'static str)>;

impl Template {
    pub(in super::super) fn read(config: &mut ChannelConfig, ports: &Ports) -> Result<Self, ConfigError> {
        let (url, origin) = read_url(config)?;
        let method = match config.text("method")?.as_deref() {
            None | Some("POST") => Method::POST,
            Some("GET") => Method::GET,
            Some("PUT") => Method::PUT,
            Some(_) => {
                return Err(ConfigError::of_key(
                    config,
                    "method",
                    "expected \"POST\", \"GET\" or \"PUT\"",
                ));
            }
        };
        let headers = read_headers(config)?;
        let body = read_body(config)?;
        if method == Method::GET && body.is_some() {
            let problem = "a GET request has none: put the placeholders into url, or leave out method";
            return Err(ConfigError::of_key(config, "body", problem));
        }
        let user = match (config.text("user")?, config.secret("password")?) {
            (None, None) => None,
            (Some(user), Some(password)) => Some((user, password)),
            (Some(_), None) => return Err(ConfigError::of_key(config, "password", "missing: user is set")),
            (None, Some(_)) => return Err(ConfigError::of_key(config, "user", "missing: password is set")),
        };
        let secret = config.secret("secret")?;
        let from = config.text("from")?;
        let timeout = config.seconds("timeout_s", 1..=60)?.unwrap_or(DEFAULT_TIMEOUT);
        let calls = read_calls(config)?;
        let callback_url = ports
            .public_url
            .as_ref()
            .map(|url| format!("{url}/channels/{}/{STATUS_PATH}", config.name));

        let fills_in = |name| {
            url.uses(name)
                || headers.iter().any(|(_, value)| value.uses(name))
                || body.as_ref().is_some_and(|(body, _)| body.uses(name))
        };
        let problem = if !fills_in(Name::To) && !fills_in(Name::ToDigits) {
            Some((
                "body",
                "neither here nor in url is {to} or {to_digits}, the recipient’s number",
            ))
        } else if !fills_in(Name::Text) && !fills_in(Name::Code) {
            Some(("body", "neither here nor in url is {text} or {code}"))
        } else if fills_in(Name::From) && from.is_none() {
            Some(("from", "missing: {from} is used"))
        } else if fills_in(Name::Secret) && secret.is_none() {
            Some(("secret", "missing: {secret} is used. Set it, or secret_file"))
        } else if secret.is_some() && !fills_in(Name::Secret) {
            Some(("secret", "nothing uses it: put {secret} into headers, body or url"))
        } else if fills_in(Name::CallbackUrl) && callback_url.is_none() {
            Some(("url", "{callback_url} is used, and it needs server.public_url"))
        } else if fills_in(Name::CallbackUrl) && calls.as_ref().is_none_or(|calls| calls.status.is_none()) {
            Some((
                "status_id",
                "missing: {callback_url} is used, so say what its calls look like",
            ))
        } else {
            None
        };
        if let Some((key, problem)) = problem {
            return Err(ConfigError::of_key(config, key, problem));
        }
        let judge = read_judge(config, fills_in(Name::Id), calls.as_ref())?;
        let from = from.unwrap_or_default();
        check_headers(config, &headers, &from, secret.as_ref())?;
        let http = http::client(&origin, ports, CONNECT_TIMEOUT.min(timeout))
            .map_err(|problem| ConfigError::of_key(config, "url", problem))?;
        Ok(Self {
            http,
            method,
            url,
            headers,
            user,
            body,
            from,
            secret,
            timeout,
            judge,
            callback_url: callback_url.unwrap_or_default(),
            calls,
            origin,
        })
    }
}

/// The address and its scheme and host, which no placeholder may change.
fn read_url(config: &mut ChannelConfig) -> Result<(Pattern, String), ConfigError> {
    let text = config.required_text("url")?;
    let url = pattern(config, "url", &text, Place::Url)?;
    let problem = "expected an http:// or https:// address, with placeholders only behind its host";
    let wrong = || ConfigError::of_key(config, "url", problem);
    let parsed = Url::parse(&url.fill(&hard_values())).map_err(|_| wrong())?;
    let beginning = url.beginning();
    let after_scheme = beginning.split_once("://").map_or("", |(_, rest)| rest);
    let is_fixed = after_scheme.contains(['/', '?']) || beginning == text;
    if !is_fixed || !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() || !parsed.username().is_empty()
    {
        return Err(wrong());
    }
    Ok((url, parsed.origin().ascii_serialization()))
}

fn read_headers(config: &mut ChannelConfig) -> Result<Headers, ConfigError> {
    let items = config.list("headers")?.unwrap_or_default();
    check_length(config, "headers", &items)?;
    let mut headers = Vec::new();
    for item in &items {
        let Some((name, value)) = item.split_once(':') else {
            return Err(ConfigError::of_key(
                config,
                "headers",
                "expected \"Name: value\" in each",
            ));
        };
        let Ok(name) = HeaderName::from_bytes(name.trim().as_bytes()) else {
            return Err(ConfigError::of_key(config, "headers", "a name that no header can have"));
        };
        if matches!(
            name.as_str(),
            "host" | "content-length" | "transfer-encoding" | "content-type"
        ) {
            let problem = format!("{name} is set by this program: leave it out");
            return Err(ConfigError::of_key(config, "headers", problem));
        }
        let value = pattern(config, "headers", value.trim(), Place::Header)?;
        if value.uses(Name::Text) {
            let problem = "{text} can’t stand in a header, which holds one line of ASCII";
            return Err(ConfigError::of_key(config, "headers", problem));
        }
        headers.push((name, value));
    }
    Ok(headers)
}

/// Whether what never changes can stand in a header.
fn check_headers(
    config: &ChannelConfig,
    headers: &Headers,
    from: &str,
    secret: Option<&Secret>,
) -> Result<(), ConfigError> {
    let values = Values {
        from,
        secret: secret.map_or("", Secret::reveal),
        ..hard_values()
    };
    let all_fit = headers
        .iter()
        .all(|(_, value)| HeaderValue::from_str(&value.fill(&values)).is_ok());
    if all_fit {
        return Ok(());
    }
    let problem = "a value that no header can have: one line of ASCII is expected, in from and secret, too";
    Err(ConfigError::of_key(config, "headers", problem))
}

fn read_body(config: &mut ChannelConfig) -> Result<Body, ConfigError> {
    let (body, content_type) = (config.text("body")?, config.text("content_type")?);
    let Some(body) = body else {
        return match content_type {
            None => Ok(None),
            Some(_) => Err(ConfigError::of_key(config, "body", "missing: content_type is about it")),
        };
    };
    let (place, content_type) = match content_type.as_deref() {
        None if body.trim_start().starts_with(['{', '[']) => (Place::Json, JSON),
        None if body.trim_start().starts_with('<') => (Place::Xml, "text/xml; charset=utf-8"),
        None | Some(FORM) => (Place::Form, FORM),
        Some(JSON) => (Place::Json, JSON),
        Some("text/xml") => (Place::Xml, "text/xml; charset=utf-8"),
        Some("application/xml") => (Place::Xml, "application/xml"),
        Some("text/plain") => (Place::Plain, "text/plain; charset=utf-8"),
        Some(_) => {
            let problem = format!(
                "expected {JSON}, {FORM}, text/xml, application/xml or text/plain: how values are escaped depends on it"
            );
            return Err(ConfigError::of_key(config, "content_type", problem));
        }
    };
    let body = pattern(config, "body", &body, place)?;
    if place == Place::Json && serde_json::from_str::<Value>(&body.fill(&hard_values())).is_err() {
        let problem = "it is no JSON once its placeholders are filled in: put texts in quotes, and close every brace";
        return Err(ConfigError::of_key(config, "body", problem));
    }
    Ok(Some((body, content_type)))
}

fn read_judge(config: &mut ChannelConfig, uses_id: bool, calls: Option<&Calls>) -> Result<Judge, ConfigError> {
    let success = match read_tests(config, "success")? {
        tests if tests.is_empty() => vec![Test::Status(200..=299)],
        tests => tests,
    };
    let success_pointer = read_pointer(config, "success_pointer")?;
    let success_value = config.list("success_value")?;
    let success_value = match (success_pointer, success_value) {
        (None, None) => None,
        (Some(pointer), Some(values)) if !values.is_empty() => Some((pointer, values)),
        (Some(_), _) => {
            let problem = "missing: success_pointer is set, so say which values there mean success";
            return Err(ConfigError::of_key(config, "success_value", problem));
        }
        (None, Some(_)) => {
            let problem = "missing: success_value is set, so say where it stands";
            return Err(ConfigError::of_key(config, "success_pointer", problem));
        }
    };
    let id_pointer = read_pointer(config, "id_pointer")?;
    let has_status = calls.is_some_and(|calls| calls.status.is_some());
    if has_status && id_pointer.is_none() && !uses_id {
        let problem = "missing: status_id needs the provider’s name of the message, or our own, {id}, in the request";
        return Err(ConfigError::of_key(config, "id_pointer", problem));
    }
    Ok(Judge {
        success,
        success_value,
        own_id: uses_id,
        id_pointer,
        unreachable: read_tests(config, "unreachable")?,
        later: read_tests(config, "later")?,
        refused: read_tests(config, "refused")?,
    })
}

fn read_tests(config: &mut ChannelConfig, key: &str) -> Result<Vec<Test>, ConfigError> {
    let items = config.list(key)?.unwrap_or_default();
    check_length(config, key, &items)?;
    let tests: Option<Vec<_>> = items.iter().map(|item| Test::parse(item)).collect();
    tests.ok_or_else(|| {
        let problem = "expected HTTP statuses (\"404\", \"500-599\") or values of the JSON answer (\"/error/code=17\")";
        ConfigError::of_key(config, key, problem)
    })
}

fn check_length(config: &ChannelConfig, key: &str, items: &[String]) -> Result<(), ConfigError> {
    if items.len() <= MAX_ITEMS {
        return Ok(());
    }
    Err(ConfigError::of_key(
        config,
        key,
        format!("expected at most {MAX_ITEMS} entries"),
    ))
}

fn read_pointer(config: &mut ChannelConfig, key: &str) -> Result<Option<String>, ConfigError> {
    let pointer = config.text(key)?;
    if pointer.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
        let problem = "expected a JSON pointer, like \"/messages/0/id\"";
        return Err(ConfigError::of_key(config, key, problem));
    }
    Ok(pointer)
}

fn read_calls(config: &mut ChannelConfig) -> Result<Option<Calls>, ConfigError> {
    let secret = config.secret("callback_secret")?;
    let secret_header = config.text("callback_secret_header")?;
    let signature_header = config.text("callback_signature_header")?;
    let status = read_status(config)?;
    let inbound_id = config.text("inbound_id")?;
    let inbound = match (config.text("inbound_from")?, config.text("inbound_text")?) {
        (None, None) if inbound_id.is_some() => {
            let problem = "missing: inbound_id is set";
            return Err(ConfigError::of_key(config, "inbound_from", problem));
        }
        (None, None) => None,
        (Some(from), Some(text)) => Some(Inbound {
            from: Field::new(from),
            text: Field::new(text),
            id: inbound_id.map(Field::new),
        }),
        (Some(_), None) => {
            return Err(ConfigError::of_key(
                config,
                "inbound_text",
                "missing: inbound_from is set",
            ));
        }
        (None, Some(_)) => {
            return Err(ConfigError::of_key(
                config,
                "inbound_from",
                "missing: inbound_text is set",
            ));
        }
    };
    let proof = match (secret_header, signature_header) {
        (None, None) => None,
        (Some(header), None) => Some(Proof::Secret(header.trim().to_ascii_lowercase())),
        (None, Some(header)) => Some(Proof::Signature(header.trim().to_ascii_lowercase())),
        (Some(_), Some(_)) => {
            let problem = "set either this or callback_secret_header, not both";
            return Err(ConfigError::of_key(config, "callback_signature_header", problem));
        }
    };
    let is_called = status.is_some() || inbound.is_some();
    match (secret, proof) {
        (None, None) if !is_called => Ok(None),
        (None, _) => {
            let problem = "missing: without it nobody could tell the provider’s calls from others’";
            Err(ConfigError::of_key(config, "callback_secret", problem))
        }
        (Some(_), None) => {
            let problem = "missing: set it, or callback_signature_header, to where a call proves who makes it";
            Err(ConfigError::of_key(config, "callback_secret_header", problem))
        }
        (Some(_), Some(_)) if !is_called => {
            let problem = "missing: say what calls look like, or leave callback_secret out";
            Err(ConfigError::of_key(config, "status_id", problem))
        }
        (Some(secret), _) if secret.reveal().len() < 8 => {
            let problem = "expected at least 8 characters";
            Err(ConfigError::of_key(config, "callback_secret", problem))
        }
        (Some(secret), Some(proof)) => Ok(Some(Calls {
            secret,
            proof,
            status,
            inbound,
        })),
    }
}

fn read_status(config: &mut ChannelConfig) -> Result<Option<Status>, ConfigError> {
    let (id, value) = (config.text("status_id")?, config.text("status_value")?);
    let mut words = |key| Ok::<_, ConfigError>(config.list(key)?.unwrap_or_default());
    let (delivered, read, failed) = (
        words("status_delivered")?,
        words("status_read")?,
        words("status_failed")?,
    );
    let is_set = !(delivered.is_empty() && read.is_empty() && failed.is_empty());
    match (id, value) {
        (None, None) if !is_set => Ok(None),
        (None, _) => Err(ConfigError::of_key(
            config,
            "status_id",
            "missing: it says which message is meant",
        )),
        (Some(_), None) => Err(ConfigError::of_key(
            config,
            "status_value",
            "missing: it says what became of it",
        )),
        (Some(_), Some(_)) if delivered.is_empty() => {
            let problem = "missing: say by which values the provider reports an arrival";
            Err(ConfigError::of_key(config, "status_delivered", problem))
        }
        (Some(id), Some(value)) => Ok(Some(Status {
            id: Field::new(id),
            value: Field::new(value),
            delivered,
            read,
            failed,
        })),
    }
}

fn pattern(config: &ChannelConfig, key: &str, text: &str, place: Place) -> Result<Pattern, ConfigError> {
    Pattern::parse(text, place).map_err(|problem| ConfigError::of_key(config, key, problem))
}
