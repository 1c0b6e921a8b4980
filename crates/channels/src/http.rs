//! How channels speak HTTP to the other side: one client for each channel, whom it trusts, how much of an answer it reads, and
//! words for what went wrong. No text from here holds a URL: some have a secret in it.

use std::error::Error;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};
use url::Url;

use crate::ports::Ports;
use crate::tls;

/// Free connections are closed after this time, before most servers do: a request on one that the server has just closed
/// would have an unknown outcome.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// A longer pause makes no difference: no message lives so long.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

/// A client for that address: it trusts the platform's authorities and those of the extra file. Follows no redirect, which
/// would carry secrets to whoever it names. The error says what to do.
pub(crate) fn client(base_url: &str, ports: &Ports, connect_timeout: Duration) -> Result<Client, String> {
    let extra_ca_file = ports.extra_ca_file.as_deref();
    let extra = extra_ca_file.map(certificates).transpose()?.unwrap_or_default();
    // Fails only where there is a provider already, which serves as well.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let url = Url::parse(base_url).map_err(|_| "it isn’t an address".to_owned())?;
    let builder = || {
        let http = Client::builder()
            .user_agent(concat!("Countersign/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(IDLE_LIMIT)
            .redirect(Policy::none());
        if is_loopback(&url) { http.no_proxy() } else { http }
    };
    if url.scheme() == "http" {
        return built(builder().tls_certs_only([]));
    }
    match builder().tls_certs_merge(extra.clone()).build() {
        Ok(client) => Ok(client),
        // Slim containers have no authorities at all.
        Err(_) if !extra.is_empty() => {
            tracing::warn!("the platform’s certificate authorities can’t be used: install ca-certificates");
            built(builder().tls_certs_only(extra))
        }
        Err(error) => Err(format!(
            "TLS can’t be set up ({}): install ca-certificates",
            innermost(&error)
        )),
    }
}

/// The body of an answer, or why there is none: it breaks off, or is longer than that.
pub(crate) async fn body(mut answer: Response, max_bytes: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(chunk)) if body.len() + chunk.len() <= max_bytes => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(format!("its answer is longer than {max_bytes} bytes")),
            Err(error) => return Err(cause(error)),
        }
    }
}

/// Why a call failed, without its URL.
pub(crate) fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        innermost(&error)
    }
}

fn built(http: reqwest::ClientBuilder) -> Result<Client, String> {
    http.build()
        .map_err(|error| format!("TLS can’t be set up: {}", innermost(&error)))
}

/// The certificates of a PEM file, as this client takes them.
fn certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    let read = tls::read_certificates(path)?;
    let taken: Result<_, _> = read.iter().map(|der| Certificate::from_der(der)).collect();
    taken.map_err(|error| format!("{} can’t be used: {}", path.display(), innermost(&error)))
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// The pause that an answer asks for in seconds, and not for more than a day. The header's other form, a date, is as if there were none.
pub(crate) fn retry_after(answer: &Response) -> Option<Duration> {
    answer.headers().get(RETRY_AFTER).and_then(seconds)
}

fn seconds(header: &HeaderValue) -> Option<Duration> {
    let seconds = header.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

/// Whether calls to an address go to another machine without TLS.
pub(crate) fn is_unprotected(address: &str) -> bool {
    Url::parse(address).is_ok_and(|url| url.scheme() == "http" && !is_loopback(&url))
}

/// Whether a host's name or address means this machine itself.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let address: Result<IpAddr, _> = address.parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(is_this_machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_taken_for_it() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "",
            "127.evil.example",
            "localhost.example",
            "10.0.0.1",
            "[localhost]",
            "[::2]",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
        assert!(is_unprotected("http://127.evil.example/a"));
        for address in [
            "http://127.1/a",
            "http://[::1]:80",
            "https://transport.example",
            "no address",
        ] {
            assert!(!is_unprotected(address), "{address}");
        }
    }

    #[test]
    fn a_pause_is_asked_for_in_seconds_and_for_a_day_at_most() {
        let pause = |value: &'static str| seconds(&HeaderValue::from_static(value));
        assert_eq!(pause("7"), Some(Duration::from_secs(7)));
        assert_eq!(pause("9999999999999999999"), Some(LONGEST_RETRY_AFTER));
        for value in [
            "",
            "-1",
            "soon",
            "99999999999999999999",
            "Fri, 27 Nov 2026 10:00:00 GMT",
        ] {
            assert_eq!(pause(value), None, "{value}");
        }
    }
}
