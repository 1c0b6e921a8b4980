//! How the values of settings are read. `None`: it isn't what the setting expects.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use countersign_core::{Credits, MAX_PURCHASE};
use ipnet::IpNet;
use url::Url;

use crate::Mode;
use crate::workers::{MAX_RETRIES, RetrySchedule};

/// The longest delay before a retry: a week.
const MAX_RETRY_DELAY_SECONDS: u32 = 7 * 86_400;

pub(super) fn put<T>(place: &mut T, value: impl Into<Option<T>>) -> Option<()> {
    *place = value.into()?;
    Some(())
}

/// Reads a mode's name.
pub(super) fn parse_mode(text: &str) -> Option<Mode> {
    match text {
        "sandbox" => Some(Mode::Sandbox),
        "production" => Some(Mode::Production),
        _ => None,
    }
}

/// Empty text is "not set"; other text must be right.
pub(super) fn put_optional<T>(place: &mut Option<T>, text: &str, parse: fn(&str) -> Option<T>) -> Option<()> {
    *place = if text.is_empty() { None } else { Some(parse(text)?) };
    Some(())
}

/// 0 is "no limit".
pub(super) fn put_limit(place: &mut Option<u32>, text: &str) -> Option<()> {
    let count: u32 = text.parse().ok()?;
    *place = (count > 0).then_some(count);
    Some(())
}

pub(super) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

pub(super) fn node_name(text: &str) -> Option<String> {
    let is_name = text.len() <= 63 && !text.contains(char::is_control);
    is_name.then(|| text.to_owned())
}

pub(super) fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

pub(super) fn http_address(text: &str) -> Option<Url> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

pub(super) fn address(text: &str) -> Option<SocketAddr> {
    // No name is resolved here; the one that everybody types is known without asking.
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

pub(super) fn within<T: TryFrom<u32>>(text: &str, least: u32, most: u32) -> Option<T> {
    let number: u32 = text.parse().ok()?;
    (least..=most).contains(&number).then(|| T::try_from(number).ok())?
}

pub(super) fn seconds(text: &str) -> Option<Duration> {
    within::<u32>(text, 1, 300).map(|seconds| Duration::from_secs(seconds.into()))
}

pub(super) fn networks(text: &str) -> Option<Vec<IpNet>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            part.parse()
                .ok()
                .or_else(|| Some(IpNet::from(part.parse::<std::net::IpAddr>().ok()?)))
        })
        .collect()
}

pub(super) fn order_amount(text: &str) -> Option<Credits> {
    let amount = Credits::parse(text).ok()?;
    (amount > Credits::ZERO && amount <= MAX_PURCHASE).then_some(amount)
}

pub(super) fn retry_delays(text: &str) -> Option<RetrySchedule> {
    let delays: Option<Vec<i64>> = text
        .split(',')
        .map(|part| within::<u32>(part.trim(), 1, MAX_RETRY_DELAY_SECONDS).map(|seconds| 1_000 * i64::from(seconds)))
        .collect();
    let delays: [i64; MAX_RETRIES] = delays?.try_into().ok()?;
    let grow = delays.is_sorted_by(|earlier, later| earlier < later);
    grow.then(|| RetrySchedule::new(delays))
}

pub(super) fn base_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.has_host() && url.path() == "/";
    let nothing_else = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    (plain && nothing_else).then(|| text.trim_end_matches('/').to_owned())
}
