//! How channels speak HTTP to the other side: one client for each channel, whom it trusts, how much of an answer it reads, and
//! words for what went wrong. No text from here holds a URL: some have a secret in it.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};
use url::{Host, Url};

use crate::ports::Ports;

/// Free connections are closed after this time, before most servers do: a request on one that the server has just closed
/// would have an unknown outcome.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

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

fn certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("can’t read {}: {error}", path.display()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("{} holds no certificate in PEM form", path.display())),
    }
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Whether an address names this machine itself.
pub(crate) fn is_loopback_address(address: &str) -> bool {
    Url::parse(address).is_ok_and(|url| is_loopback(&url))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
