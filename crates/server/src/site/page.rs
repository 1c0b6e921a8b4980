//! How a page is answered, and the page that says what went wrong.

use askama::Template;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use countersign_store::StoreError;

use super::sign_in::with_next;
use super::{assets, icons};

/// A page, ready to send.
pub(crate) fn html(template: &impl Template) -> Result<Response, PageError> {
    html_with(StatusCode::OK, template)
}

/// A page with another status: a form that was refused keeps what was typed, with status 422.
pub(crate) fn html_with(status: StatusCode, template: &impl Template) -> Result<Response, PageError> {
    let text = template.render().map_err(|error| {
        tracing::error!(%error, "a page could not be rendered");
        PageError::Internal
    })?;
    let mut response = Response::new(Body::from(icons::put_in(&text)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Ok(response)
}

/// The answer to a form that was taken: the browser asks for a page, and a reload sends nothing again.
pub(crate) fn see_other(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(path) = HeaderValue::try_from(path) {
        response.headers_mut().insert(LOCATION, path);
    }
    response
}

/// Why there is no page. Each is shown as a page of its own: what happened, and what to do now.
#[derive(Debug)]
pub(crate) enum PageError {
    /// Nobody is signed in; the login leads back to this path.
    SignIn { back: String },
    /// No operator is signed in.
    OperatorSignIn,
    /// The account's owner has questions to answer first; they lead back to this path.
    Onboarding { back: String },
    /// There is no such thing, or it is another account's.
    NotFound(&'static str),
    /// The documentation has no such page.
    NoDocument,
    /// What came is no form of ours.
    BadForm,
    /// The form's token isn't this session's: the page is older than the sign-in.
    StaleForm,
    /// Another site asks, or asks for another host.
    Foreign,
    /// Too often; in so many seconds again.
    TooMany { seconds: u32 },
    /// The server is ending.
    Draining,
    /// The books.
    Books(StoreError),
    /// Our fault; the log says more.
    Internal,
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Self::NotFound(what),
            error => Self::Books(error),
        }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    status: u16,
    heading: String,
    advice: String,
    back: &'static str,
    back_label: &'static str,
    style: String,
    mark: String,
}

impl PageError {
    fn told(&self) -> (StatusCode, String, String) {
        let told = |status, heading: &str, advice: &str| (status, heading.to_owned(), advice.to_owned());
        match self {
            Self::SignIn { .. } | Self::OperatorSignIn | Self::Onboarding { .. } => {
                told(StatusCode::SEE_OTHER, "Sign in", "Sign in to see this page.")
            }
            Self::NotFound(what) => (
                StatusCode::NOT_FOUND,
                format!("There is no such {what}"),
                "The address may be mistyped, or it belongs to another account. Go back and look for it in the list."
                    .to_owned(),
            ),
            Self::NoDocument => told(
                StatusCode::NOT_FOUND,
                "There is no such page",
                "The documentation has no page at this address. The list of its pages is one click away.",
            ),
            Self::BadForm => told(
                StatusCode::BAD_REQUEST,
                "This form could not be read",
                "Nothing was changed. Go back, reload the page, and send the form again.",
            ),
            Self::StaleForm => told(
                StatusCode::FORBIDDEN,
                "This page is too old to be sent",
                "Nothing was changed. The page was opened before you signed in, or in another browser: go back, reload it, \
                 and send it again.",
            ),
            Self::Foreign => told(
                StatusCode::FORBIDDEN,
                "Another site may not ask this",
                "Open this page under the server’s own address. A sandbox answers under localhost, 127.0.0.1 and [::1] \
                 only; --sandbox-exposed opens it to other host names.",
            ),
            Self::TooMany { seconds } => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many tries".to_owned(),
                format!("Nothing was changed. Try again in {seconds} s."),
            ),
            Self::Draining => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "The server is ending",
                "Nothing was changed. Try again in a second.",
            ),
            Self::Books(StoreError::Busy | StoreError::Closing | StoreError::TryAgain) => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "The books are busy",
                "Nothing was changed. Try again in a second.",
            ),
            Self::Books(StoreError::DiskFull) => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "The server’s disk is full",
                "Nothing was changed. Try again once the operator has made room.",
            ),
            Self::Books(StoreError::Unavailable) => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "The books can’t be reached",
                "Nothing was changed. Try again in a moment.",
            ),
            Self::Books(StoreError::Conflict(what)) => (
                StatusCode::CONFLICT,
                format!("There is {what} already"),
                "Nothing was changed. Go back and choose another.".to_owned(),
            ),
            Self::Books(_) | Self::Internal => told(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The server failed",
                "It can’t tell whether this was done: look before you try again. The server’s log says why.",
            ),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        match &self {
            Self::SignIn { back } => return see_other(&with_next("/login", back)),
            Self::Onboarding { back } => return see_other(&with_next("/account/welcome", back)),
            Self::OperatorSignIn => return see_other("/operator/login"),
            Self::Books(error)
                if !matches!(
                    error,
                    StoreError::Busy
                        | StoreError::Closing
                        | StoreError::DiskFull
                        | StoreError::Unavailable
                        | StoreError::TryAgain
                        | StoreError::Conflict(_)
                ) =>
            {
                tracing::error!(%error, "the books failed under a page");
            }
            _ => {}
        }
        let (status, heading, advice) = self.told();
        let (back, back_label) = match &self {
            Self::NoDocument => ("/docs", "To the documentation"),
            _ => ("/account", "To your account"),
        };
        let page = ErrorPage {
            status: status.as_u16(),
            heading,
            advice,
            back,
            back_label,
            style: assets::style(),
            mark: assets::mark(),
        };
        let mut response = html_with(status, &page).unwrap_or_else(|_| status.into_response());
        let wait = match &self {
            Self::TooMany { seconds } => Some(*seconds),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        };
        if let Some(seconds) = wait {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
