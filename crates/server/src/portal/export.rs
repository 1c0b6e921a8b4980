//! `/account/settings/export`: an owner's copy of the account's data, as one JSON file. It is read page by page while the browser
//! takes it, so that a long history needs no memory; where the books fail on the way, the download breaks off.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use countersign_core::{AccountKey, Limit, RequestId, RequestStatus, Timestamp, VerificationRequest};
use countersign_store::StoreError;
use futures_util::stream;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::autofill::AutofillView;
use crate::pace::Pace;
use crate::site::form::Form;
use crate::site::page::PageError;
use crate::site::viewer::Viewer;
use crate::statement::EntryView;

/// Rows that are read at once: some hundred kilobytes of JSON at most.
const PAGE_ROWS: usize = 500;
/// It reads everything that an account has.
const EXPORTS: Limit = Limit {
    count: 5,
    period_ms: 3_600_000,
};

pub(super) fn router() -> Router<Arc<App>> {
    let pace = Arc::new(Pace::new(EXPORTS));
    Router::new()
        .route("/account/settings/export", post(export))
        .layer(Extension::<Arc<Pace>>(pace))
}

async fn export(
    State(app): State<Arc<App>>,
    Extension(pace): Extension<Arc<Pace>>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    Form::read(&headers, body, &viewer.csrf).await?;
    pace.take(viewer.account.key.id, viewer.now)
        .map_err(|seconds| PageError::TooMany { seconds })?;
    super::note(&app, viewer.account.key.id, "all data downloaded", viewer.now).await?;
    let export = Export {
        app,
        account: viewer.account.key,
        viewer: Box::new(viewer),
        next: Part::Head,
    };
    let parts = stream::try_unfold(export, async |mut export| {
        let part = export.part().await.map_err(io::Error::other)?;
        Ok::<_, io::Error>(part.map(|part| (Bytes::from(part), export)))
    });
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"countersign-account.json\""),
    );
    Ok(response)
}

/// How far a copy is.
struct Export {
    app: Arc<App>,
    account: AccountKey,
    viewer: Box<Viewer>,
    next: Part,
}

/// What comes next.
#[derive(Clone, Copy)]
enum Part {
    Head,
    /// Entries after that number.
    Entries(Option<u64>),
    /// Requests after that one.
    Requests(Option<RequestId>),
    End,
}

#[derive(Serialize)]
struct RequestView {
    /// Whole Unix seconds on the account's clock.
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
    /// As the account gave it: the copy is its owner's.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(flatten)]
    status: RequestStatus,
}

impl Export {
    /// The next piece of the file; `None` after its end.
    async fn part(&mut self) -> Result<Option<String>, StoreError> {
        match self.next {
            Part::Head => {
                self.next = Part::Entries(None);
                self.head().await.map(Some)
            }
            Part::Entries(after) => self.entries(after).await.map(Some),
            Part::Requests(after) => self.requests(after).await.map(Some),
            Part::End => Ok(None),
        }
    }

    async fn head(&self) -> Result<String, StoreError> {
        let (account, details) = (&self.viewer.account, &self.viewer.details);
        let sessions = self
            .app
            .site
            .sessions(self.viewer.session.owner, self.viewer.now)
            .await?;
        let senders = self.app.store.senders(Some(self.account)).await?;
        let profile = json!({
            "account_id": account.key.id.to_string(),
            "phone_number": account.phone.to_string(),
            "name": account.name,
            "company": details.company,
            "website": details.website,
            "country": details.country,
            "purpose": details.purpose,
            "time_zone": details.time_zone,
            "terms_version": details.terms_version,
            "terms_accepted_at": details.terms_accepted_at.map(Timestamp::unix_seconds),
            "created_at": account.created_at.unix_seconds(),
            "balance": account.balance,
            "held": account.held,
            "autofill": AutofillView::from(&account.autofill),
            "allow_list": account.allow_list.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        let senders: Vec<_> = senders
            .iter()
            .map(|sender| {
                json!({
                    "username": sender.username.to_string(),
                    "created_at": sender.created_at.unix_seconds(),
                    "verified_at": sender.verified_at.map(Timestamp::unix_seconds),
                })
            })
            .collect();
        let sessions: Vec<_> = sessions
            .iter()
            .map(|session| {
                json!({
                    "device": session.device,
                    "address": session.address,
                    "created_at": session.created_at.unix_seconds(),
                    "seen_at": session.seen_at.unix_seconds(),
                })
            })
            .collect();
        Ok(format!(
            "{{\n\"account\": {profile},\n\"senders\": {},\n\"sessions\": {},\n\"ledger_entries\": [",
            json!(senders),
            json!(sessions)
        ))
    }

    async fn entries(&mut self, after: Option<u64>) -> Result<String, StoreError> {
        let all = Timestamp::from_millis(i64::MAX);
        let start = Timestamp::from_millis(0);
        let store = &self.app.store;
        let page = store.statement(self.account, start, all, after, PAGE_ROWS).await?;
        let last = page.entries.last().map(|entry| entry.number);
        let is_full = page.entries.len() == PAGE_ROWS;
        let mut text = String::new();
        for (place, entry) in page.entries.into_iter().enumerate() {
            push(&mut text, after.is_none() && place == 0, &EntryView::from(entry));
        }
        if is_full {
            self.next = Part::Entries(last);
        } else {
            text.push_str("\n],\n\"requests\": [");
            self.next = Part::Requests(None);
        }
        Ok(text)
    }

    async fn requests(&mut self, after: Option<RequestId>) -> Result<String, StoreError> {
        let requests = self.app.site.requests_after(self.account, after, PAGE_ROWS).await?;
        let mut text = String::new();
        for (place, request) in requests.iter().enumerate() {
            push(&mut text, after.is_none() && place == 0, &view(request));
        }
        match requests.last() {
            Some(last) if requests.len() == PAGE_ROWS => self.next = Part::Requests(Some(last.id)),
            _ => {
                text.push_str("\n]\n}\n");
                self.next = Part::End;
            }
        }
        Ok(text)
    }
}

fn view(request: &VerificationRequest) -> RequestView {
    let message = request.message.as_ref();
    RequestView {
        created_at: request.id.created_at().unix_seconds(),
        sender_username: message
            .and_then(|message| message.sender.as_ref())
            .map(ToString::to_string),
        locale: message
            .and_then(|message| message.locale.as_ref())
            .map(ToString::to_string),
        email: message
            .and_then(|message| message.email.as_ref())
            .map(|email| email.as_str().to_owned()),
        status: RequestStatus::from(request),
    }
}

/// Adds a row on a line of its own.
fn push(text: &mut String, is_first: bool, row: &impl Serialize) {
    text.push_str(if is_first { "\n" } else { ",\n" });
    // Plain data of ours: writing it as JSON can't fail.
    text.push_str(&serde_json::to_string(row).unwrap_or_else(|_| "null".to_owned()));
}
