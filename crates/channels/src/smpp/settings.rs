//! What an operator sets for an SMPP channel, read once when the channel is made. docs/channel-smpp.md explains each key.

use std::time::Duration;

use rusmpp_core::types::owned::COctetString;
use rusmpp_core::values::{InterfaceVersion, Npi, Ton};

use super::address::Source;
use crate::config::{ChannelConfig, ConfigError, Secret};

/// Longest text that can be set: three short messages.
const MAX_TEXT_CHARS: usize = 400;
const CODE: &str = "{code}";
const SITE: &str = "{site}";

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) system_id: COctetString<1, 16>,
    pub(super) password: Secret,
    pub(super) system_type: COctetString<1, 13>,
    pub(super) version: InterfaceVersion,
    /// Over TLS, and the name that the certificate must bear.
    pub(super) tls: Option<String>,
    /// What every message has as its source; `None`: the sender's name.
    pub(super) source: Option<Source>,
    pub(super) dest_ton: Ton,
    pub(super) dest_npi: Npi,
    /// Submits under way at once.
    pub(super) window: u32,
    pub(super) messages_per_second: Option<u32>,
    pub(super) enquire_link: Duration,
    pub(super) response_timeout: Duration,
    /// For so long messages wait for a lost connection before the next leg goes.
    pub(super) patience: Duration,
    pub(super) paid: bool,
    /// Whether numbers count as reachable that the numbering plan calls fixed lines.
    pub(super) fixed_lines: bool,
    text: Option<String>,
    login_text: Option<String>,
}

impl Settings {
    pub(super) fn read(config: &mut ChannelConfig) -> Result<Self, ConfigError> {
        let settings = Self::take(config)?;
        config.finish()?;
        Ok(settings)
    }

    fn take(config: &mut ChannelConfig) -> Result<Self, ConfigError> {
        let host = config.required_text("host")?;
        if host.trim().is_empty() || host.contains(['/', ' ']) {
            let problem = "expected a host name or an IP address, without a scheme and a port";
            return Err(ConfigError::of_key(config, "host", problem));
        }
        let tls = config.flag("tls")?.unwrap_or(false);
        let tls_name = config.text("tls_name")?;
        if tls_name.is_some() && !tls {
            let problem = "it is about TLS, which is off: set tls = true as well, or leave this out";
            return Err(ConfigError::of_key(config, "tls_name", problem));
        }
        let default_port = if tls { 3550 } else { 2775 };
        let port = config.whole("port", 1..=65_535)?.unwrap_or(default_port);
        let system_id = config.required_text("system_id")?;
        let system_id = octets(config, "system_id", system_id, 15)?;
        let password = config.required_secret("password")?;
        // What is wrong is said without the password; the longest that SMPP can carry is 8.
        octets::<9>(config, "password", password.reveal().to_owned(), 8)?;
        let system_type = config.text("system_type")?.unwrap_or_default();
        let system_type = octets(config, "system_type", system_type, 12)?;
        let version = match config.text("version")?.as_deref() {
            None | Some("3.4") => InterfaceVersion::Smpp3_4,
            Some("5.0") => InterfaceVersion::Smpp5_0,
            Some(_) => return Err(ConfigError::of_key(config, "version", "expected \"3.4\" or \"5.0\"")),
        };
        let source = read_source(config)?;
        Ok(Self {
            tls: tls.then(|| tls_name.unwrap_or_else(|| host.clone())),
            host,
            port: u16::try_from(port).unwrap_or(2775),
            system_id,
            password,
            system_type,
            version,
            source,
            dest_ton: octet(config, "dest_ton")?.map_or(Ton::International, Ton::from),
            dest_npi: octet(config, "dest_npi")?.map_or(Npi::Isdn, Npi::from),
            window: number(config, "window", 1..=1_000)?.unwrap_or(10),
            messages_per_second: number(config, "messages_per_second", 1..=10_000)?,
            enquire_link: config
                .seconds("enquire_link_s", 1..=3_600)?
                .unwrap_or(Duration::from_secs(30)),
            response_timeout: config
                .seconds("response_timeout_s", 1..=60)?
                .unwrap_or(Duration::from_secs(10)),
            patience: config
                .seconds("patience_s", 0..=300)?
                .unwrap_or(Duration::from_secs(30)),
            paid: config.flag("paid")?.unwrap_or(true),
            fixed_lines: config.flag("fixed_lines")?.unwrap_or(false),
            text: read_text(config, "text")?,
            login_text: read_text(config, "login_text")?,
        })
    }

    /// What the operator wants recipients to read, where they set it.
    pub(super) fn message_text(&self, code: &str) -> Option<String> {
        self.text.as_ref().map(|text| text.replace(CODE, code))
    }

    /// The same for who signs in. `site`: where, as they know it.
    pub(super) fn login_text(&self, code: &str, site: &str) -> Option<String> {
        let text = self.login_text.as_ref()?;
        Some(text.replace(SITE, site).replace(CODE, code))
    }
}

fn read_source(config: &mut ChannelConfig) -> Result<Option<Source>, ConfigError> {
    let text = config.text("source")?;
    let (ton, npi) = (octet(config, "source_ton")?, octet(config, "source_npi")?);
    let Some(text) = text else {
        return match ton.or(npi) {
            None => Ok(None),
            Some(_) => Err(ConfigError::of_key(
                config,
                "source",
                "missing: source_ton and source_npi are about it",
            )),
        };
    };
    let Some(mut source) = Source::parse(&text) else {
        let problem = "expected a number, a short code, or a name of at most 11 ASCII characters";
        return Err(ConfigError::of_key(config, "source", problem));
    };
    source.ton = ton.map_or(source.ton, Ton::from);
    source.npi = npi.map_or(source.npi, Npi::from);
    Ok(Some(source))
}

fn read_text(config: &mut ChannelConfig, key: &str) -> Result<Option<String>, ConfigError> {
    let Some(text) = config.text(key)? else { return Ok(None) };
    if !text.contains(CODE) || text.chars().count() > MAX_TEXT_CHARS {
        let problem = format!("expected at most {MAX_TEXT_CHARS} characters with {CODE} where the code goes");
        return Err(ConfigError::of_key(config, key, problem));
    }
    Ok(Some(text))
}

fn octets<const MAX: usize>(
    config: &ChannelConfig,
    key: &str,
    text: String,
    longest: usize,
) -> Result<COctetString<1, MAX>, ConfigError> {
    COctetString::from_string(text).map_err(|_| {
        let problem = format!("expected at most {longest} ASCII characters: SMPP carries no more");
        ConfigError::of_key(config, key, problem)
    })
}

fn octet(config: &mut ChannelConfig, key: &str) -> Result<Option<u8>, ConfigError> {
    Ok(config.whole(key, 0..=255)?.and_then(|number| u8::try_from(number).ok()))
}

fn number(
    config: &mut ChannelConfig,
    key: &str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<Option<u32>, ConfigError> {
    Ok(config.whole(key, range)?.and_then(|number| u32::try_from(number).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigValue;
    use countersign_core::LegName;

    fn read(extra: &[(&str, &str)]) -> Result<Settings, String> {
        let base = [("host", "smsc.example"), ("system_id", "shop"), ("password", "hunter2")];
        let values = base.iter().chain(extra).map(|(key, value)| {
            let value = ConfigValue::Text((*value).to_owned());
            ((*key).to_owned(), value)
        });
        let mut config = ChannelConfig {
            name: LegName::parse("sms").unwrap(),
            kind: "smpp".to_owned(),
            values: values
                .filter(|(_, value)| *value != ConfigValue::Text("-".to_owned()))
                .collect(),
        };
        Settings::read(&mut config).map_err(|error| error.to_string())
    }

    #[test]
    fn three_lines_are_enough() {
        let settings = read(&[]).unwrap();
        assert_eq!((settings.port, settings.window), (2775, 10));
        assert_eq!(settings.tls, None);
        assert!(settings.paid);
        assert_eq!(read(&[("tls", "true")]).unwrap().tls.as_deref(), Some("smsc.example"));
        assert_eq!(read(&[("tls", "true")]).unwrap().port, 3550);
    }

    #[test]
    fn what_can_not_be_is_refused_with_the_key_s_name() {
        let refused = [
            ("host", "smpp://smsc.example:2775"),
            ("port", "70000"),
            ("system_id", "a-system-id-too-long"),
            ("version", "3.3"),
            ("source", "a name too long"),
            ("source_ton", "5"),
            ("tls_name", "smsc.example"),
            ("window", "0"),
            ("text", "a text without its code"),
            ("login_text", "no code"),
            ("colour", "red"),
        ];
        for (key, value) in refused {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(error.starts_with("channels.sms.") && error.contains(": "), "{error}");
        }
    }

    #[test]
    fn no_error_and_no_debug_output_shows_the_password() {
        let error = read(&[("password", "far-too-long-a-secret")]).unwrap_err();
        assert!(error.contains("at most 8") && !error.contains("secret"), "{error}");
        let debug = format!("{:?}", read(&[]).unwrap());
        assert!(!debug.contains("hunter2"), "{debug}");
    }

    #[test]
    fn an_operator_may_set_the_texts() {
        let settings = read(&[("text", "Ваш код: {code}")]).unwrap();
        assert_eq!(settings.message_text("12345").as_deref(), Some("Ваш код: 12345"));
        let settings = read(&[("login_text", "{site}: {code}")]).unwrap();
        let login = settings.login_text("12345", "verify.example");
        assert_eq!(login.as_deref(), Some("verify.example: 12345"));
        assert_eq!(
            settings.message_text("12345"),
            None,
            "the usual one in the recipient’s language"
        );
    }
}
