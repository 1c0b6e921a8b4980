//! What the operator set for one channel: a section `[channels.NAME]` of the configuration file, each key also as the
//! environment variable `COUNTERSIGN_CHANNELS_NAME_KEY`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use countersign_core::LegName;
use thiserror::Error;
use url::Url;

use crate::registry::KINDS;

/// A value as the file has it. In the environment everything is text, and a list is separated by commas.
#[derive(Clone, PartialEq, Eq)]
pub enum ConfigValue {
    /// A string.
    Text(String),
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Whole(i64),
    /// An array of strings.
    List(Vec<String>),
}

/// Shows no value: it may be a secret.
impl fmt::Debug for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "a text",
            Self::Flag(_) => "a flag",
            Self::Whole(_) => "a number",
            Self::List(_) => "a list",
        })
    }
}

/// What must not be seen: it prints as `…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one who needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Why a channel can't be made as it was set. A sentence for the operator; it never holds a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("channels.{channel}{key}: {problem}")]
pub struct ConfigError {
    channel: String,
    /// With its dot; empty where the channel as a whole is meant.
    key: String,
    problem: String,
}

impl ConfigError {
    /// Something is wrong with one key; `problem` goes on "channels.NAME.KEY: ".
    pub fn of_key(config: &ChannelConfig, key: &str, problem: impl Into<String>) -> Self {
        Self {
            channel: config.name.to_string(),
            key: format!(".{key}"),
            problem: problem.into(),
        }
    }

    pub(crate) fn unknown_kind(config: &ChannelConfig) -> Self {
        let kinds: Vec<_> = KINDS.iter().map(|kind| format!("{:?}", kind.name)).collect();
        let problem = format!("expected one of {}, found {:?}", kinds.join(", "), config.kind);
        Self::of_key(config, "kind", problem)
    }
}

/// What was set for one channel. A kind takes what it knows out of it, and [`ChannelConfig::finish`] refuses the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelConfig {
    /// Its name, as routes use it.
    pub name: LegName,
    /// Which kind it is.
    pub kind: String,
    /// What isn't taken yet, by key.
    pub values: BTreeMap<String, ConfigValue>,
}

impl ChannelConfig {
    /// A text, if it was set.
    pub fn text(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(ConfigValue::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "a text in quotes", &other)),
        }
    }

    /// A text that must be set.
    pub fn required_text(&mut self, key: &str) -> Result<String, ConfigError> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// A secret: `KEY`, or the trimmed contents of the file that `KEY_file` names.
    pub fn secret(&mut self, key: &str) -> Result<Option<Secret>, ConfigError> {
        let file_key = format!("{key}_file");
        let (direct, file) = (self.text(key)?, self.text(&file_key)?);
        match (direct, file) {
            (Some(_), Some(_)) => Err(ConfigError::of_key(
                self,
                key,
                format!("set either this or {file_key}, not both"),
            )),
            (Some(text), None) => Ok(Some(Secret::new(text))),
            (None, Some(file)) => match std::fs::read_to_string(&file) {
                Ok(text) => Ok(Some(Secret::new(text.trim().to_owned()))),
                // What has nothing of a path may be the secret itself, under the wrong key.
                Err(error) => Err(ConfigError::of_key(
                    self,
                    &file_key,
                    if file.contains(['/', '.']) {
                        format!("can’t read {file}: {error}")
                    } else {
                        format!("the file that {file_key} names can’t be read: {error}")
                    },
                )),
            },
            (None, None) => Ok(None),
        }
    }

    /// A secret that must be set.
    pub fn required_secret(&mut self, key: &str) -> Result<Secret, ConfigError> {
        self.secret(key)?.ok_or_else(|| {
            ConfigError::of_key(
                self,
                key,
                format!("missing: set it, or {key}_file, the file that holds it"),
            )
        })
    }

    /// `true` or `false`, if it was set.
    pub fn flag(&mut self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(ConfigValue::Flag(flag)) => Ok(Some(flag)),
            Some(ConfigValue::Text(text)) if text == "true" || text == "false" => Ok(Some(text == "true")),
            Some(other) => Err(self.wrong(key, "true or false", &other)),
        }
    }

    /// A whole number of a range, if it was set.
    pub fn whole(&mut self, key: &str, range: std::ops::RangeInclusive<i64>) -> Result<Option<i64>, ConfigError> {
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        let number = match self.values.remove(key) {
            None => return Ok(None),
            Some(ConfigValue::Whole(number)) => Some(number),
            Some(ConfigValue::Text(text)) => text.parse().ok(),
            Some(other) => return Err(self.wrong(key, &expected(), &other)),
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(ConfigError::of_key(self, key, format!("expected {}", expected()))),
        }
    }

    /// A length of time in whole seconds, if it was set.
    pub fn seconds(
        &mut self,
        key: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<Duration>, ConfigError> {
        let seconds = self.whole(key, range)?;
        Ok(seconds.map(|seconds| Duration::from_secs(seconds.unsigned_abs())))
    }

    /// Texts, if they were set.
    pub fn list(&mut self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(ConfigValue::List(items)) => Ok(Some(items)),
            Some(ConfigValue::Text(text)) => Ok(Some(text.split(',').map(|item| item.trim().to_owned()).collect())),
            Some(other) => Err(self.wrong(key, "an array of texts", &other)),
        }
    }

    /// An `http://` or `https://` address, if it was set; without a slash at its end.
    pub fn url(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                Ok(Some(text.trim_end_matches('/').to_owned()))
            }
            _ => Err(ConfigError::of_key(
                self,
                key,
                "expected an http:// or https:// address",
            )),
        }
    }

    /// The path of a file, if it was set.
    pub fn path(&mut self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.text(key)?.map(PathBuf::from))
    }

    /// Refuses what nobody took: a misspelt key would otherwise do nothing, silently.
    pub fn finish(&self) -> Result<(), ConfigError> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(key) => Err(ConfigError::of_key(
                self,
                key,
                format!("{:?} channels have no such setting", self.kind),
            )),
        }
    }

    fn missing(&self, key: &str) -> ConfigError {
        ConfigError::of_key(self, key, "missing")
    }

    fn wrong(&self, key: &str, expected: &str, found: &ConfigValue) -> ConfigError {
        ConfigError::of_key(self, key, format!("expected {expected}, found {found:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_under_the_key_of_its_file_is_not_shown() {
        let problem = |file: &str| {
            let mut config = ChannelConfig {
                name: LegName::parse("sms").unwrap(),
                kind: "smpp".to_owned(),
                values: BTreeMap::from([("password_file".to_owned(), ConfigValue::Text(file.to_owned()))]),
            };
            config.secret("password").unwrap_err().to_string()
        };
        let error = problem("hunter2-hunter2");
        assert!(
            error.starts_with("channels.sms.password_file: the file that"),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
        assert!(problem("/nowhere/at-all").contains("can’t read /nowhere/at-all: "));
    }
}
