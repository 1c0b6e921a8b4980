//! `/operator/login`: the operator key begins a session of the console, apart from any account's. Wrong keys are few a minute,
//! from one network and in all.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use countersign_core::{Limit, Timestamp};
use countersign_store::{NewSession, SessionOwner, SessionToken};

use crate::app::App;
use crate::login::Network;
use crate::operator::note;
use crate::pace::Pace;
use crate::random;
use crate::site::asker::Asker;
use crate::site::cookies::Cookie;
use crate::site::csrf;
use crate::site::form::Form;
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::viewer::{OperatorViewer, Visitor};

/// How long a session stands: a working day, and no night.
const SESSION_SECONDS: i64 = 12 * 3600;
/// A visit's cookie, for the form's CSRF token.
const VISIT_SECONDS: i64 = 3600;
/// Tries from one network. The key has 256 bits: this keeps the log readable rather than guesses away.
const OF_A_NETWORK: Limit = Limit {
    count: 5,
    period_ms: 60_000,
};
/// Tries in all, from however many networks: a botnet must not fill the log either.
const IN_ALL: Limit = Limit {
    count: 30,
    period_ms: 60_000,
};

/// The tries of this process.
struct Tries {
    of_a_network: Pace<Option<Network>>,
    in_all: Pace<()>,
}

impl Tries {
    fn take(&self, asker: &Asker, now: Timestamp) -> Result<(), PageError> {
        let network = asker.address.map(Network::of);
        // The network's first: one that tries without end doesn't use up what is for all.
        let wait = self
            .of_a_network
            .take(network, now)
            .and_then(|()| self.in_all.take((), now));
        wait.map_err(|seconds| PageError::TooMany { seconds })
    }
}

#[derive(Template)]
#[template(path = "operator_login.html")]
struct LoginPage {
    frame: Frame,
    problem: Option<&'static str>,
}

pub(super) fn router() -> Router<Arc<App>> {
    let tries = Arc::new(Tries {
        of_a_network: Pace::new(OF_A_NETWORK),
        in_all: Pace::new(IN_ALL),
    });
    Router::new()
        .route("/operator/login", get(login).post(sign_in))
        .route("/operator/logout", post(sign_out))
        .layer(Extension(tries))
}

async fn login(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    operator: Result<OperatorViewer, PageError>,
) -> Result<Response, PageError> {
    if operator.is_ok() {
        return Ok(page::see_other("/operator"));
    }
    shown(&app, &visitor, None, StatusCode::OK)
}

fn shown(
    app: &App,
    visitor: &Visitor,
    problem: Option<&'static str>,
    status: StatusCode,
) -> Result<Response, PageError> {
    let page = LoginPage {
        frame: Frame::public(app, visitor, "Operator sign-in", "/operator/login"),
        problem,
    };
    let mut response = page::html_with(status, &page)?;
    let cookie = visitor.cookie.as_ref();
    if let Some(cookie) = cookie.and_then(|cookie| Cookie::Visit.set(cookie, VISIT_SECONDS, &app.settings)) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn sign_in(
    State(app): State<Arc<App>>,
    Extension(tries): Extension<Arc<Tries>>,
    visitor: Visitor,
    asker: Asker,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &visitor.csrf).await?;
    tries.take(&asker, visitor.now)?;
    if !app.operator_key.matches(form.text("key")) {
        tracing::warn!(address = %asker.address_text(), "a wrong operator key was refused at the console");
        let problem = "This is not the operator key. It is the one line of the file operator.key in the server’s data \
                       directory, unless --operator-key-file names another.";
        return shown(&app, &visitor, Some(problem), StatusCode::UNPROCESSABLE_ENTITY);
    }
    // A new secret for the session: what a browser had before it signed in opens nothing.
    let secret = random::bytes::<32>();
    let address = asker.address_text();
    let session = NewSession {
        token: SessionToken(secret),
        id: i64::from_ne_bytes(random::bytes()),
        owner: SessionOwner::Operator,
        device: asker.device.clone(),
        address: address.clone(),
        now: visitor.now,
        life_ms: SESSION_SECONDS * 1000,
    };
    app.site.begin_session(session).await?;
    note(
        &app,
        "signed in",
        "console",
        &format!("{} from {address}", asker.device),
    )
    .await?;
    tracing::info!(%address, "operator: signed in at the console");
    let mut response = page::see_other("/operator");
    if let Some(cookie) = Cookie::Operator.set(&csrf::written(&secret), SESSION_SECONDS, &app.settings) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn sign_out(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    Form::read(&headers, body, &viewer.csrf).await?;
    app.site.end_session(SessionOwner::Operator, viewer.session.id).await?;
    note(&app, "signed out", "console", "").await?;
    let mut response = page::see_other("/operator/login");
    if let Some(cookie) = Cookie::Operator.set("", 0, &app.settings) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}
