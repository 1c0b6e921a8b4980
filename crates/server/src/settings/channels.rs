//! What the file and the environment say of channels and routes: sections `[channels.NAME]` and `[routes.NAME]`. What a channel
//! takes is its kind's affair (the `channels` crate reads it); what all of them share is read here.

use std::collections::BTreeMap;

use countersign_channels::{ChannelConfig, ConfigValue};
use countersign_core::{AccountId, Credits, LegName, MAX_LEGS, NumberPrefix, RouteName};
use toml::{Table, Value};

use super::SettingsError;
use super::load::{Environment, PREFIX};

/// Most channels, and most routes.
const MOST: usize = 64;
/// Most prefixes or accounts of a route, and most prefixes that a leg skips.
const MOST_OF_A_ROUTE: usize = 1_000;

/// A channel as it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSettings {
    /// What its kind reads.
    pub config: ChannelConfig,
    /// What one message costs the operator there, in the operator's own unit of money; `None` where nobody said.
    pub cost: Option<Credits>,
}

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageKind {
    /// A code for a verification request.
    Code,
    /// The question whether it is they who sign in to the pages.
    Login,
}

impl MessageKind {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "code" => Some(Self::Code),
            "login" => Some(Self::Login),
            _ => None,
        }
    }

    /// As settings write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Login => "login",
        }
    }
}

/// A route as it was set: for which messages, and over which legs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// Its name: prices and statistics go by it.
    pub name: RouteName,
    /// Its legs, in their order.
    pub legs: Vec<LegSettings>,
    /// Whose messages; empty: everybody's.
    pub accounts: Vec<AccountId>,
    /// To which numbers; empty: to all.
    pub prefixes: Vec<NumberPrefix>,
    /// Which messages; empty: all.
    pub kinds: Vec<MessageKind>,
}

/// A leg of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegSettings {
    /// The channel.
    pub channel: LegName,
    /// How long it may take before the next one goes, in thousandths of the message's life.
    pub share: u16,
    /// Numbers for which it is passed over, before it is asked anything.
    pub skip: Vec<NumberPrefix>,
}

/// Whether a name of the file's top is read here.
pub(super) fn reads(section: &str) -> bool {
    matches!(section, "channels" | "routes")
}

/// Reads the sections, and the environment's variables for them.
pub(super) fn read(
    table: &Table,
    environment: &Environment,
) -> Result<(Vec<ChannelSettings>, Vec<RouteSettings>), SettingsError> {
    let channels = read_channels(table, environment)?;
    let routes = read_routes(table)?;
    check(&channels, &routes)?;
    Ok((channels, routes))
}

fn refuse<T>(sentence: String) -> Result<T, SettingsError> {
    Err(SettingsError::Refused(sentence))
}

fn sections<'t>(table: &'t Table, name: &str) -> Result<Vec<(&'t String, &'t Table)>, SettingsError> {
    let Some(value) = table.get(name) else {
        return Ok(Vec::new());
    };
    let Some(sections) = value.as_table() else {
        return refuse(format!("{name}: expected sections like [{name}.NAME]"));
    };
    if sections.len() > MOST {
        return refuse(format!(
            "{name}: there may be {MOST} of them, and here are {}",
            sections.len()
        ));
    }
    let one = |(key, value): (&'t String, &'t Value)| match value.as_table() {
        Some(section) => Ok((key, section)),
        None => refuse(format!("{name}.{key}: expected a section [{name}.{key}]")),
    };
    sections.iter().map(one).collect()
}

fn read_channels(table: &Table, environment: &Environment) -> Result<Vec<ChannelSettings>, SettingsError> {
    let mut found: BTreeMap<String, BTreeMap<String, ConfigValue>> = BTreeMap::new();
    for (name, section) in sections(table, "channels")? {
        let mut values = BTreeMap::new();
        for (key, value) in section {
            let Some(value) = config_value(value) else {
                return refuse(format!(
                    "channels.{name}.{key}: expected a text, true or false, a whole number, or an array of texts"
                ));
            };
            values.insert(key.clone(), value);
        }
        found.insert(name.clone(), values);
    }
    read_environment(&mut found, environment)?;
    found.into_iter().map(|(name, values)| channel(&name, values)).collect()
}

/// `COUNTERSIGN_CHANNELS_SMS_PASSWORD` is `channels.sms.password`, where there is such a channel. One that stands in the
/// environment alone needs its `_KIND`.
fn read_environment(
    found: &mut BTreeMap<String, BTreeMap<String, ConfigValue>>,
    environment: &Environment,
) -> Result<(), SettingsError> {
    let prefix = format!("{PREFIX}CHANNELS_");
    for (variable, _) in environment.beginning_with(&prefix) {
        if let Some(name) = variable
            .strip_prefix(&prefix)
            .and_then(|rest| rest.strip_suffix("_KIND"))
        {
            let known = found.keys().any(|known| in_variables(known) == name);
            if !known {
                found.insert(name.to_lowercase(), BTreeMap::new());
            }
        }
    }
    for (variable, text) in environment.beginning_with(&prefix) {
        let rest = variable.strip_prefix(&prefix).unwrap_or_default();
        let fits = |name: &&String| {
            rest.strip_prefix(&in_variables(name))
                .is_some_and(|key| key.starts_with('_'))
        };
        // The longest name that fits: one channel's name may begin with another's.
        let name = found.keys().filter(fits).max_by_key(|name| name.len()).cloned();
        let Some(name) = name else {
            return refuse(format!("environment variable {variable}: there is no such channel"));
        };
        let written = in_variables(&name);
        if found.keys().filter(|other| in_variables(other) == written).count() > 1 {
            return refuse(format!(
                "environment variable {variable}: more than one channel’s name is written {written}"
            ));
        }
        let key = rest[written.len() + 1..].to_lowercase();
        let values = found.entry(name).or_default();
        values.insert(key, ConfigValue::Text(text.to_owned()));
    }
    Ok(())
}

fn in_variables(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

fn config_value(value: &Value) -> Option<ConfigValue> {
    Some(match value {
        Value::String(text) => ConfigValue::Text(text.clone()),
        Value::Boolean(flag) => ConfigValue::Flag(*flag),
        Value::Integer(number) => ConfigValue::Whole(*number),
        Value::Array(items) => {
            let texts: Option<Vec<_>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            ConfigValue::List(texts?)
        }
        _ => return None,
    })
}

fn channel(name: &str, values: BTreeMap<String, ConfigValue>) -> Result<ChannelSettings, SettingsError> {
    let Some(leg) = LegName::parse(name).filter(|leg| *leg != LegName::INBOX) else {
        return refuse(format!(
            "channels.{name}: a channel’s name has 1 to 32 of a-z, 0-9, _ and -, and isn’t \"inbox\", which is built in"
        ));
    };
    let mut config = ChannelConfig {
        name: leg,
        kind: String::new(),
        values,
    };
    let refused = |error: countersign_channels::ConfigError| SettingsError::Refused(error.to_string());
    config.kind = config.required_text("kind").map_err(refused)?;
    let cost = match config.text("cost").map_err(refused)? {
        None => None,
        Some(text) => match Credits::parse(&text) {
            Ok(cost) if !cost.is_negative() => Some(cost),
            _ => {
                return refuse(format!(
                    "channels.{name}.cost: expected an amount in quotes, like \"0.045\""
                ));
            }
        },
    };
    Ok(ChannelSettings { config, cost })
}

fn read_routes(table: &Table) -> Result<Vec<RouteSettings>, SettingsError> {
    let mut routes = Vec::new();
    for (name, section) in sections(table, "routes")? {
        routes.push(route(name, section)?);
    }
    Ok(routes)
}

fn route(name: &str, section: &Table) -> Result<RouteSettings, SettingsError> {
    let known = ["legs", "shares", "skip", "accounts", "prefixes", "kinds"];
    if let Some(unknown) = section.keys().find(|key| !known.contains(&key.as_str())) {
        return refuse(format!(
            "routes.{name}.{unknown}: a route has {}, and nothing else",
            known.join(", ")
        ));
    }
    let Some(route) = RouteName::parse(name) else {
        return refuse(format!(
            "routes.{name}: a route’s name has 1 to 32 of a-z, 0-9, _ and -, and isn’t \"all\" or \"default\""
        ));
    };
    let mut legs = Vec::new();
    for text in texts(name, section, "legs")? {
        let Some(channel) = LegName::parse(&text) else {
            return refuse(format!("routes.{name}.legs: {text:?} is no channel’s name"));
        };
        if legs.iter().any(|leg: &LegSettings| leg.channel == channel) {
            return refuse(format!("routes.{name}.legs: {channel} stands there twice"));
        }
        legs.push(LegSettings {
            channel,
            share: 0,
            skip: Vec::new(),
        });
    }
    if legs.is_empty() || legs.len() > MAX_LEGS {
        return refuse(format!(
            "routes.{name}.legs: expected 1 to {MAX_LEGS} names of channels, like [\"telegram\", \"sms\"]"
        ));
    }
    share_out(name, section, &mut legs)?;
    for text in texts(name, section, "skip")? {
        let (leg, prefix) = text.split_once(':').unwrap_or_default();
        let leg = legs.iter_mut().find(|known| known.channel.as_str() == leg);
        let (Some(leg), Some(prefix)) = (leg, NumberPrefix::parse(prefix)) else {
            return refuse(format!(
                "routes.{name}.skip: expected a leg of this route and a prefix, like \"sms:+7\", found {text:?}"
            ));
        };
        leg.skip.push(prefix);
    }
    let read = |key: &str, expected: &str| -> Result<Vec<String>, SettingsError> {
        let found = texts(name, section, key)?;
        if found.len() > MOST_OF_A_ROUTE {
            return refuse(format!("routes.{name}.{key}: at most {MOST_OF_A_ROUTE} {expected}"));
        }
        Ok(found)
    };
    let parsed = |key: &str, expected: &str, text: &str| {
        SettingsError::Refused(format!("routes.{name}.{key}: expected {expected}, found {text:?}"))
    };
    let accounts = read("accounts", "ids of accounts")?.into_iter().map(|text| {
        let id = text.parse().ok().and_then(AccountId::new);
        id.ok_or_else(|| parsed("accounts", "ids of accounts in quotes", &text))
    });
    let prefixes = read("prefixes", "prefixes")?.into_iter().map(|text| {
        NumberPrefix::parse(&text).ok_or_else(|| parsed("prefixes", "first digits of numbers, like \"+39\"", &text))
    });
    let kinds = read("kinds", "kinds of messages")?
        .into_iter()
        .map(|text| MessageKind::parse(&text).ok_or_else(|| parsed("kinds", "\"code\" or \"login\"", &text)));
    Ok(RouteSettings {
        name: route,
        legs,
        accounts: accounts.collect::<Result<_, _>>()?,
        prefixes: prefixes.collect::<Result<_, _>>()?,
        kinds: kinds.collect::<Result<_, _>>()?,
    })
}

/// Percents as they were set, or equal parts.
fn share_out(name: &str, section: &Table, legs: &mut [LegSettings]) -> Result<(), SettingsError> {
    let wrong = || {
        refuse(format!(
            "routes.{name}.shares: expected {} whole percents of a message’s life that add up to 100, one for each leg",
            legs.len()
        ))
    };
    let Some(shares) = section.get("shares") else {
        let each = u16::try_from(1_000 / legs.len()).unwrap_or(1_000);
        for leg in legs.iter_mut() {
            leg.share = each;
        }
        return Ok(());
    };
    let percents: Option<Vec<u16>> = shares.as_array().and_then(|shares| {
        let percent = |share: &Value| share.as_integer().and_then(|share| u16::try_from(share).ok());
        shares.iter().map(percent).collect()
    });
    let Some(percents) = percents else { return wrong() };
    if percents.len() != legs.len()
        || percents.contains(&0)
        || percents.iter().map(|&share| u32::from(share)).sum::<u32>() != 100
    {
        return wrong();
    }
    for (leg, percent) in legs.iter_mut().zip(percents) {
        leg.share = percent * 10;
    }
    Ok(())
}

fn texts(route: &str, section: &Table, key: &str) -> Result<Vec<String>, SettingsError> {
    let Some(value) = section.get(key) else {
        return Ok(Vec::new());
    };
    let items = value.as_array().and_then(|items| {
        let texts: Option<Vec<_>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        texts
    });
    match items {
        Some(items) => Ok(items),
        None => refuse(format!("routes.{route}.{key}: expected an array of texts")),
    }
}

/// What concerns several of them.
fn check(channels: &[ChannelSettings], routes: &[RouteSettings]) -> Result<(), SettingsError> {
    let exists = |leg: &LegName| *leg == LegName::INBOX || channels.iter().any(|channel| channel.config.name == *leg);
    for route in routes {
        if let Some(leg) = route.legs.iter().find(|leg| !exists(&leg.channel)) {
            let (route, leg) = (route.name.as_str(), &leg.channel);
            return refuse(format!(
                "routes.{route}.legs: there is no channel {leg}: describe it in [channels.{leg}]"
            ));
        }
    }
    if let Some(channel) = channels.iter().find(|channel| {
        !routes
            .iter()
            .flat_map(|route| &route.legs)
            .any(|leg| leg.channel == channel.config.name)
    }) {
        let name = &channel.config.name;
        return refuse(format!(
            "channels.{name}: no route has this leg, so nothing would go over it: add a section [routes.main] with legs = \
             [\"{name}\"]"
        ));
    }
    for (place, route) in routes.iter().enumerate() {
        let same = |other: &RouteSettings| {
            (&other.accounts, &other.prefixes, &other.kinds) == (&route.accounts, &route.prefixes, &route.kinds)
        };
        if let Some(other) = routes.iter().skip(place + 1).find(|other| same(other)) {
            let (one, other) = (route.name.as_str(), other.name.as_str());
            return refuse(format!(
                "routes.{one} and routes.{other} are for the same messages: tell them apart by accounts, prefixes or kinds"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
