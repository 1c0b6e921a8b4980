//! Guards pages and their data against other sites in the same browser: a foreign page that makes its own name resolve to
//! this machine (DNS rebinding), or that sends a form or opens an event stream here.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri};
use thiserror::Error;

/// Why a request to a page is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ForeignSite {
    /// The request names another host than this machine.
    #[error(
        "this page answers under localhost, 127.0.0.1 and [::1] only; --sandbox-exposed opens it to other host names"
    )]
    Host,
    /// A page of another site asks.
    #[error("another site may not ask this")]
    Origin,
}

/// Lets a request pass that names this machine by a loopback name or address (any name where the sandbox is `exposed`)
/// and, where a browser says which page asks, comes from a page of the same origin.
///
/// The origin counts for reading as well: an event stream takes messages, and browsers open it with `GET`.
pub fn same_site(uri: &Uri, headers: &HeaderMap, exposed: bool) -> Result<(), ForeignSite> {
    // A request in absolute form names its host in the target, and that wins (RFC 9112, section 3.2.2).
    let host = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .ok_or(ForeignSite::Host)?,
    };
    if !exposed && !is_loopback(host) {
        return Err(ForeignSite::Host);
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let asking = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, host)| host);
    match asking {
        Some(asking) if without_default_port(asking).eq_ignore_ascii_case(without_default_port(host)) => Ok(()),
        _ => Err(ForeignSite::Origin),
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.parse::<http::uri::Authority>().ok();
    let name = name.as_ref().map_or("", http::uri::Authority::host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Browsers leave the port of the scheme out on both sides; other callers may write it on one.
fn without_default_port(host: &str) -> &str {
    host.strip_suffix(":80")
        .or_else(|| host.strip_suffix(":443"))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(host: &str, origin: Option<&str>, exposed: bool) -> Result<(), ForeignSite> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        same_site(&Uri::from_static("/inbox"), &headers, exposed)
    }

    #[test]
    fn this_machine_passes_under_its_loopback_names_and_any_port() {
        for host in [
            "localhost:8099",
            "LOCALHOST",
            "127.0.0.1:1",
            "127.5.5.5",
            "[::1]:8099",
            "[::1]",
        ] {
            assert_eq!(judge(host, None, false), Ok(()), "{host}");
        }
    }

    #[test]
    fn other_names_pass_only_where_the_sandbox_is_exposed() {
        for host in [
            "evil.example",
            "localhost.evil.example:8099",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "evil@localhost@x",
            "",
        ] {
            assert_eq!(judge(host, None, false), Err(ForeignSite::Host), "{host}");
            assert_eq!(judge(host, None, true), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_refused_and_our_own_passes() {
        let host = "localhost:8099";
        assert_eq!(judge(host, Some("http://localhost:8099"), false), Ok(()));
        assert_eq!(judge("localhost", Some("https://localhost"), false), Ok(()));
        for origin in [
            "http://localhost:3000",
            "https://evil.example",
            "null",
            "http://localhost:8099.evil.example",
        ] {
            assert_eq!(judge(host, Some(origin), true), Err(ForeignSite::Origin), "{origin}");
        }
    }

    #[test]
    fn the_host_in_an_absolute_target_wins() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "localhost".parse().unwrap());
        let target = Uri::from_static("http://evil.example/inbox");
        assert_eq!(same_site(&target, &headers, false), Err(ForeignSite::Host));
    }

    #[test]
    fn a_request_without_a_host_is_refused() {
        let target = Uri::from_static("/inbox");
        assert_eq!(same_site(&target, &HeaderMap::new(), true), Err(ForeignSite::Host));
    }
}
