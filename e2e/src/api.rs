//! A caller of the Gateway API that hides nothing: it gives back the status and the JSON as they came. The typed client
//! is for users; tests of the wire want to see the wire.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// A caller with a token.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
    token: String,
}

/// An HTTP client for tests: bounded in time, and able to speak TLS.
pub fn http_client() -> Result<reqwest::Client> {
    // Fails where a test before us installed it: then it is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(15))
        .no_proxy()
        .build()
        .context("an HTTP client")
}

impl Api {
    /// A caller of the server at that URL.
    pub fn new(url: &str, token: &str) -> Result<Self> {
        Ok(Self::with_client(http_client()?, url, token))
    }

    /// A caller that shares a client's connections.
    pub fn with_client(client: reqwest::Client, url: &str, token: &str) -> Self {
        Self {
            client,
            url: url.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
        }
    }

    /// The same caller at another address: the server was started again.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self::with_client(self.client.clone(), url, &self.token)
    }

    /// The client, for whatever isn't a method.
    pub const fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Where the server is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Calls a method with JSON parameters. Errors are those of the connection; `{"ok":false}` is an answer.
    pub async fn call(&self, method: &str, parameters: &Value) -> Result<Value> {
        self.post(method, parameters, None).await
    }

    /// Like [`Api::call`], with an `Idempotency-Key`.
    pub async fn call_once(&self, method: &str, parameters: &Value, key: &str) -> Result<Value> {
        self.post(method, parameters, Some(key)).await
    }

    /// Moves the sandbox clock of this caller's account forward.
    pub async fn advance_clock(&self, seconds: i64) -> Result<Value> {
        self.call("sandbox/clock", &serde_json::json!({ "advance_seconds": seconds }))
            .await
    }

    async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Result<Value> {
        let mut request = self
            .client
            .post(format!("{}/{path}", self.url))
            .bearer_auth(&self.token)
            .json(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = request.send().await.with_context(|| path.to_owned())?;
        answer.json().await.with_context(|| format!("the answer of {path}"))
    }
}
