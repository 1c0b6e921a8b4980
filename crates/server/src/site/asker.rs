//! Who asks, as far as a sign-in tells it to its owner: which browser on what, and from where.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;

use crate::api::caller::address_of;
use crate::app::App;

/// A browser that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asker {
    /// `Firefox on Linux`.
    pub(crate) device: String,
    /// `None` where a proxy of ours wrote what is no address.
    pub(crate) address: Option<IpAddr>,
}

impl Asker {
    /// The address for people.
    pub(crate) fn address_text(&self) -> String {
        self.address
            .map_or_else(|| "an unknown address".to_owned(), |address| address.to_string())
    }
}

impl FromRequestParts<Arc<App>> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        Ok(Self {
            device: device(agent.unwrap_or_default()),
            address: address_of(parts, &app.settings),
        })
    }
}

/// Letters of a name that isn't known here: what anybody may send stays short.
const MAX_NAME: usize = 24;

/// What a browser calls itself, in two words. All browsers claim to be several; the most particular name comes first. What claims
/// to be none, like `python-requests/2.32`, is told by the name that it gives itself.
fn device(agent: &str) -> String {
    let first =
        |names: &[(&str, &'static str)]| names.iter().find(|(mark, _)| agent.contains(mark)).map(|found| found.1);
    let browser = first(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Vivaldi/", "Vivaldi"),
        ("YaBrowser/", "Yandex Browser"),
        ("DuckDuckGo/", "DuckDuckGo"),
        ("SamsungBrowser", "Samsung Internet"),
        ("Firefox/", "Firefox"),
        ("FxiOS", "Firefox"),
        ("CriOS", "Chrome"),
        ("HeadlessChrome", "Headless Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ]);
    let system = first(&[
        ("Windows", "Windows"),
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Mac OS X", "Mac"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(name), None) => name.to_owned(),
        (None, Some(system)) => format!("Unknown browser on {system}"),
        (None, None) => own_name(agent).unwrap_or("Unknown browser").to_owned(),
    }
}

/// The name of `name/version`, where it looks like one.
fn own_name(agent: &str) -> Option<&str> {
    let (name, _) = agent.split_once('/')?;
    let is_name = (1..=MAX_NAME).contains(&name.len())
        && name != "Mozilla"
        && name
            .bytes()
            .all(|sign| sign.is_ascii_alphanumeric() || matches!(sign, b'-' | b'_' | b'.'));
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_told_by_its_most_particular_name() {
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
        for (agent, said) in [
            (chrome.to_owned(), "Chrome on Linux"),
            (format!("{chrome} Edg/130.0"), "Edge on Linux"),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1".into(),
                "Safari on iPhone",
            ),
            ("Mozilla/5.0 (Windows NT 10.0; rv:131.0) Gecko/20100101 Firefox/131.0".into(), "Firefox on Windows"),
            ("curl/8.14.1".into(), "curl"),
            ("python-requests/2.32.3".into(), "python-requests"),
            ("Mozilla/5.0 (X11; Linux x86_64)".into(), "Unknown browser on Linux"),
            ("Mozilla/5.0".into(), "Unknown browser"),
            ("<script>".into(), "Unknown browser"),
            ("<script>alert(1)/1".into(), "Unknown browser"),
            (format!("{}/1", "a".repeat(MAX_NAME + 1)), "Unknown browser"),
            (String::new(), "Unknown browser"),
        ] {
            assert_eq!(device(&agent), said);
        }
    }
}
