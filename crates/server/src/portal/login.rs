//! `/login`: a phone number, the wait for its holder's answer, links that sign in once, and signing out. What begins and
//! answers a sign-in is in `login/`; these are its pages. They are the same for every number.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use countersign_core::{AccountId, AccountKey, ApiToken, PhoneNumber, Timestamp};
use countersign_store::{
    Actor, LoginAttempt, LoginEntry, LoginState, LoginToken, MAX_LOGIN_TRIES, NewAccount, SessionOwner, StoreError,
};
use futures_util::stream;

use crate::app::App;
use crate::login::{self, ATTEMPT_LIFE_MS, LoginDesk, Waiting};
use crate::site::asker::Asker;
use crate::site::cookies::Cookie;
use crate::site::csrf;
use crate::site::form::Form;
use crate::site::format::{self, When};
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::sign_in::{self, next_of, set_cookie, with_next, with_visit};
use crate::site::viewer::{Newcomer, Visitor};
use crate::{clock, random};

/// A comment goes out this often on a quiet stream, below the usual time-outs of proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    /// Where the form goes, with where to go on afterwards.
    action: String,
    /// Whether anybody can be asked at all.
    has_channel: bool,
    sign_up: bool,
    phone: String,
    problem: Option<&'static str>,
    done: Option<&'static str>,
    /// A number to try, in the sandbox.
    example: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "login_wait.html")]
struct WaitPage {
    frame: Frame,
    phone: String,
    device: String,
    address: String,
    until: When,
    action: String,
    events: String,
    again: String,
    /// The number's inbox, in the sandbox.
    inbox: Option<String>,
    problem: Option<String>,
}

/// The end of a way that leads nowhere: what happened, and where to begin again.
#[derive(Template)]
#[template(path = "login_over.html")]
struct OverPage {
    frame: Frame,
    heading: &'static str,
    text: &'static str,
    again: String,
}

#[derive(Template)]
#[template(path = "login_link.html")]
struct LinkPage {
    frame: Frame,
    action: String,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/login", get(login).post(begin))
        .route("/login/wait", get(wait).post(enter))
        .route("/login/events", get(events))
        .route("/login/link/{token}", get(link).post(use_link))
        .route("/logout", post(logout))
}

fn login_page(
    app: &App,
    visitor: &Visitor,
    query: Option<&str>,
    phone: &str,
    problem: Option<&'static str>,
) -> LoginPage {
    LoginPage {
        frame: Frame::public(app, visitor, "Sign in", "/login"),
        action: with_next("/login", &next_of(query)),
        has_channel: app.routes.can_ask(),
        sign_up: app.settings.site.sign_up,
        phone: phone.to_owned(),
        problem,
        done: match query {
            Some("done=out") => Some("You are signed out."),
            Some("done=closed") => Some("Your account is closed."),
            _ => None,
        },
        example: (app.mode == crate::Mode::Sandbox).then_some("+999 660 0000"),
    }
}

async fn login(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    if visitor.signed_in.is_some() {
        return Ok(page::see_other(&next_of(query.as_deref())));
    }
    let response = page::html(&login_page(&app, &visitor, query.as_deref(), "", None))?;
    Ok(with_visit(response, &app, visitor.cookie.as_deref()))
}

async fn begin(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    asker: Asker,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &visitor.csrf).await?;
    let typed = form.text("phone");
    let query = query.as_deref();
    let Some(phone) = login::typed_phone(typed, app.mode) else {
        let problem = "This is no possible phone number. Write it in international form, like +39 123 456 7890.";
        let page = login_page(&app, &visitor, query, typed, Some(problem));
        return page::html_with(StatusCode::UNPROCESSABLE_ENTITY, &page);
    };
    let token = login::begin(&app, phone, &asker, clock::now()).await?;
    let mut response = page::see_other(&with_next("/login/wait", &next_of(query)));
    let value = csrf::written(&token.0);
    set_cookie(&mut response, &app, Cookie::Login, &value, ATTEMPT_LIFE_MS / 1_000);
    Ok(response)
}

fn token_of(headers: &HeaderMap, app: &App) -> Option<LoginToken> {
    let text = Cookie::Login.read(headers, &app.settings)?;
    csrf::secret(&text).map(LoginToken)
}

async fn wait(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    asker: Asker,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let next = next_of(query.as_deref());
    let token = token_of(&headers, &app);
    let attempt = match &token {
        Some(token) => app.site.login(token, clock::now()).await?,
        None => None,
    };
    match (attempt, token) {
        (Some(attempt), Some(token)) if attempt.state == LoginState::Confirmed => {
            finish(&app, &visitor, token, &asker, &next).await
        }
        (Some(attempt), _) if attempt.state == LoginState::Pending => {
            let response = page::html(&wait_page(&app, &visitor, &attempt, &next, None))?;
            Ok(with_visit(response, &app, visitor.cookie.as_deref()))
        }
        (Some(attempt), _) if attempt.state == LoginState::Refused => over(&app, &visitor, &next, refused(&attempt)),
        _ if visitor.signed_in.is_some() => Ok(page::see_other(&next)),
        _ => over(&app, &visitor, &next, TIME_OVER),
    }
}

fn wait_page(app: &App, visitor: &Visitor, attempt: &LoginAttempt, next: &str, problem: Option<String>) -> WaitPage {
    let inbox = app.inbox.as_ref();
    WaitPage {
        frame: Frame::public(app, visitor, "Confirm on your phone", "/login"),
        phone: format::phone(attempt.phone),
        device: attempt.device.clone(),
        address: attempt.address.clone(),
        until: When::new(attempt.expires_at, visitor.now, &visitor.zone),
        action: with_next("/login/wait", next),
        events: with_next("/login/events", next),
        again: with_next("/login", next),
        inbox: inbox.map(|_| format!("/inbox?phone=%2B{}#newest", attempt.phone.digits())),
        problem,
    }
}

/// Why a way ended: a heading and what to do now.
type Ending = (&'static str, &'static str);

const TIME_OVER: Ending = (
    "This sign-in is over",
    "It was used, its ten minutes have passed, or it was begun in another browser. Begin again: it takes a minute.",
);
const LINK_OVER: Ending = (
    "This link is over",
    "A link signs in once, within 15 minutes. Ask the operator of this server for another one.",
);

fn refused(attempt: &LoginAttempt) -> Ending {
    if attempt.wrong_tries >= MAX_LOGIN_TRIES {
        return (
            "Too many wrong codes",
            "Nobody was signed in. Begin again: you get a new code.",
        );
    }
    (
        "The phone’s holder said: it wasn’t me",
        "Nobody was signed in, and nobody is asked again for this number for an hour. If it is your own number and you \
         pressed the wrong button, come back then.",
    )
}

fn over(app: &App, visitor: &Visitor, next: &str, (heading, text): Ending) -> Result<Response, PageError> {
    let status = if heading == LINK_OVER.0 {
        StatusCode::GONE
    } else {
        StatusCode::OK
    };
    let page = OverPage {
        frame: Frame::public(app, visitor, heading, "/login"),
        heading,
        text,
        again: with_next("/login", next),
    };
    let mut response = page::html_with(status, &page)?;
    set_cookie(&mut response, app, Cookie::Login, "", 0);
    Ok(response)
}

async fn enter(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    asker: Asker,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &visitor.csrf).await?;
    let next = next_of(query.as_deref());
    let waiting_page = with_next("/login/wait", &next);
    let Some(token) = token_of(&headers, &app) else {
        return Ok(page::see_other(&waiting_page));
    };
    let typed: String = form.text("code").chars().filter(|sign| !sign.is_whitespace()).collect();
    let problem = if typed.len() == 6 && typed.bytes().all(|byte| byte.is_ascii_digit()) {
        match login::enter_code(&app, token.clone(), &typed, &asker, clock::now()).await? {
            LoginEntry::Right => return finish(&app, &visitor, token, &asker, &next).await,
            LoginEntry::Over | LoginEntry::Wrong { left: 0 } => return Ok(page::see_other(&waiting_page)),
            LoginEntry::Wrong { left: 1 } => "This code is wrong. You have one more try.".to_owned(),
            LoginEntry::Wrong { left } => format!("This code is wrong. You have {left} more tries."),
        }
    } else {
        // Costs no try: it can't have been meant.
        "The code has six digits; it stands in the message.".to_owned()
    };
    let Some(attempt) = app.site.login(&token, clock::now()).await? else {
        return Ok(page::see_other(&waiting_page));
    };
    let page = wait_page(&app, &visitor, &attempt, &next, Some(problem));
    page::html_with(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

/// Uses up a confirmed attempt: opens the account's session, or makes the account first.
async fn finish(
    app: &App,
    visitor: &Visitor,
    token: LoginToken,
    asker: &Asker,
    next: &str,
) -> Result<Response, PageError> {
    let now = clock::now();
    let Some(phone) = app.site.take_login(token, now).await? else {
        return over(app, visitor, next, TIME_OVER);
    };
    let Some(account) = account_of(app, phone, now).await? else {
        return over(app, visitor, next, TIME_OVER);
    };
    sign_in::open(app, SessionOwner::Account(account), asker, next, now).await
}

async fn account_of(app: &App, phone: PhoneNumber, now: Timestamp) -> Result<Option<AccountKey>, StoreError> {
    if let Some(account) = open_account(app, phone).await? {
        return Ok(Some(account));
    }
    if !app.settings.site.sign_up {
        return Ok(None);
    }
    let id = AccountId::from_entropy(u64::from_ne_bytes(random::bytes()));
    let new = NewAccount {
        key: AccountKey::of_new(id),
        token: ApiToken::new(id, random::bytes()),
        // Until the owner says how it is called, with the next page.
        name: format::phone(phone),
        phone,
        now,
    };
    match app.store.create_account(new, Actor::Owner).await {
        Ok(account) => {
            tracing::info!(account = %account.key.id, phone = ?phone, "an account signed up");
            Ok(Some(account.key))
        }
        // Another browser signed up with the same number meanwhile.
        Err(StoreError::Conflict(_)) => open_account(app, phone).await,
        Err(error) => Err(error),
    }
}

async fn open_account(app: &App, phone: PhoneNumber) -> Result<Option<AccountKey>, StoreError> {
    let account = app.store.account_of_phone(phone).await?;
    Ok(account
        .filter(|account| account.closed_at.is_none())
        .map(|account| account.key))
}

/// `GET /login/events`: tells the waiting page to go on, once its attempt is answered or over.
async fn events(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let Some(token) = token_of(&headers, &app) else {
        return Err(PageError::NotFound("sign-in"));
    };
    let Some(waiting) = LoginDesk::wait(&app, &token) else {
        return Err(PageError::TooMany { seconds: 60 });
    };
    let page = with_next("/login/wait", &next_of(query.as_deref()));
    let events = stream::unfold(Some((app, token, waiting)), move |open| {
        let page = page.clone();
        async move {
            let (app, token, mut waiting) = open?;
            let left = wait_for_answer(&app, &token, &mut waiting).await;
            let event = left.then(|| Event::default().event("leave").data(page))?;
            Some((Ok::<_, Infallible>(event), None))
        }
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("open");
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// `true` once the waiting page has something else to show; `false` at the server's end.
async fn wait_for_answer(app: &App, token: &LoginToken, waiting: &mut Waiting) -> bool {
    let mut draining = app.draining.clone();
    loop {
        let now = clock::now();
        let left_ms = match app.site.login(token, now).await {
            Ok(Some(attempt)) if attempt.state == LoginState::Pending => attempt.expires_at.millis() - now.millis(),
            Ok(_) => return true,
            // The page has a button for that.
            Err(_) => return false,
        };
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or_default() + 1);
        tokio::select! {
            _ = draining.wait_for(|draining| *draining) => return false,
            () = waiting.answered() => {}
            () = tokio::time::sleep(left) => {}
        }
    }
}

/// `GET /login/link/TOKEN`: only asks. Programs that fetch links to preview them use none up.
async fn link(State(app): State<Arc<App>>, visitor: Visitor, Path(text): Path<String>) -> Result<Response, PageError> {
    let stands = match csrf::secret(&text) {
        Some(secret) => app.site.login_link(&LoginToken(secret), clock::now()).await?,
        None => false,
    };
    if !stands {
        return over(&app, &visitor, "/account", LINK_OVER);
    }
    let page = LinkPage {
        frame: Frame::public(&app, &visitor, "Sign in", "/login"),
        action: format!("/login/link/{text}"),
    };
    Ok(with_visit(page::html(&page)?, &app, visitor.cookie.as_deref()))
}

async fn use_link(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    asker: Asker,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    Form::read(&headers, body, &visitor.csrf).await?;
    let now = clock::now();
    login::count_guess(&app, &asker, now).await?;
    let account = match csrf::secret(&text) {
        Some(secret) => app.site.take_login_link(LoginToken(secret), now).await?,
        None => None,
    };
    match account {
        Some(account) => sign_in::open(&app, SessionOwner::Account(account), &asker, "/account", now).await,
        None => over(&app, &visitor, "/account", LINK_OVER),
    }
}

/// `POST /logout`.
async fn logout(
    State(app): State<Arc<App>>,
    Newcomer(viewer): Newcomer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    Form::read(&headers, body, &viewer.csrf).await?;
    app.site.end_session(viewer.session.owner, viewer.session.id).await?;
    super::note(&app, viewer.account.key.id, "signed out", viewer.now).await?;
    let mut response = page::see_other("/login?done=out");
    set_cookie(&mut response, &app, Cookie::Session, "", 0);
    Ok(response)
}
