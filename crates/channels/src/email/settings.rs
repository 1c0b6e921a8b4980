//! What the operator set for an `email` channel; docs/channel-email.md is the list.

use std::net::IpAddr;
use std::time::Duration;

use lettre::address::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::extension::ClientId;

use crate::config::{ChannelConfig, ConfigError, Secret};
use crate::http;

const DEFAULT_POOL: usize = 4;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);
/// The shortest secret of the pipe that is taken, in bytes.
const MIN_SECRET_BYTES: usize = 16;

/// How connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// In the clear until the server agreed to TLS; without TLS nothing goes.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// In the clear.
    None,
}

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) credentials: Option<(String, Secret)>,
    pub(super) from: Mailbox,
    pub(super) reply_to: Option<Mailbox>,
    pub(super) envelope_from: Address,
    pub(super) hello: ClientId,
    pub(super) pool: usize,
    /// For opening a connection, for what comes before a message's content, and for the answer to it: each.
    pub(super) timeout: Duration,
    /// For so long messages wait for a server that can't be reached.
    pub(super) patience: Duration,
    pub(super) delivery_reports: bool,
    pub(super) dsn_secret: Option<Secret>,
}

impl Settings {
    /// `public_host` is this server's own name, where it is known.
    pub(super) fn read(config: &mut ChannelConfig, public_host: Option<&str>) -> Result<Self, ConfigError> {
        let host = read_host(config)?;
        let security = read_security(config)?;
        let port = config
            .whole("port", 1..=65_535)?
            .and_then(|port| u16::try_from(port).ok());
        let port = port.unwrap_or(match security {
            Security::StartTls => 587,
            Security::Tls => 465,
            Security::None => 25,
        });
        let credentials = read_credentials(config)?;
        if security == Security::None && credentials.is_some() && !http::is_this_machine(&host) {
            let problem = "a password doesn’t travel in the clear to another machine: use \"starttls\" or \"tls\"";
            return Err(ConfigError::of_key(config, "security", problem));
        }
        let Some(from) = mailbox(config, "from")? else {
            let problem = "missing: whom messages come from, like \"Acme <codes@example.com>\"";
            return Err(ConfigError::of_key(config, "from", problem));
        };
        let reply_to = mailbox(config, "reply_to")?;
        let envelope_from = mailbox(config, "envelope_from")?.map_or_else(|| from.email.clone(), |own| own.email);
        let is_ascii = |address: &Address| (address.as_ref() as &str).is_ascii();
        for (key, address) in [("from", &from.email), ("envelope_from", &envelope_from)] {
            if !is_ascii(address) {
                let problem = "expected an address in ASCII: not every server takes others";
                return Err(ConfigError::of_key(config, key, problem));
            }
        }
        let hello = read_hello(config, public_host)?;
        let pool = config
            .whole("pool", 1..=64)?
            .and_then(|pool| usize::try_from(pool).ok());
        let timeout = config.seconds("timeout_s", 1..=25)?.unwrap_or(DEFAULT_TIMEOUT);
        let patience = config.seconds("patience_s", 0..=300)?.unwrap_or(DEFAULT_PATIENCE);
        let dsn_secret = config.secret("dsn_secret")?;
        if dsn_secret
            .as_ref()
            .is_some_and(|secret| secret.reveal().len() < MIN_SECRET_BYTES)
        {
            let problem =
                format!("expected at least {MIN_SECRET_BYTES} characters: openssl rand -base64 24 makes some");
            return Err(ConfigError::of_key(config, "dsn_secret", problem));
        }
        let delivery_reports = config.flag("delivery_reports")?.unwrap_or(dsn_secret.is_some());
        if delivery_reports && dsn_secret.is_none() {
            let problem = "they need dsn_secret, with which your mail server brings them here";
            return Err(ConfigError::of_key(config, "delivery_reports", problem));
        }
        config.finish()?;
        Ok(Self {
            host,
            port,
            security,
            credentials,
            from,
            reply_to,
            envelope_from,
            hello,
            pool: pool.unwrap_or(DEFAULT_POOL),
            timeout,
            patience,
            delivery_reports,
            dsn_secret,
        })
    }

    /// As people write it.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether the server is on this machine.
    pub(super) fn is_local(&self) -> bool {
        http::is_this_machine(&self.host)
    }
}

fn read_host(config: &mut ChannelConfig) -> Result<String, ConfigError> {
    let host = config.required_text("host")?;
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
    let is_name = !host.is_empty() && host.len() <= 253 && host.chars().all(fits);
    if is_name || host.parse::<IpAddr>().is_ok() {
        return Ok(host);
    }
    let problem = "expected a host name or an IP address, without a port: that has a key of its own";
    Err(ConfigError::of_key(config, "host", problem))
}

fn read_security(config: &mut ChannelConfig) -> Result<Security, ConfigError> {
    match config.text("security")?.as_deref() {
        None | Some("starttls") => Ok(Security::StartTls),
        Some("tls") => Ok(Security::Tls),
        Some("none") => Ok(Security::None),
        Some(_) => {
            let problem = "expected \"starttls\", \"tls\" or \"none\"";
            Err(ConfigError::of_key(config, "security", problem))
        }
    }
}

fn read_credentials(config: &mut ChannelConfig) -> Result<Option<(String, Secret)>, ConfigError> {
    match (config.text("user")?, config.secret("password")?) {
        (Some(user), Some(password)) => Ok(Some((user, password))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::of_key(
            config,
            "password",
            "missing: set it, or password_file, or no user",
        )),
        (None, Some(_)) => Err(ConfigError::of_key(config, "user", "missing: whose password is it?")),
    }
}

fn read_hello(config: &mut ChannelConfig, public_host: Option<&str>) -> Result<ClientId, ConfigError> {
    let set = config.text("hello_name")?;
    let name = set.as_deref().or(public_host).unwrap_or("127.0.0.1");
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(match address {
            IpAddr::V4(address) => ClientId::Ipv4(address),
            IpAddr::V6(address) => ClientId::Ipv6(address),
        });
    }
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-');
    if name.is_empty() || name.len() > 253 || !name.chars().all(fits) {
        let problem = "expected the host name by which this server introduces itself";
        return Err(ConfigError::of_key(config, "hello_name", problem));
    }
    Ok(ClientId::Domain(name.to_owned()))
}

fn mailbox(config: &mut ChannelConfig, key: &str) -> Result<Option<Mailbox>, ConfigError> {
    let Some(text) = config.text(key)? else { return Ok(None) };
    let parsed = Some(&text).filter(|text| text.len() <= 400 && !text.chars().any(char::is_control));
    let mailbox = parsed.and_then(|text| text.parse().ok());
    let problem = "expected an address, like \"Acme <codes@example.com>\" or \"codes@example.com\"";
    mailbox
        .map(Some)
        .ok_or_else(|| ConfigError::of_key(config, key, problem))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use countersign_core::LegName;

    use super::*;
    use crate::config::ConfigValue;

    fn read(extra: &[(&str, &str)]) -> Result<Settings, String> {
        let base = [("host", "mail.example"), ("from", "Acme <codes@example.com>")];
        let mut values = BTreeMap::new();
        for (key, value) in base.iter().chain(extra) {
            values.insert((*key).to_owned(), ConfigValue::Text((*value).to_owned()));
        }
        let mut config = ChannelConfig {
            name: LegName::parse("mail").unwrap(),
            kind: "email".to_owned(),
            values,
        };
        Settings::read(&mut config, Some("verify.example")).map_err(|error| error.to_string())
    }

    #[test]
    fn two_lines_are_enough_and_mean_starttls() {
        let settings = read(&[]).unwrap();
        assert_eq!((settings.security, settings.port), (Security::StartTls, 587));
        assert_eq!(settings.hello, ClientId::Domain("verify.example".to_owned()));
        assert_eq!(settings.envelope_from.to_string(), "codes@example.com");
        assert!(!settings.delivery_reports);
        assert_eq!(read(&[("security", "tls")]).unwrap().port, 465);
        assert!(read(&[("dsn_secret", "sixteen-and-more")]).unwrap().delivery_reports);
    }

    #[test]
    fn what_can_not_be_is_refused_with_the_keys_name() {
        for (key, value) in [
            ("host", "smtp://mail.example:587"),
            ("port", "70000"),
            ("security", "ssl"),
            ("user", "acme"),
            ("password", "hunter2"),
            ("from", "nobody"),
            ("from", "Acme\r\nBcc: x@example.com <codes@example.com>"),
            ("from", "dörte@example.com"),
            ("reply_to", "a@b@c"),
            ("envelope_from", "@"),
            ("hello_name", "a b"),
            ("pool", "0"),
            ("timeout_s", "60"),
            ("dsn_secret", "short"),
            ("delivery_reports", "true"),
            ("colour", "red"),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(error.starts_with("channels.mail."), "{key}: {error}");
            assert!(!error.contains("hunter2") && !error.contains("short"), "{error}");
        }
    }

    #[test]
    fn a_password_does_not_travel_in_the_clear_to_another_machine() {
        let clear = [("security", "none"), ("user", "acme"), ("password", "hunter2")];
        assert!(read(&clear).unwrap_err().contains("in the clear"));
        assert!(read(&[("security", "none"), ("host", "127.0.0.1")]).is_ok());
        let debug = format!("{:?}", read(&[("user", "acme"), ("password", "hunter2")]).unwrap());
        assert!(!debug.contains("hunter2"), "{debug}");
    }
}
