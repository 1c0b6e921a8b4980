//! The way to a running server: its address, the operator's key or an account's token, and calls of the operator's API, the
//! owner's API and the inbox. Failures are sentences that say what to do.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::arguments::{Common, option_or_variable};
use crate::failure::unreachable_remedy;

const DEFAULT_URL: &str = "http://127.0.0.1:8099";
/// In the data directory, while a server runs there: its address.
const ADDRESS_FILE: &str = "serve.url";
const OPERATOR_KEY_FILE: &str = "operator.key";
/// The certificate of `serve --sandbox-tls`.
const SANDBOX_CA_FILE: &str = "sandbox-ca.pem";
const OPERATOR_PATH: &str = "operator/v1";
const ACCOUNT_PATH: &str = "account/v1";
/// How long a call may take: an operator waits for no more than a full queue's commit.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read: an inbox of 50,000 messages has less than half of it.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A running server.
pub(crate) struct Connection {
    http: reqwest::Client,
    /// Ends in a slash.
    base: Url,
    /// As the user knows it.
    address: String,
    credential: Option<Credential>,
}

/// What opens one of the server's APIs.
struct Credential {
    text: String,
    /// Where it came from, for messages.
    source: String,
    /// What it is, for messages.
    name: &'static str,
    /// Where the API that it opens begins.
    path: &'static str,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
}

impl Connection {
    /// A connection that can ask the operator's API.
    pub(crate) fn operator(common: &Common) -> anyhow::Result<Self> {
        let mut connection = Self::open(common)?;
        connection.credential = Some(operator_key(common)?);
        Ok(connection)
    }

    /// A connection that can ask the owner's API, with the token that was named or that of the environment.
    pub(crate) fn owner(common: &Common, token: Option<&str>) -> anyhow::Result<Self> {
        let mut connection = Self::open(common)?;
        connection.credential = Some(owner_token(token)?);
        Ok(connection)
    }

    /// A connection that can ask what is open to all.
    pub(crate) fn open(common: &Common) -> anyhow::Result<Self> {
        let address = server_url(common);
        let mut base = Url::parse(&address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| anyhow!("`{address}` is not a server's address: write it like {DEFAULT_URL}"))?;
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        // Fails only where there is a provider already, which serves as well.
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            // A redirect would carry the operator's key to whoever it names.
            .redirect(Policy::none());
        if base.scheme() == "http" {
            http = http.tls_certs_only([]);
        } else if let Some((path, pem)) = trusted_roots(common)? {
            let roots = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|_| anyhow!("{} holds no certificates in PEM form", path.display()))?;
            http = http.tls_certs_merge(roots);
        }
        if is_loopback(&base) {
            http = http.no_proxy();
        }
        Ok(Self {
            http: http.build().context("TLS can't be set up")?,
            base,
            address,
            credential: None,
        })
    }

    /// Asks the API that the credential opens: the operator's or the owner's.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<T> {
        let api = self
            .credential
            .as_ref()
            .map_or(OPERATOR_PATH, |credential| credential.path);
        let mut segments: Vec<&str> = api.split('/').collect();
        segments.extend(path);
        let (status, answer) = self.call(method, &segments, query, body).await?;
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|_| self.not_countersign());
        }
        let Ok(ErrorBody { error }) = serde_json::from_slice(&answer) else {
            return Err(self.not_countersign());
        };
        match &self.credential {
            Some(credential) if status == StatusCode::UNAUTHORIZED => {
                bail!(
                    "{} refuses the {} that came from {}: {error}",
                    self.address,
                    credential.name,
                    credential.source
                )
            }
            _ => bail!(error),
        }
    }

    /// Asks what is open to all: the inbox.
    pub(crate) async fn ask_inbox<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<T> {
        let (status, answer) = self.call(method, path, query, body).await?;
        if status.is_success()
            && let Ok(messages) = serde_json::from_slice(&answer)
        {
            return Ok(messages);
        }
        match serde_json::from_slice(&answer) {
            // A server without an inbox takes the path for a method of the Gateway API.
            Ok(ErrorBody { error }) if error == "UNKNOWN_METHOD" => bail!(
                "the server at {} has no inbox: only a sandbox has one, where `inbox.enabled` is not false",
                self.address
            ),
            Ok(ErrorBody { error }) => bail!(error),
            Err(_) => Err(self.not_countersign()),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.http.request(method, url).query(query);
        if let Some(credential) = &self.credential {
            request = request.bearer_auth(&credential.text);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.no_answer(&error))? {
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(self.not_countersign());
            }
            answer.extend_from_slice(&chunk);
        }
        Ok((status, answer))
    }

    fn no_answer(&self, error: &reqwest::Error) -> anyhow::Error {
        let reason = innermost(error);
        if error.is_connect() {
            let remedy = unreachable_remedy(&reason);
            anyhow!("no server answers at {} ({reason}): {remedy}", self.address)
        } else {
            anyhow!(
                "the server at {} did not answer in full ({reason}), so whether it did what was asked is unknown: look \
                 before you repeat it",
                self.address
            )
        }
    }

    fn not_countersign(&self) -> anyhow::Error {
        anyhow!(
            "what answers at {} is not a Countersign server of this version: check --url or COUNTERSIGN_URL",
            self.address
        )
    }
}

/// Runs a client command: one thread is enough to wait for one answer.
pub(crate) fn block_on<T>(task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime can't start")?
        .block_on(task)
}

/// The server's address: named, or that of the server which runs on the data directory, or the usual one.
pub(crate) fn server_url(common: &Common) -> String {
    if let Some(url) = option_or_variable(common.url.as_deref(), "COUNTERSIGN_URL") {
        return url.trim().to_owned();
    }
    let noted = fs::read_to_string(common.data_dir().join(ADDRESS_FILE)).unwrap_or_default();
    let noted = noted.trim();
    if noted.is_empty() { DEFAULT_URL } else { noted }.to_owned()
}

/// Notes a running server's address in its data directory, so that commands beside it need no `--url`. Answers the file, to
/// be removed when the server ends.
pub(crate) fn note_address(data_dir: &Path, url: &str) -> anyhow::Result<PathBuf> {
    let path = data_dir.join(ADDRESS_FILE);
    fs::write(&path, format!("{url}\n")).with_context(|| format!("can't write {}", path.display()))?;
    Ok(path)
}

/// The certificates to trust besides the system's, with the file they came from.
pub(crate) fn trusted_roots(common: &Common) -> anyhow::Result<Option<(PathBuf, Vec<u8>)>> {
    let named = common.ca_file();
    let path = named.clone().unwrap_or_else(|| common.data_dir().join(SANDBOX_CA_FILE));
    match fs::read(&path) {
        Ok(pem) => Ok(Some((path, pem))),
        Err(_) if named.is_none() => Ok(None),
        Err(error) => Err(anyhow!(
            "can't read the certificates to trust in {}: {error}",
            path.display()
        )),
    }
}

fn operator_key(common: &Common) -> anyhow::Result<Credential> {
    let named = common.operator_key.as_deref().filter(|text| !text.is_empty());
    let source = if named.is_some() {
        "--operator-key"
    } else {
        "COUNTERSIGN_OPERATOR_KEY"
    };
    if let Some(text) = option_or_variable(named, "COUNTERSIGN_OPERATOR_KEY") {
        return usable(&text, source.to_owned());
    }
    let path = common.data_dir().join(OPERATOR_KEY_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => usable(&text, path.display().to_string()),
        Err(error) => bail!(
            "no operator key: {} can't be read ({error}). Name the running server's data directory with --data-dir, or give \
             its key with --operator-key or COUNTERSIGN_OPERATOR_KEY; `countersign serve` makes the key at its first start",
            path.display()
        ),
    }
}

fn owner_token(named: Option<&str>) -> anyhow::Result<Credential> {
    let named = named.filter(|text| !text.is_empty());
    let source = if named.is_some() {
        "--token"
    } else {
        "COUNTERSIGN_TOKEN"
    };
    let Some(text) = option_or_variable(named, "COUNTERSIGN_TOKEN") else {
        bail!(
            "no API token: give the account's with --token or COUNTERSIGN_TOKEN, or name an account with --account to ask as \
             its operator"
        );
    };
    credential(&text, source.to_owned(), "API token", ACCOUNT_PATH)
}

fn usable(text: &str, source: String) -> anyhow::Result<Credential> {
    credential(text, source, "operator key", OPERATOR_PATH)
}

fn credential(text: &str, source: String, name: &'static str, path: &'static str) -> anyhow::Result<Credential> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("the {name} that came from {source} is none: it is one line of visible ASCII characters");
    }
    Ok(Credential {
        text: text.to_owned(),
        source,
        name,
        path,
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The innermost cause: the outer ones only repeat that a request failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
