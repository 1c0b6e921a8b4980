//! A visit of the site without a browser: pages are asked for, cookies are kept, forms are sent, redirects are told and not
//! followed. For tests that look at what goes over the wire.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use reqwest::header::{ACCEPT, CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Method, StatusCode};

use super::html::{self, Form};

/// One browser's visit.
#[derive(Debug, Clone)]
pub struct Visit {
    client: reqwest::Client,
    url: String,
    cookies: BTreeMap<String, String>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The path with its query that was asked for.
    pub path: String,
    /// The status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, where it is text.
    pub body: String,
}

impl Answer {
    /// Whether it is a page.
    pub fn is_page(&self) -> bool {
        self.header(CONTENT_TYPE.as_str()).starts_with("text/html")
    }

    /// A header, empty where it isn't there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Where it leads to.
    pub fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    /// The page's forms.
    pub fn forms(&self) -> Vec<Form> {
        html::forms(&self.body, &self.path)
    }

    /// The page's form that sends to a path.
    pub fn form(&self, action: &str) -> Result<Form> {
        let form = self.forms().into_iter().find(|form| form.action == action);
        form.with_context(|| format!("{} has no form for {action}:\n{}", self.path, self.body))
    }
}

impl Form {
    /// The form with something typed into a field; a field that isn't there is an error.
    pub fn with(mut self, name: &str, value: &str) -> Result<Self> {
        let field = self.fields.iter_mut().find(|(own, _)| own == name);
        let (_, old) = field.with_context(|| format!("the form for {} has no field {name}", self.action))?;
        value.clone_into(old);
        Ok(self)
    }

    /// The form with a field in place of whatever has that name.
    #[must_use]
    pub fn forced(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(own, _)| own != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The form without a field.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(own, _)| own != name);
        self
    }
}

/// What this visitor calls itself: pages say it where they list who is signed in.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

impl Visit {
    /// A visit of the server at that URL.
    pub fn new(url: &str) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(std::time::Duration::from_secs(30))
            .no_proxy()
            .user_agent(BROWSER)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("an HTTP client")?;
        Ok(Self {
            client,
            url: url.trim_end_matches('/').to_owned(),
            cookies: BTreeMap::new(),
        })
    }

    /// Takes over a cookie.
    pub fn keep(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    /// The cookies that are kept.
    pub const fn cookies(&self) -> &BTreeMap<String, String> {
        &self.cookies
    }

    /// Asks for a page, or whatever is there.
    pub async fn get(&mut self, path: &str) -> Result<Answer> {
        // As a browser does: what isn’t a page is a program’s.
        let request = self
            .client
            .request(Method::GET, format!("{}{path}", self.url))
            .header(ACCEPT, "text/html,*/*;q=0.8");
        self.sent(path, request).await
    }

    /// Asks, and follows where it leads to on this site.
    pub async fn follow(&mut self, path: &str) -> Result<Answer> {
        let mut answer = self.get(path).await?;
        for _ in 0..5 {
            if !answer.status.is_redirection() {
                return Ok(answer);
            }
            let next = answer.location().to_owned();
            let next = next.strip_prefix(&self.url).unwrap_or(&next).to_owned();
            answer = self.get(&next).await?;
        }
        Err(anyhow::anyhow!("{path} leads on and on, lately to {}", answer.path))
    }

    /// Sends a form, as a browser does.
    pub async fn send(&mut self, form: &Form) -> Result<Answer> {
        let origin = self.url.clone();
        self.send_from(form, Some(&origin)).await
    }

    /// Sends a form from a page of another origin, or of none that is told.
    pub async fn send_from(&mut self, form: &Form, origin: Option<&str>) -> Result<Answer> {
        ensure!(form.method == "post", "the form for {} isn't posted", form.action);
        let mut request = self
            .client
            .request(Method::POST, format!("{}{}", self.url, form.action))
            .form(&form.fields);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        self.sent(&form.action, request).await
    }

    async fn sent(&mut self, path: &str, mut request: reqwest::RequestBuilder) -> Result<Answer> {
        if !self.cookies.is_empty() {
            let cookies: Vec<_> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        let mut answer = request.send().await.with_context(|| path.to_owned())?;
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap_or_default();
            let (pair, flags) = cookie.split_once(';').unwrap_or((cookie, ""));
            if let Some((name, value)) = pair.split_once('=') {
                if flags.contains("Max-Age=0") {
                    self.cookies.remove(name);
                } else {
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        let mut body = Vec::new();
        // A stream of events has no end: its headers are enough.
        let streams = answer
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind == "text/event-stream");
        if !streams {
            while let Some(chunk) = answer.chunk().await? {
                body.extend_from_slice(&chunk);
            }
        }
        Ok(Answer {
            path: path.to_owned(),
            status: answer.status(),
            headers: answer.headers().clone(),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}
