//! The site as tests and pictures need it: signed in ([`owner`], [`operator`]), filled with what happens in a month
//! ([`demo`]), asked without a browser ([`Visit`]), and walked through link by link ([`walk`]), so that no page is forgotten.

pub mod demo;
pub mod html;
mod visit;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;

use crate::browser::Browser;
use crate::server::Server;

pub use visit::{Answer, Visit};

/// The number that owns the sandbox's first account.
pub const OWNER: &str = "+9996600000";

/// A page that the walk came to.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its path without what differs from one account, request or order to the next: `/account/messages/{}`.
    pub shape: String,
    /// Where the walk found it first.
    pub path: String,
    /// The page that led there.
    pub from: String,
}

/// Pages that are named by what they show: one of a kind is enough.
const NAMED: [&str; 10] = [
    "/account/messages/",
    "/account/balance/orders/",
    "/account/orders/",
    "/account/balance/statements/",
    "/account/senders/",
    "/account/reports/",
    "/operator/accounts/",
    "/operator/orders/",
    "/operator/senders/",
    "/operator/prices/",
];

fn shape_of(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    for named in NAMED {
        if let Some(rest) = path.strip_prefix(named).filter(|rest| !rest.is_empty()) {
            // A word of the site's own, like `new`, is no name of a thing.
            let (name, after) = rest.split_once('/').map_or((rest, ""), |(name, after)| (name, after));
            let is_word = name.len() < 12 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            if is_word && named != "/operator/senders/" && named != "/account/senders/" {
                return path.to_owned();
            }
            return if after.is_empty() {
                format!("{named}{{}}")
            } else {
                format!("{named}{{}}/{after}")
            };
        }
    }
    path.to_owned()
}

/// Signs the sandbox's owner in: by the link of one use that the operator's command line makes.
pub async fn owner(server: &Server) -> Result<Visit> {
    let mut visit = Visit::new(server.api_url())?;
    let answer = visit.follow(&login_link(server, OWNER)?).await?;
    ensure!(answer.status == StatusCode::OK, "the login link answered {answer:?}");
    // A link may be opened by whatever looks ahead, so it asks once.
    if let Some(form) = answer
        .forms()
        .into_iter()
        .find(|form| form.action.starts_with("/login"))
    {
        let sent = visit.send(&form).await?;
        ensure!(
            sent.status == StatusCode::SEE_OTHER,
            "the login link’s form answered {sent:?}"
        );
    }
    Ok(visit)
}

/// A link that signs an owner in, once: its path.
pub fn login_link(server: &Server, phone: &str) -> Result<String> {
    let made = server.cli_json(["account", "login-link", phone])?;
    let link = made["url"].as_str().with_context(|| format!("a link: {made}"))?;
    let path = link.splitn(4, '/').nth(3).with_context(|| link.to_owned())?;
    Ok(format!("/{path}"))
}

/// Signs the operator in, with the key that lies in the data directory.
pub async fn operator(server: &Server) -> Result<Visit> {
    let mut visit = Visit::new(server.api_url())?;
    let form = visit.get("/operator/login").await?.form("/operator/login")?;
    let sent = visit.send(&form.with("key", &operator_key(server)?)?).await?;
    ensure!(
        sent.status == StatusCode::SEE_OTHER,
        "the operator’s login answered {sent:?}"
    );
    Ok(visit)
}

/// The operator's key.
pub fn operator_key(server: &Server) -> Result<String> {
    let file = server.data_dir().join("operator.key");
    let key = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(key.trim().to_owned())
}

/// Hands a visit's cookies to a browser that is at a page of the site.
pub async fn lend(visit: &Visit, browser: &Browser, url: &str) -> Result<()> {
    for (name, value) in visit.cookies() {
        let cookie = serde_json::json!({ "name": name, "value": value, "url": url, "httpOnly": true });
        browser.devtools("Network.setCookie", cookie).await?;
    }
    Ok(())
}

/// What a walk came by.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// One page of each shape, in the order of their shapes.
    pub pages: Vec<Page>,
    /// Links that lead nowhere: to what, from where, and what was answered.
    pub dead: Vec<String>,
}

/// Follows every link from some pages on.
pub async fn walk(visit: &mut Visit, starts: &[&str]) -> Result<Walk> {
    let mut found = BTreeMap::new();
    let mut dead = Vec::new();
    let mut asked = BTreeSet::new();
    let mut waiting: VecDeque<(String, String)> = starts
        .iter()
        .map(|start| ((*start).to_owned(), "the start".to_owned()))
        .collect();
    while let Some((path, from)) = waiting.pop_front() {
        let shape = shape_of(&path);
        // A page's filters and its further pages are the same page.
        if !asked.insert(shape.clone()) {
            continue;
        }
        let answer = visit.follow(&path).await?;
        if answer.status != StatusCode::OK {
            dead.push(format!("{path}, to which {from} leads, answered {}", answer.status));
            continue;
        }
        if !answer.is_page() {
            continue;
        }
        for link in html::links(&answer.body) {
            waiting.push_back((link, path.clone()));
        }
        let shape = shape_of(&answer.path);
        asked.insert(shape.clone());
        found.entry(shape.clone()).or_insert(Page {
            shape,
            path: answer.path,
            from,
        });
    }
    Ok(Walk {
        pages: found.into_values().collect(),
        dead,
    })
}
