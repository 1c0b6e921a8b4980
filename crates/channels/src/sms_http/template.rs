//! A provider that the operator describes: how its requests look, what its answers mean, how it calls back. `pattern` fills values
//! into a request, escaped for their place; `verdict` judges answers; `calls` takes callbacks; `settings` reads all of that.

mod calls;
mod pattern;
mod settings;
mod verdict;

use std::time::Duration;

use countersign_core::Detail;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method};
use url::Url;

use super::{Outcome, Sending};
use crate::config::Secret;
use crate::{Finding, Verdict, http};
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
        let retry_after = answer.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|header| header.to_str().ok()?.parse().ok());
        match http::body(answer, MAX_ANSWER_BYTES).await {
            Ok(body) => self
                .judge
                .judge(status, retry_after.map(Duration::from_secs), &body, &sending.id),
            Err(reason) => Outcome::Failed(Detail::new(&format!("no whole answer: {reason}"))),
        }
    }

    /// Whether the provider's server answers at all. What more there is to try takes a message.
    pub(super) async fn examine(&self) -> Vec<Finding> {
        let origin = &self.origin;
        let answered = self.http.head(origin).timeout(self.timeout).send().await;
        let mut findings = vec![match answered {
            Ok(_) => Finding {
                verdict: Verdict::Well,
                found: format!(
                    "{origin} answers. Not tried, since that takes a message: the credentials, the template, and `from`."
                ),
                remedy: String::new(),
            },
            Err(error) => Finding {
                verdict: Verdict::Broken,
                found: format!("{origin} doesn’t answer: {}.", http::cause(error)),
                remedy: "Check url, this machine’s way to it (DNS, firewall, proxy), and its certificate.".to_owned(),
            },
        }];
        if origin.starts_with("http://") && !http::is_loopback_address(origin) {
            findings.push(Finding {
                verdict: Verdict::Warning,
                found: "The provider is called without TLS: credentials, numbers and codes travel in the clear."
                    .to_owned(),
                remedy: "Use the provider’s https address.".to_owned(),
            });
        }
        findings
    }
}
