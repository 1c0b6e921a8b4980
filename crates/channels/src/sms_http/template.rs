//! A provider that the operator describes: how its requests look, what its answers mean, how it calls back. `pattern` fills values
//! into a request, escaped for their place; `verdict` judges answers; `calls` takes callbacks; `settings` reads all of that.

mod calls;
mod pattern;
mod settings;
mod verdict;

use std::time::Duration;

use countersign_core::Detail;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use url::Url;

use super::{Outcome, Sending};
use crate::config::Secret;
use crate::{Finding, http};
use calls::Calls;
use pattern::{Pattern, Values};
use verdict::Judge;

/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

pub(super) struct Template {
    http: Client,
    method: Method,
    url: Pattern,
    headers: Vec<(HeaderName, Pattern)>,
    /// Basic authentication.
    user: Option<(String, Secret)>,
    body: Option<(Pattern, &'static str)>,
    from: String,
    secret: Option<Secret>,
    timeout: Duration,
    judge: Judge,
    /// `…/channels/NAME/status` as the provider reaches it.
    callback_url: String,
    calls: Option<Calls>,
    /// What is asked by `countersign doctor`: scheme and host alone.
    origin: String,
}

impl Template {
    /// Whether the provider tells what became of messages.
    pub(super) fn reports(&self) -> bool {
        self.calls.as_ref().is_some_and(|calls| calls.status.is_some())
    }

    /// Sends a message: once, whatever comes of it.
    pub(super) async fn send(&self, sending: &Sending<'_>) -> Outcome {
        let values = Values {
            to: sending.phone.to_string(),
            to_digits: sending.phone.digits().to_string(),
            text: sending.text,
            code: sending.code,
            from: &self.from,
            id: &sending.id,
            ttl: sending.life.as_secs().max(1).to_string(),
            callback_url: &self.callback_url,
            secret: self.secret.as_ref().map_or("", Secret::reveal),
        };
        // Parsed here: its error would hold the address, which may hold a secret.
        let Ok(url) = Url::parse(&self.url.fill(&values)) else {
            return Outcome::Refused(Detail::new("the address can’t be formed"));
        };
        let mut request = self.http.request(self.method.clone(), url).timeout(self.timeout);
        for (name, value) in &self.headers {
            let Ok(mut value) = HeaderValue::from_str(&value.fill(&values)) else {
                return Outcome::Refused(Detail::new("a header can’t be formed"));
            };
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        if let Some((user, password)) = &self.user {
            request = request.basic_auth(user, Some(password.reveal()));
        }
        if let Some((body, content_type)) = &self.body {
            request = request.header(CONTENT_TYPE, *content_type).body(body.fill(&values));
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Outcome::Failed(Detail::new(&format!("no answer: {}", http::cause(error)))),
        };
        let status = answer.status().as_u16();
        let retry_after = http::retry_after(&answer);
        match http::body(answer, MAX_ANSWER_BYTES).await {
            Ok(body) => self.judge.judge(status, retry_after, &body, sending),
            Err(reason) => Outcome::Failed(Detail::new(&format!("no whole answer: {reason}"))),
        }
    }

    /// Whether the provider's server answers at all. What more there is to try takes a message.
    pub(super) async fn examine(&self) -> Vec<Finding> {
        let origin = &self.origin;
        let answered = self.http.head(origin).timeout(self.timeout).send().await;
        let mut findings = vec![match answered {
            Ok(_) => Finding::well(format!(
                "{origin} answers. Not tried, since that takes a message: the credentials, the template, and `from`."
            )),
            Err(error) => Finding::broken(
                format!("{origin} doesn’t answer: {}.", http::cause(error)),
                "Check url, this machine’s way to it (DNS, firewall, proxy), and its certificate.",
            ),
        }];
        if http::is_unprotected(origin) {
            findings.push(Finding::warning(
                "The provider is called without TLS: credentials, numbers and codes travel in the clear.",
                "Use the provider’s https address.",
            ));
        }
        findings
    }
}
