//! `/account/api`: the tokens with their rotation, the addresses that may use them, a test of the callback, and the report of
//! a low balance. A token stands in the page only once its owner asked to see it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use countersign_core::{
    Action, ApiToken, CallbackUrl, Command, Credits, Grace, Limit, LowBalance, MAX_PURCHASE, PlainHttp, TokenKind,
};
use countersign_store::{Actor, Rotation, StoreError};

use super::api_page::{Page, PageParts, Typed};
use crate::allow_list::{AllowList, NoRange};
use crate::api::caller::address_of;
use crate::app::{App, Mode};
use crate::pace::Pace;
use crate::reports::ping::{self, Pings};
use crate::site::form::Form;
use crate::site::page::{self, PageError};
use crate::site::viewer::Viewer;
use crate::{clock, random};

/// How often an account's tokens may be shown: whoever has a stolen session finds no faster way than a person.
const SHOWN: Limit = Limit {
    count: 20,
    period_ms: 60_000,
};
/// Rotations and changes of what stands on the page: each is a commit of its own.
const CHANGED: Limit = Limit {
    count: 10,
    period_ms: 60_000,
};
/// Ranges that an owner may list: each call is compared with all of them.
const MAX_RANGES: usize = 256;
/// Entries of a text that are read at all: some may be left out for being inside of others.
const MAX_ENTRIES: usize = 4 * MAX_RANGES;

/// What was done, by the word in the redirect.
const DONE: [(&str, &str); 6] = [
    ("rotated", "The token was rotated. The old one is refused from now on."),
    (
        "rotated-later",
        "The token was rotated. The old one still works until its time is over.",
    ),
    ("grace-ended", "The old token is refused from now on."),
    ("addresses", "The addresses were saved."),
    ("low-balance", "The low-balance report is set."),
    ("low-balance-off", "No low-balance report is sent any more."),
];

/// How often the accounts of a server use this page.
struct Paces {
    shown: Pace,
    changed: Pace,
}

impl Default for Paces {
    fn default() -> Self {
        Self {
            shown: Pace::new(SHOWN),
            changed: Pace::new(CHANGED),
        }
    }
}

impl Paces {
    fn change(&self, viewer: &Viewer) -> Result<(), PageError> {
        let taken = self.changed.take(viewer.account.key.id, viewer.now);
        taken.map_err(|seconds| PageError::TooMany { seconds })
    }
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/account/api", get(show))
        .route("/account/api/rotate", post(rotate))
        .route("/account/api/end-grace", post(end_grace))
        .route("/account/api/addresses", post(set_addresses))
        .route("/account/api/ping", post(send_ping))
        .route("/account/api/low-balance", post(set_low_balance))
        .layer(Extension(Arc::<Paces>::default()))
}

/// The page's own path and no other: `?show=live` shows that token.
async fn show(
    State(app): State<Arc<App>>,
    Extension(paces): Extension<Arc<Paces>>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, PageError> {
    let (parts, _) = request.into_parts();
    let query = query.unwrap_or_default();
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "show");
    let shown = asked.and_then(|(_, kind)| kind_of(&kind));
    if let Some(kind) = shown {
        let taken = paces.shown.take(viewer.account.key.id, viewer.now);
        taken.map_err(|seconds| PageError::TooMany { seconds })?;
        let action = match kind {
            TokenKind::Live => "token shown",
            TokenKind::Test => "test-mode token shown",
        };
        // Nobody sees a token without leaving a trace.
        super::note(&app, viewer.account.key.id, action, viewer.now).await?;
    }
    let typed = Typed::of(&viewer.account);
    let mut page = build(&app, &viewer, &parts, shown, typed).await?;
    page.frame = page.frame.with_done(Some(&query), &DONE);
    page::html(&page)
}

async fn rotate(
    State(app): State<Arc<App>>,
    Extension(paces): Extension<Arc<Paces>>,
    viewer: Viewer,
    request: Request,
) -> Result<Response, PageError> {
    let (_, form) = read(&viewer, request).await?;
    let kind = kind_of(form.text("kind")).ok_or(PageError::BadForm)?;
    let grace = Grace::parse(form.text("grace")).ok_or(PageError::BadForm)?;
    paces.change(&viewer)?;
    let account = viewer.account.key;
    let rotation = Rotation {
        token: ApiToken::of_kind(kind, account.id, random::bytes()),
        grace,
        by: Actor::Owner,
        now: viewer.now,
    };
    app.site.rotate(account, rotation).await?;
    tracing::info!(account = %account.id, ?kind, grace = grace.name(), "owner: token rotated");
    Ok(page::see_other(match grace {
        Grace::None => "/account/api?done=rotated",
        _ => "/account/api?done=rotated-later",
    }))
}

async fn end_grace(
    State(app): State<Arc<App>>,
    Extension(paces): Extension<Arc<Paces>>,
    viewer: Viewer,
    request: Request,
) -> Result<Response, PageError> {
    let (_, form) = read(&viewer, request).await?;
    let kind = kind_of(form.text("kind")).ok_or(PageError::BadForm)?;
    paces.change(&viewer)?;
    app.site
        .end_grace(viewer.account.key, kind, Actor::Owner, viewer.now)
        .await?;
    Ok(page::see_other("/account/api?done=grace-ended"))
}

async fn set_addresses(
    State(app): State<Arc<App>>,
    Extension(paces): Extension<Arc<Paces>>,
    viewer: Viewer,
    request: Request,
) -> Result<Response, PageError> {
    let (parts, form) = read(&viewer, request).await?;
    let mut typed = Typed::of(&viewer.account);
    form.text("addresses").clone_into(&mut typed.addresses);
    let too_many = |count: usize| {
        Some(format!(
            "These are {count} ranges, and a list holds at most {MAX_RANGES}: join neighbours into larger ones."
        ))
    };
    let count = AllowList::entries(&typed.addresses).count();
    if count > MAX_ENTRIES {
        typed.addresses_problem = too_many(count);
        return again(&app, &viewer, &parts, typed).await;
    }
    let list = match AllowList::read_text(&typed.addresses) {
        Ok(list) if list.ranges.len() > MAX_RANGES => {
            typed.addresses_problem = too_many(list.ranges.len());
            return again(&app, &viewer, &parts, typed).await;
        }
        Ok(list) => list,
        Err(NoRange(shown)) => {
            typed.addresses_problem = Some(format!(
                "“{shown}” is no address and no range. Write it like 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32."
            ));
            return again(&app, &viewer, &parts, typed).await;
        }
    };
    let here = address_of(&parts, &app.settings);
    let locks_out = !here.is_some_and(|address: IpAddr| list.allows(address)) && !list.ranges.is_empty();
    if locks_out && !form.ticked("locks_out") {
        typed.locks_out = true;
        return again(&app, &viewer, &parts, typed).await;
    }
    paces.change(&viewer)?;
    let account = viewer.account.key;
    let count = list.ranges.len();
    app.store
        .set_allow_list(account, list.ranges.clone(), Actor::Owner)
        .await?;
    tracing::info!(account = %account.id, ranges = count, "owner: allow-list set");
    if list.notes.is_empty() {
        return Ok(page::see_other("/account/api?done=addresses"));
    }
    // What was made of the list is told once, beside the list.
    let mut saved = viewer.clone();
    saved.account.allow_list = list.ranges;
    let mut typed = Typed::of(&saved.account);
    typed.notes = list.notes;
    let mut page = build(&app, &saved, &parts, None, typed).await?;
    page.frame = page.frame.with_done(Some("done=addresses"), &DONE);
    page::html(&page)
}

async fn send_ping(
    State(app): State<Arc<App>>,
    Extension(pings): Extension<Arc<Pings>>,
    viewer: Viewer,
    request: Request,
) -> Result<Response, PageError> {
    let (parts, form) = read(&viewer, request).await?;
    let mut typed = Typed::of(&viewer.account);
    form.text("url").clone_into(&mut typed.ping_url);
    match ping::send(&app, &pings, viewer.account.key, &typed.ping_url).await {
        Ok(ping) => {
            typed.ping = Some(ping);
            let page = build(&app, &viewer, &parts, None, typed).await?;
            page::html(&page)
        }
        Err(refusal) => {
            typed.ping_problem = Some(sentence(refusal.sentence()));
            again(&app, &viewer, &parts, typed).await
        }
    }
}

async fn set_low_balance(
    State(app): State<Arc<App>>,
    Extension(paces): Extension<Arc<Paces>>,
    viewer: Viewer,
    request: Request,
) -> Result<Response, PageError> {
    let (parts, form) = read(&viewer, request).await?;
    let account = viewer.account.key;
    if form.ticked("off") {
        paces.change(&viewer)?;
        app.store.set_low_balance(account, None, Actor::Owner).await?;
        return Ok(page::see_other("/account/api?done=low-balance-off"));
    }
    let mut typed = Typed::of(&viewer.account);
    form.text("below").clone_into(&mut typed.below);
    form.text("url").clone_into(&mut typed.low_url);
    let below = Credits::parse(typed.below.trim_start_matches('$').trim()).ok();
    let below = below.filter(|below| *below > Credits::ZERO && *below <= MAX_PURCHASE);
    let plain_http = match app.mode {
        Mode::Sandbox => PlainHttp::Accepted,
        Mode::Production => PlainHttp::Refused,
    };
    let url = CallbackUrl::parse(&typed.low_url, plain_http);
    let (below, url) = match (below, url) {
        (Some(below), Some(url)) => (below, url),
        (below, url) => {
            if below.is_none() {
                typed.below_problem = Some("Name an amount above 0, like 5 or 12.50.".to_owned());
            }
            if url.is_none() {
                typed.low_url_problem = Some(
                    "This is no URL that a report can go to: write one like https://example.com/low-balance."
                        .to_owned(),
                );
            }
            return again(&app, &viewer, &parts, typed).await;
        }
    };
    let low_balance = LowBalance { below, url };
    // What was told already isn't told again for being saved again.
    if viewer.account.low_balance.as_ref() != Some(&low_balance) {
        paces.change(&viewer)?;
        app.store
            .set_low_balance(account, Some(low_balance), Actor::Owner)
            .await?;
        // Whatever is true of the balance now is seen by this command, which moves nothing else.
        let look = Command {
            now: clock::now(),
            token: None,
            idempotency: None,
            action: Action::Lapse,
        };
        let _ = app.store.submit(account, look).await?;
    }
    Ok(page::see_other("/account/api?done=low-balance"))
}

async fn read(viewer: &Viewer, request: Request) -> Result<(Parts, Form), PageError> {
    let (parts, body) = request.into_parts();
    let form = Form::read(&parts.headers, body, &viewer.csrf).await?;
    Ok((parts, form))
}

/// The page with what was typed, and what is wrong with it.
async fn again(app: &App, viewer: &Viewer, parts: &Parts, typed: Typed) -> Result<Response, PageError> {
    let page = build(app, viewer, parts, None, typed).await?;
    page::html_with(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

async fn build(
    app: &App,
    viewer: &Viewer,
    parts: &Parts,
    shown: Option<TokenKind>,
    typed: Typed,
) -> Result<Page, StoreError> {
    let account = viewer.account.key;
    let fresh = ApiToken::of_kind(TokenKind::Test, account.id, random::bytes());
    let facts = PageParts {
        live: app.store.token(account).await?,
        test: app.site.test_token(account, fresh, viewer.now).await?,
        tokens: app.site.tokens(account).await?,
        here: address_of(parts, &app.settings),
        shown,
    };
    Ok(Page::new(app, viewer, parts, &facts, typed))
}

fn kind_of(word: &str) -> Option<TokenKind> {
    match word {
        "live" => Some(TokenKind::Live),
        "test" => Some(TokenKind::Test),
        _ => None,
    }
}

/// A sentence of the API as a page says it: with a capital, an end, and without the API's quotes.
fn sentence(text: &str) -> String {
    let plain = text.replace('`', "");
    let mut letters = plain.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}
