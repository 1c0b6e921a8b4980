//! The client: one method per Gateway API method, over one pool of connections.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::RequestStatus;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Response};
use serde::Serialize;
use url::{Host, Url};

use crate::answer::{GatewayResult, HttpAnswer, read_answer};
use crate::error::{ClientError, innermost};
use crate::send::SendRequest;

/// How long a call may take, unless set otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a connection to come about; a dead address is told sooner than a slow answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read: a gateway's are below 2 KiB.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A client of one gateway with one token. Cloning it is cheap and shares its connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    /// Ends in a slash.
    base: Url,
    /// Scheme, host and port, for messages.
    address: String,
    authorization: HeaderValue,
}

/// Settings of a [`Client`].
pub struct ClientBuilder {
    url: String,
    token: String,
    roots_pem: Vec<Vec<u8>>,
    timeout: Duration,
}

#[derive(Serialize)]
struct PhoneParameters<'a> {
    phone_number: &'a str,
}

#[derive(Serialize)]
struct RequestParameters<'a> {
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
}

impl Client {
    /// A client with the usual settings. `url` is the gateway's address, such as `https://gatewayapi.telegram.org`; it may
    /// have a path, to which the method names are appended.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Result<Self, ClientError> {
        Self::builder(url, token).build()
    }

    /// A client with settings of your own.
    pub fn builder(url: impl Into<String>, token: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            url: url.into(),
            token: token.into(),
            roots_pem: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// `sendVerificationMessage`: sends a code.
    pub async fn send(&self, request: &SendRequest) -> Result<RequestStatus, ClientError> {
        let key = request.idempotency_key.as_deref();
        self.call("sendVerificationMessage", request, key).await
    }

    /// `checkSendAbility`: asks whether a number can be reached, and pays for the message that may follow on the answer's
    /// `request_id`.
    pub async fn check_ability(&self, phone_number: &str) -> Result<RequestStatus, ClientError> {
        self.call("checkSendAbility", &PhoneParameters { phone_number }, None)
            .await
    }

    /// Like [`Client::check_ability`], safe to repeat with the same key (1 to 64 bytes) for 24 hours. Countersign honours
    /// it; Telegram's own gateway doesn't.
    pub async fn check_ability_once(
        &self,
        phone_number: &str,
        idempotency_key: &str,
    ) -> Result<RequestStatus, ClientError> {
        self.call(
            "checkSendAbility",
            &PhoneParameters { phone_number },
            Some(idempotency_key),
        )
        .await
    }

    /// `checkVerificationStatus` without a code: how the request stands.
    pub async fn status(&self, request_id: &str) -> Result<RequestStatus, ClientError> {
        let parameters = RequestParameters { request_id, code: None };
        self.call("checkVerificationStatus", &parameters, None).await
    }

    /// `checkVerificationStatus` with the code that the person typed: see [`crate::is_code_valid`].
    pub async fn check(&self, request_id: &str, code: &str) -> Result<RequestStatus, ClientError> {
        let parameters = RequestParameters {
            request_id,
            code: Some(code),
        };
        self.call("checkVerificationStatus", &parameters, None).await
    }

    /// `revokeVerificationMessage`: ends the code, and withdraws the message where it wasn't delivered yet.
    pub async fn revoke(&self, request_id: &str) -> Result<(), ClientError> {
        let parameters = RequestParameters { request_id, code: None };
        self.call::<bool>("revokeVerificationMessage", &parameters, None)
            .await
            .map(|_received| ())
    }

    async fn call<T: GatewayResult>(
        &self,
        method: &str,
        parameters: &impl Serialize,
        idempotency_key: Option<&str>,
    ) -> Result<T, ClientError> {
        let inner = &*self.inner;
        let url = inner
            .base
            .join(method)
            .map_err(|error| ClientError::Settings(format!("the gateway's address takes no path: {error}")))?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, inner.authorization.clone());
        if let Some(key) = idempotency_key {
            headers.insert(IDEMPOTENCY_KEY, parse_idempotency_key(key)?);
        }
        let request = inner.http.post(url).headers(headers).json(parameters);
        let response = request.send().await.map_err(|error| self.transport(&error))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let body = self.read_body(response).await?;
        read_answer(&HttpAnswer {
            address: &inner.address,
            status,
            retry_after,
            body: &body,
        })
    }

    async fn read_body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(ClientError::Protocol {
                    address: self.inner.address.clone(),
                    status: response.status().as_u16(),
                    reason: format!("its answer is longer than {MAX_ANSWER_BYTES} bytes"),
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn transport(&self, error: &reqwest::Error) -> ClientError {
        let address = self.inner.address.clone();
        let reason = innermost(error);
        if error.is_connect() {
            ClientError::Unreachable { address, reason }
        } else {
            ClientError::Transport { address, reason }
        }
    }
}

impl std::fmt::Debug for Client {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.inner.address)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Trusts the certificates of a PEM file besides the system's own: for a private certificate authority.
    #[must_use]
    pub fn trust_root_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots_pem.push(pem.into());
        self
    }

    /// How long a call may take, answer included.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The client. Fails where the URL, the token or a certificate is malformed; it doesn't connect yet.
    pub fn build(self) -> Result<Client, ClientError> {
        let base = parse_base(&self.url)?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", self.token))
            .ok()
            .filter(|_| !self.token.trim().is_empty())
            .ok_or_else(|| ClientError::Settings("the token is empty or not plain text: copy it again".to_owned()))?;
        authorization.set_sensitive(true);

        install_crypto_provider();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("countersign-client/", env!("CARGO_PKG_VERSION")))
            .timeout(self.timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(self.timeout))
            // A redirect would carry the token to whoever it names.
            .redirect(Policy::none());
        if base.scheme() == "http" {
            // No TLS, no roots: a machine without certificates can talk to its own sandbox, and starts faster.
            http = http.tls_certs_only([]);
        } else {
            http = http.tls_certs_merge(parse_roots(&self.roots_pem)?);
        }
        if is_loopback(&base) {
            http = http.no_proxy();
        }
        let http = http
            .build()
            .map_err(|error| ClientError::Settings(format!("TLS can't be set up: {}", innermost(&error))))?;
        let address = base.origin().ascii_serialization();
        Ok(Client {
            inner: Arc::new(Inner {
                http,
                base,
                address,
                authorization,
            }),
        })
    }
}

impl std::fmt::Debug for ClientBuilder {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("url", &self.url)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// An address whose path ends in a slash, so that a method name joins below it.
fn parse_base(text: &str) -> Result<Url, ClientError> {
    let malformed = || {
        ClientError::Settings(format!(
            "`{text}` is not a gateway's address: write it like https://gatewayapi.telegram.org or http://127.0.0.1:8099"
        ))
    };
    let mut url = Url::parse(text.trim()).map_err(|_| malformed())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !url.username().is_empty() {
        return Err(malformed());
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn parse_roots(pems: &[Vec<u8>]) -> Result<Vec<Certificate>, ClientError> {
    let mut roots = Vec::new();
    for pem in pems {
        let found = Certificate::from_pem_bundle(pem)
            .ok()
            .filter(|found| !found.is_empty())
            .ok_or_else(|| {
                ClientError::Settings("the file of trusted certificates holds none in PEM form".to_owned())
            })?;
        roots.extend(found);
    }
    Ok(roots)
}

fn parse_idempotency_key(key: &str) -> Result<HeaderValue, ClientError> {
    HeaderValue::from_str(key)
        .ok()
        .filter(|_| (1..=64).contains(&key.len()))
        .ok_or_else(|| ClientError::Settings("an idempotency key has 1 to 64 visible ASCII characters".to_owned()))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn install_crypto_provider() {
    // Fails only where the process has a provider already, which then serves as well.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_names_join_below_the_addresss_path() {
        for (text, joined) in [
            ("http://127.0.0.1:8099", "http://127.0.0.1:8099/m"),
            ("http://127.0.0.1:8099/", "http://127.0.0.1:8099/m"),
            (
                "https://gateway.internal/telegram",
                "https://gateway.internal/telegram/m",
            ),
            (
                "https://gateway.internal/telegram/?x#y",
                "https://gateway.internal/telegram/m",
            ),
        ] {
            assert_eq!(parse_base(text).unwrap().join("m").unwrap().as_str(), joined);
        }
        for bad in [
            "",
            "127.0.0.1:8099",
            "localhost:8099",
            "ftp://x",
            "http://",
            "http://u:p@x",
        ] {
            assert!(parse_base(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn a_client_hides_its_token_and_refuses_a_broken_one() {
        let client = Client::new("http://127.0.0.1:1", "secret-token").unwrap();
        assert!(!format!("{client:?}").contains("secret"));
        assert!(!format!("{:?}", Client::builder("http://127.0.0.1:1", "secret")).contains("secret"));
        for bad in ["", "  ", "two\nlines"] {
            assert!(matches!(
                Client::new("http://127.0.0.1:1", bad),
                Err(ClientError::Settings(_))
            ));
        }
    }

    #[tokio::test]
    async fn nobody_there_is_told_from_no_answer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = Client::builder(format!("http://{address}"), "t")
            .timeout(Duration::from_millis(200))
            .build()
            .unwrap();
        // It accepts (in the kernel's queue) and never answers.
        let error = client.status("1").await.unwrap_err();
        assert!(matches!(error, ClientError::Transport { .. }), "{error}");
        assert!(error.may_have_happened());
        drop(listener);
        let error = client.status("1").await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        assert!(!error.may_have_happened());
    }
}
