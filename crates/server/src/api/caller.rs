//! Who calls: the token, and the address from which an account allows calls. The owner's API (`account/`) lets its callers
//! in by the same rules.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use countersign_core::{ApiError, ApiToken};
use countersign_store::AccountAccess;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use ipnet::IpNet;

use crate::api::answer::Refusal;
use crate::app::App;
use crate::clock;
use crate::http::PeerAddress;
use crate::settings::Settings;

/// A caller whose token and address passed.
#[derive(Clone)]
pub(crate) struct Caller {
    /// What the token opens.
    pub(crate) access: Arc<AccountAccess>,
}

/// The token of an `Authorization: Bearer` header; the scheme in any case. Another scheme, or no token after it, is no
/// token.
pub(crate) fn header_token(headers: &HeaderMap) -> Option<&str> {
    let value = std::str::from_utf8(headers.get(AUTHORIZATION)?.as_bytes()).ok()?;
    let (scheme, token) = value.trim_ascii().split_once([' ', '\t'])?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Judges a token, then the caller's address.
pub(crate) async fn admit(app: &App, token: &str, parts: &Parts) -> Result<Caller, Refusal> {
    let token = ApiToken::parse(token).ok_or(ApiError::AccessTokenInvalid)?;
    let access = app.store.authenticate(&token).await?;
    let access = access
        .filter(|access| !access.closed)
        .filter(|access| access.valid_until.is_none_or(|until| clock::now() < until))
        .ok_or(ApiError::AccessTokenInvalid)?;
    if !access.allow_list.is_empty() {
        let allowed = address_of(parts, &app.settings).is_some_and(|address| contains(&access.allow_list, address));
        if !allowed {
            return Err(ApiError::IpNotAllowed.into());
        }
    }
    Ok(Caller { access })
}

/// Where a call comes from; `None` where nobody can say: see [`caller_address`].
pub(crate) fn address_of(parts: &Parts, settings: &Settings) -> Option<IpAddr> {
    let peer = parts.extensions.get::<PeerAddress>()?.0.ip();
    caller_address(peer, &parts.headers, &settings.server.trusted_proxies)
}

/// The caller's address: the connection's, or behind proxies of ours the right-most address of `X-Forwarded-For` that is
/// none of them. What stands left of it anyone can write. `None` where a trusted proxy wrote what is no address.
fn caller_address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> Option<IpAddr> {
    let mut address = peer.to_canonical();
    let values = headers.get_all("x-forwarded-for").iter().collect::<Vec<_>>();
    for value in values.into_iter().rev() {
        for hop in value.as_bytes().rsplit(|&byte| byte == b',') {
            if !contains(trusted_proxies, address) {
                return Some(address);
            }
            address = forwarded_address(hop)?;
        }
    }
    Some(address)
}

/// Reads one hop: an address, in brackets or not, with a port or not.
fn forwarded_address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop.trim_ascii()).ok()?;
    let bare = hop
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(hop);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        for value in ["Bearer abc", "bearer abc", "BEARER   abc ", "bEaReR\tabc"] {
            assert_eq!(
                header_token(&headers("authorization", &[value])),
                Some("abc"),
                "{value:?}"
            );
        }
        for value in ["abc", "Bearer", "Bearer ", "Basic abc", ""] {
            assert_eq!(header_token(&headers("authorization", &[value])), None, "{value:?}");
        }
    }

    fn address(peer: &str, forwarded: &[&'static str]) -> Option<String> {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).to_vec();
        caller_address(peer.parse().unwrap(), &headers("x-forwarded-for", forwarded), &trusted).map(|ip| ip.to_string())
    }

    #[test]
    fn only_a_trusted_proxy_may_name_another_address() {
        assert_eq!(address("192.0.2.7", &["198.51.100.1"]).unwrap(), "192.0.2.7");
        assert_eq!(address("10.0.0.1", &["198.51.100.1"]).unwrap(), "198.51.100.1");
        assert_eq!(address("10.0.0.1", &[]).unwrap(), "10.0.0.1");
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_of_ours_counts() {
        let forged = "203.0.113.9, 198.51.100.1, 10.1.1.1";
        assert_eq!(address("10.0.0.1", &[forged]).unwrap(), "198.51.100.1");
        assert_eq!(
            address("fd00::1", &["203.0.113.9", "198.51.100.1, 10.1.1.1"]).unwrap(),
            "198.51.100.1"
        );
        assert_eq!(address("10.0.0.1", &["10.9.9.9,10.1.1.1"]).unwrap(), "10.9.9.9");
    }

    #[test]
    fn addresses_are_read_with_ports_brackets_and_in_mapped_form() {
        assert_eq!(
            address("::ffff:10.0.0.1", &["198.51.100.1:4711"]).unwrap(),
            "198.51.100.1"
        );
        assert_eq!(address("10.0.0.1", &["[2001:db8::1]:443"]).unwrap(), "2001:db8::1");
        assert_eq!(address("10.0.0.1", &["[2001:db8::1]"]).unwrap(), "2001:db8::1");
        assert_eq!(address("10.0.0.1", &["::ffff:198.51.100.1"]).unwrap(), "198.51.100.1");
        assert_eq!(address("10.0.0.1", &["unknown"]), None);
    }
}
