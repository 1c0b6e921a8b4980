//! What goes over the wire with every page and every form of the site: headers, cookies, and what is refused. Pages and forms are
//! found by following links, so that a new one is held to the same.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::site::demo::{self, Demo};
use countersign_e2e::site::html::Form;
use countersign_e2e::site::{self, Answer, Visit, Walk};
use countersign_e2e::{Options, Server};
use reqwest::StatusCode;

/// Where each kind of viewer begins.
const STARTS: [&[&str]; 3] = [&["/", "/login", "/terms"], &["/account"], &["/operator"]];

/// A server with something on each of its pages.
async fn filled() -> Result<Server> {
    let server = Server::start(Options::default())?;
    let happened = Demo {
        requests: 20,
        days: 2,
        callback_url: None,
        lost_callback_url: None,
    };
    demo::happen(&server, &server.api()?, &happened).await?;
    Ok(server)
}

/// Nobody, the owner, and the operator.
async fn viewers(server: &Server) -> Result<[Visit; 3]> {
    Ok([
        Visit::new(server.api_url())?,
        site::owner(server).await?,
        site::operator(server).await?,
    ])
}

fn wrong_headers(answer: &Answer) -> Vec<String> {
    let mut wrong = Vec::new();
    let policy = answer.header("content-security-policy");
    let directives: BTreeMap<_, _> = policy
        .split(';')
        .filter_map(|directive| directive.trim().split_once(' '))
        .collect();
    for (directive, wanted) in [
        ("default-src", "'none'"),
        ("script-src", "'self'"),
        ("style-src", "'self'"),
        ("form-action", "'self'"),
        ("base-uri", "'none'"),
        ("frame-ancestors", "'none'"),
    ] {
        if directives.get(directive) != Some(&wanted) {
            wrong.push(format!("{directive} is {:?}", directives.get(directive)));
        }
    }
    if policy.contains("unsafe") || policy.contains('*') || policy.contains("http") {
        wrong.push(format!("the policy lets too much in: {policy}"));
    }
    for (header, wanted) in [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        if answer.header(header) != wanted {
            wrong.push(format!("{header} is “{}”", answer.header(header)));
        }
    }
    wrong
        .into_iter()
        .map(|what| format!("{} ({}): {what}", answer.path, answer.status))
        .collect()
}

#[tokio::test]
async fn every_page_forbids_what_it_does_not_need() -> Result<()> {
    let server = filled().await?;
    let mut wrong = Vec::new();
    for (mut visit, starts) in viewers(&server).await?.into_iter().zip(STARTS) {
        let Walk { pages, .. } = site::walk(&mut visit, starts).await?;
        for page in pages {
            // The inbox has a policy of its own, with its own test.
            if page.path.starts_with("/inbox") {
                continue;
            }
            let answer = visit.get(&page.path).await?;
            if !answer.path.starts_with("/docs") && !matches!(&*answer.path, "/" | "/terms") {
                wrong.extend(wrong_headers(&answer));
                continue;
            }
            // What is the same for everybody may be kept.
            wrong.extend(
                wrong_headers(&answer)
                    .into_iter()
                    .filter(|what| !what.contains("cache-control")),
            );
        }
        // What is no page: an error, a redirect, a stale form.
        for path in [
            "/account/no-such-page",
            "/account/messages/none",
            "/operator/accounts/1",
            "/login/wait",
        ] {
            wrong.extend(wrong_headers(&visit.get(path).await?));
        }
    }
    ensure!(wrong.is_empty(), "{} mistakes:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// Every form that a viewer finds, by where it sends to.
async fn forms_of(visit: &mut Visit, starts: &[&str]) -> Result<BTreeMap<String, Form>> {
    let mut forms = BTreeMap::new();
    for page in site::walk(visit, starts).await?.pages {
        let answer = visit.get(&page.path).await?;
        for form in answer.forms().into_iter().filter(|form| form.method == "post") {
            forms.entry(form.action.clone()).or_insert(form);
        }
    }
    // The inbox belongs to whoever holds the phone: it has no session, and its own guard.
    forms.retain(|action, _| !action.starts_with("/inbox"));
    Ok(forms)
}

/// What an account's owner and the operator see, without what moves by itself.
fn seen(server: &Server) -> Result<String> {
    let account = server.cli_json(["account", "show", site::OWNER])?;
    let token = server.cli_json(["token", "show", site::OWNER])?;
    let senders = server.cli_json(["sender", "list"])?;
    let prices = server.cli_json(["price", "list"])?;
    Ok(format!("{account}\n{token}\n{senders}\n{prices}"))
}

#[tokio::test]
async fn no_form_is_taken_that_was_not_ours() -> Result<()> {
    let server = filled().await?;
    let before = seen(&server)?;
    let strangers_csrf = Visit::new(server.api_url())?
        .get("/login")
        .await?
        .form("/login")?
        .fields
        .into_iter()
        .find(|(name, _)| name == "csrf")
        .map(|(_, value)| value)
        .context("a token in the form")?;
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (mut visit, starts) in viewers(&server).await?.into_iter().zip(STARTS) {
        for (action, form) in forms_of(&mut visit, starts).await? {
            let has_token = form.fields.iter().any(|(name, _)| name == "csrf");
            ensure!(has_token, "the form for {action} has no token");
            for (what, forged) in [
                ("no token", form.clone().without("csrf")),
                ("an empty token", form.clone().forced("csrf", "")),
                ("another visit’s token", form.clone().forced("csrf", &strangers_csrf)),
            ] {
                let answer = visit.send(&forged).await?;
                tried += 1;
                if answer.status != StatusCode::FORBIDDEN {
                    wrong.push(format!("{action} with {what}: {}", answer.status));
                }
            }
            for origin in ["https://evil.example", "null"] {
                let answer = visit.send_from(&form, Some(origin)).await?;
                tried += 1;
                if answer.status != StatusCode::FORBIDDEN {
                    wrong.push(format!("{action} from {origin}: {}", answer.status));
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{} mistakes:\n{}", wrong.len(), wrong.join("\n"));
    // So many there were when this was written; a walk that finds fewer finds nothing.
    ensure!(tried >= 5 * 20, "only {tried} forms were tried");
    let after = seen(&server)?;
    ensure!(before == after, "something was changed:\n{before}\n{after}");
    Ok(())
}

#[tokio::test]
async fn pages_of_one_are_not_shown_to_another() -> Result<()> {
    let server = filled().await?;
    let [mut nobody, mut owner, mut operator] = viewers(&server).await?;
    for page in site::walk(&mut owner, &["/account"]).await?.pages {
        if !page.path.starts_with("/account") {
            continue;
        }
        for other in [&mut nobody, &mut operator] {
            let answer = other.get(&page.path).await?;
            ensure!(
                answer.location().starts_with("/login?"),
                "{}: {}",
                page.path,
                answer.status
            );
        }
    }
    for page in site::walk(&mut operator, &["/operator"]).await?.pages {
        if !page.path.starts_with("/operator") || page.path == "/operator/login" {
            continue;
        }
        for other in [&mut nobody, &mut owner] {
            let answer = other.get(&page.path).await?;
            ensure!(
                answer.location() == "/operator/login",
                "{}: {}",
                page.path,
                answer.status
            );
        }
    }
    Ok(())
}

/// Cookies that an answer set: name to the rest.
fn set_cookies(answer: &Answer) -> BTreeMap<String, String> {
    answer
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|cookie| cookie.to_str().ok())
        .filter_map(|cookie| cookie.split_once('='))
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

/// The answers that sign an owner and the operator in.
async fn sign_ins(server: &Server, planted: Option<(&str, &str)>) -> Result<[Answer; 2]> {
    let mut visit = Visit::new(server.api_url())?;
    if let Some((name, value)) = planted {
        visit.keep(name, value);
    }
    let path = site::login_link(server, site::OWNER)?;
    let form = visit.get(&path).await?.form(&path)?;
    let owner = visit.send(&form).await?;
    let form = visit.get("/operator/login").await?.form("/operator/login")?;
    let form = form.with("key", &site::operator_key(server)?)?;
    let operator = visit.send(&form).await?;
    Ok([owner, operator])
}

#[tokio::test]
async fn cookies_are_for_this_host_and_for_no_script() -> Result<()> {
    let plain = Server::start(Options::default())?;
    let scratch = tempfile::TempDir::new()?;
    let config = scratch.path().join("countersign.toml");
    std::fs::write(&config, "[server]\nbehind_proxy = true\n")?;
    let behind_tls = Server::start(Options {
        args: vec!["--config".to_owned(), config.display().to_string()],
        ..Options::default()
    })?;
    for (server, is_secure) in [(&plain, false), (&behind_tls, true)] {
        let mut names = Vec::new();
        for answer in sign_ins(server, None).await? {
            for (name, rest) in set_cookies(&answer) {
                for flag in ["Path=/", "HttpOnly", "SameSite=Lax"] {
                    ensure!(rest.contains(flag), "{name} lacks {flag}: {rest}");
                }
                ensure!(!rest.contains("Domain"), "{name} is for other hosts, too: {rest}");
                ensure!(rest.contains("; Secure") == is_secure, "{name}: {rest}");
                ensure!(name.starts_with("__Host-") == is_secure, "{name}");
                names.push(name);
            }
        }
        for kind in ["countersign-session", "countersign-operator"] {
            ensure!(
                names.iter().any(|name| name.ends_with(kind)),
                "no {kind} among {names:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_was_planted_before_the_sign_in_opens_nothing_after_it() -> Result<()> {
    let server = Server::start(Options::default())?;
    let planted = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let [answer, _] = sign_ins(&server, Some(("countersign-session", planted))).await?;
    let cookies = set_cookies(&answer);
    let session = cookies.get("countersign-session").context("a session")?;
    ensure!(!session.starts_with(planted), "the planted session was taken over");
    let mut thief = Visit::new(server.api_url())?;
    thief.keep("countersign-session", planted);
    let answer = thief.get("/account").await?;
    ensure!(
        answer.location().starts_with("/login"),
        "the planted session opens {}",
        answer.path
    );
    Ok(())
}
