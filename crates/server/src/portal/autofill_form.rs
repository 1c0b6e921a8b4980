//! The form in which an owner says what the account's short messages end with, and how such a message then looks:
//! `POST /account/settings/autofill`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use countersign_channels::sms;
use countersign_core::{AndroidAppHash, Autofill, WebsiteHost};
use countersign_store::Actor;

use super::profile_form::ProfileForm;
use super::settings::page_of;
use crate::app::App;
use crate::pace::Pace;
use crate::site::bubbles::SmsBubble;
use crate::site::form::Form;
use crate::site::page::{self, PageError};
use crate::site::viewer::Viewer;

/// The code of the message that is shown.
const SAMPLE_CODE: &str = "482913";

/// The fields as they were typed, with what is wrong with each.
#[derive(Debug, Default)]
pub(super) struct AutofillForm {
    pub(super) domain: String,
    pub(super) android_hash: String,
    pub(super) domain_problem: Option<&'static str>,
    pub(super) hash_problem: Option<&'static str>,
}

impl AutofillForm {
    /// As it stands in the books.
    pub(super) fn of(viewer: &Viewer) -> Self {
        let set = &viewer.account.autofill;
        let text = |text: &str| text.to_owned();
        Self {
            domain: set
                .domain
                .as_ref()
                .map(WebsiteHost::as_str)
                .map_or_else(String::new, text),
            android_hash: set
                .android_hash
                .as_ref()
                .map(AndroidAppHash::as_str)
                .map_or_else(String::new, text),
            ..Self::default()
        }
    }

    /// As it was sent: what is to be set, or the form with what is wrong.
    fn sent(form: &Form) -> Result<Autofill, Self> {
        let sent = Self {
            domain: form.text("domain").to_owned(),
            android_hash: form.text("android_hash").to_owned(),
            domain_problem: None,
            hash_problem: None,
        };
        let domain = Autofill::parse(&sent.domain, "");
        let hash = Autofill::parse("", &sent.android_hash);
        match (domain, hash) {
            (Ok(domain), Ok(hash)) => Ok(Autofill {
                domain: domain.domain,
                android_hash: hash.android_hash,
            }),
            (domain, hash) => Err(Self {
                domain_problem: domain
                    .is_err()
                    .then_some("Write the website’s host name alone, like example.com: no https://, port or path."),
                hash_problem: hash
                    .is_err()
                    .then_some("This is no app’s hash: it has 11 letters, digits, + and /, like FA+9qCX9VSu."),
                ..sent
            }),
        }
    }
}

/// A message as somebody in the owner's country gets it, with what is set at its end.
pub(super) fn preview(app: &App, viewer: &Viewer) -> SmsBubble {
    let language = app.texts.language(None, viewer.account.phone);
    let autofill = viewer.account.autofill.clone().into();
    let parts = sms::Parts {
        code: SAMPLE_CODE,
        sender: None,
        autofill: &autofill,
    };
    SmsBubble::new(language, sms::compose(language, &parts))
}

pub(super) async fn save(
    State(app): State<Arc<App>>,
    Extension(changes): Extension<Arc<Pace>>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let autofill = match AutofillForm::sent(&Form::read(&headers, body, &viewer.csrf).await?) {
        Ok(autofill) => autofill,
        Err(refused) => {
            let page = page_of(&app, &viewer, None, (ProfileForm::of(&viewer), refused), None).await?;
            return page::html_with(StatusCode::UNPROCESSABLE_ENTITY, &page);
        }
    };
    if autofill != viewer.account.autofill {
        changes
            .take(viewer.account.key.id, viewer.now)
            .map_err(|seconds| PageError::TooMany { seconds })?;
        app.site
            .set_autofill(viewer.account.key, autofill, Actor::Owner, viewer.now)
            .await?;
    }
    Ok(page::see_other("/account/settings?done=autofill"))
}
