//! What the owner's and the operator's API show of delivery reports, and the test ping. Sending is the workers' matter.
//!
//! An owner sees everything. An operator sees where reports go and why they fail, but neither what they say nor what receivers
//! answered: bodies hold phone numbers and payloads, which are shown only to the account that supplied them.

pub(crate) mod ping;
mod view;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use countersign_core::{AccountKey, RequestId};
use countersign_store::{ReportFilter, ReportKey, ReportProfile, ReportState, RequestRef, StoreError};

use crate::answer::{self, Answer, Refusal, RefusalBody};
use crate::api::caller::Caller;
use crate::app::App;
use crate::clock;
use crate::operator::find_account;
use view::{Audience, DetailView, ListView, ReportView, public_id};

/// Reports in one page of a list, unless another number is asked for; and at most.
const PAGE_REPORTS: usize = 100;
const MAX_PAGE_REPORTS: usize = 1_000;
/// Pages that are looked through for acknowledged reports: the books keep no list of them, since they are the many.
const MAX_PAGES_LOOKED_THROUGH: usize = 5;

/// `GET /account/v1/reports?state=&before=&limit=`: the newest request's first.
#[utoipa::path(
    get,
    path = "/account/v1/reports",
    operation_id = "reports",
    summary = "Delivery reports, the newest request's first",
    tag = "Owner",
    security(("bearer" = [])),
    params(("state" = Option<String>, Query, description = "`pending`, `acknowledged` or `lost`; all where left out"), ("before" = Option<String>, Query, description = "`next` of the page before"), ("limit" = Option<u32>, Query, description = "Reports in the page", minimum = 1, maximum = 1000)),
    responses(
        (status = 200, description = "A page", body = ListView),
        (status = 400, description = "A parameter is wrong; the sentence says which", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(raw): RawQuery,
) -> Result<Answer, Refusal> {
    list_of(&app, caller.access.key, raw.as_deref(), Audience::Owner).await
}

/// `GET /account/v1/reports/{id}`: one report with its body and its attempts.
#[utoipa::path(
    get,
    path = "/account/v1/reports/{id}",
    operation_id = "report",
    summary = "A report with its body and its attempts",
    tag = "Owner",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`REQUEST_ID-NUMBER`")),
    responses(
        (status = 200, description = "The report", body = DetailView),
        (status = 404, description = "There is no such report", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Answer, Refusal> {
    show_of(&app, caller.access.key, &id, Audience::Owner).await
}

/// `POST /account/v1/reports/{id}/redeliver`: lets a lost report go again, with all its retries.
#[utoipa::path(
    post,
    path = "/account/v1/reports/{id}/redeliver",
    operation_id = "redeliver",
    summary = "Let a lost report go again",
    tag = "Owner",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`REQUEST_ID-NUMBER`")),
    responses(
        (status = 200, description = "The report", body = ReportView),
        (status = 404, description = "There is no such report", body = RefusalBody),
        (status = 409, description = "It isn't lost", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(crate) async fn redeliver(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Answer, Refusal> {
    redeliver_of(&app, caller.access.key, &id, Audience::Owner).await
}

/// `GET /operator/v1/accounts/{account}/reports?state=&before=&limit=`.
pub(crate) async fn operator_list(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    RawQuery(raw): RawQuery,
) -> Result<Answer, Refusal> {
    let account = find_account(&app, &account).await?.key;
    list_of(&app, account, raw.as_deref(), Audience::Operator).await
}

/// `GET /operator/v1/accounts/{account}/reports/{id}`.
pub(crate) async fn operator_show(
    State(app): State<Arc<App>>,
    Path((account, id)): Path<(String, String)>,
) -> Result<Answer, Refusal> {
    let account = find_account(&app, &account).await?.key;
    show_of(&app, account, &id, Audience::Operator).await
}

/// `POST /operator/v1/accounts/{account}/reports/{id}/redeliver`.
pub(crate) async fn operator_redeliver(
    State(app): State<Arc<App>>,
    Path((account, id)): Path<(String, String)>,
) -> Result<Answer, Refusal> {
    let account = find_account(&app, &account).await?.key;
    let answer = redeliver_of(&app, account, &id, Audience::Operator).await?;
    tracing::info!(account = %account.id, report = id, "operator: report sent again");
    Ok(answer)
}

/// What a list is asked for.
struct Query {
    state: Option<ReportState>,
    before: Option<ReportKey>,
    limit: usize,
}

fn read_query(account: AccountKey, raw: Option<&str>) -> Result<Query, Refusal> {
    let mut query = Query {
        state: None,
        before: None,
        limit: PAGE_REPORTS,
    };
    for (name, value) in answer::query(raw) {
        match name.as_str() {
            "state" if !value.is_empty() => {
                query.state = Some(view::state_of(&value).ok_or_else(|| {
                    Refusal::bad_request("`state` must be `pending`, `acknowledged` or `lost`; leave it out for all")
                })?);
            }
            "before" if !value.is_empty() => {
                query.before = Some(read_id(account, &value).ok_or_else(|| {
                    Refusal::bad_request("`before` must be a report's id: take `next` of the page before")
                })?);
            }
            "limit" => {
                let number = value.parse().ok().filter(|n| (1..=MAX_PAGE_REPORTS).contains(n));
                query.limit = number.ok_or_else(|| {
                    Refusal::bad_request(format!("`limit` must be a whole number from 1 to {MAX_PAGE_REPORTS}"))
                })?;
            }
            _ => {}
        }
    }
    Ok(query)
}

async fn list_of(app: &App, account: AccountKey, raw: Option<&str>, audience: Audience) -> Result<Answer, Refusal> {
    let query = read_query(account, raw)?;
    let (reports, next) = page(app, account, &query).await?;
    Answer::ok(&ListView {
        reports: reports.iter().map(|report| ReportView::new(report, audience)).collect(),
        next: next.map(public_id),
    })
}

/// A page, and the key to go on from where there is more.
async fn page(
    app: &App,
    account: AccountKey,
    query: &Query,
) -> Result<(Vec<ReportProfile>, Option<ReportKey>), StoreError> {
    let filter = match query.state {
        None => ReportFilter::All,
        Some(ReportState::Pending) => ReportFilter::Pending,
        Some(ReportState::Lost) => ReportFilter::Lost,
        Some(ReportState::Acknowledged) => return acknowledged(app, account, query).await,
    };
    // One more than asked for tells whether there is a next page.
    let mut reports = app
        .store
        .reports(account, filter, query.before, query.limit + 1)
        .await?;
    let more = reports.len() > query.limit;
    reports.truncate(query.limit);
    let next = reports.last().filter(|_| more).map(|report| report.key);
    Ok((reports, next))
}

/// Acknowledged reports among all. The page may be short, or empty, where few of those looked at are; `next` goes on.
async fn acknowledged(
    app: &App,
    account: AccountKey,
    query: &Query,
) -> Result<(Vec<ReportProfile>, Option<ReportKey>), StoreError> {
    let mut found = Vec::new();
    let mut before = query.before;
    for _ in 0..MAX_PAGES_LOOKED_THROUGH {
        let reports = app
            .store
            .reports(account, ReportFilter::All, before, MAX_PAGE_REPORTS)
            .await?;
        let last_page = reports.len() < MAX_PAGE_REPORTS;
        for report in reports {
            if found.len() == query.limit {
                return Ok((found, before));
            }
            before = Some(report.key);
            if report.state == ReportState::Acknowledged {
                found.push(report);
            }
        }
        if last_page {
            return Ok((found, None));
        }
    }
    Ok((found, before))
}

async fn show_of(app: &App, account: AccountKey, id: &str, audience: Audience) -> Result<Answer, Refusal> {
    let key = read_id(account, id).ok_or_else(|| no_such_report(id))?;
    let detail = app.store.report(key).await?.ok_or_else(|| no_such_report(id))?;
    Answer::ok(&DetailView::new(&detail, audience))
}

async fn redeliver_of(app: &App, account: AccountKey, id: &str, audience: Audience) -> Result<Answer, Refusal> {
    let key = read_id(account, id).ok_or_else(|| no_such_report(id))?;
    match app.store.redeliver_report(key, clock::now(), audience.actor()).await {
        Ok(report) => Answer::ok(&ReportView::new(&report, audience)),
        Err(StoreError::NotFound(_)) => Err(match app.store.report(key).await? {
            None => no_such_report(id),
            Some(detail) => Refusal::conflict(format!(
                "the report {id} isn't lost but {}: only a lost one can be sent again",
                view::state_name(detail.profile.state)
            )),
        }),
        Err(error) => Err(error.into()),
    }
}

fn no_such_report(id: &str) -> Refusal {
    let shown: String = id.chars().take(40).collect();
    Refusal::not_found(format!(
        "this account has no delivery report {shown}: `countersign reports list` shows those it has"
    ))
}

/// Reads a report's public id, `REQUEST_ID-NUMBER`.
fn read_id(account: AccountKey, text: &str) -> Option<ReportKey> {
    let (request, number) = text.rsplit_once('-')?;
    let id = RequestId::parse(request)?;
    let number = number.parse().ok()?;
    let key = ReportKey {
        request: RequestRef { account, id },
        number,
    };
    // One text names one report: no sign, no leading zeros.
    (public_id(key) == text).then_some(key)
}
