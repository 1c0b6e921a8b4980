//! `/account/messages`: an account's requests, searched and paged by key.

use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use countersign_core::SandboxNumbers;
use countersign_store::{MessageOrder, MessagePage, NumberSearch, PageEnd, PayloadSearch};

use super::query::{Cursor, DELIVERY, Looked, PATH, Query, VERIFICATION};
use super::view::{RowView, href};
use crate::app::{App, Mode};
use crate::portal::overview::Example;
use crate::site::format;
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::viewer::Viewer;

/// Requests on a page.
const PAGE: usize = 50;

/// A choice in a list of them.
struct Choice {
    word: &'static str,
    label: &'static str,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "messages.html")]
struct List {
    frame: Frame,
    query: Query,
    delivery: Vec<Choice>,
    verification: Vec<Choice>,
    senders: Vec<(String, bool)>,
    rows: Vec<RowView>,
    /// What was looked for, in words; empty for everything.
    looked_for: String,
    /// What else could be looked for: a path and its words.
    suggestions: Vec<(String, String)>,
    /// Since when was looked, where a search ended before the account's first request.
    looked_back_to: Option<String>,
    turn: String,
    previous: Option<String>,
    next: Option<String>,
    /// Where a search that found nothing yet goes on.
    further: Option<String>,
    example: Option<Example>,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    let account = viewer.account.key;
    let query = Query::read(raw.as_deref());
    let sandbox_numbers = match app.mode {
        Mode::Sandbox => SandboxNumbers::Accepted,
        Mode::Production => SandboxNumbers::Refused,
    };
    let mut looked = query.looked(sandbox_numbers);
    if let Looked::Request(id) = looked {
        if app.store.request(account, id).await?.is_some() {
            return Ok(page::see_other(&href(id)));
        }
        looked = Looked::Payload(PayloadSearch::Is(query.text.clone()));
    }
    let found = find(&app, &viewer, &query, &looked).await?;
    let empty = found.requests.is_empty() && !query.narrows() && query.cursor() == Cursor::Start;
    let links = Links::of(&query, &found);
    let senders = app.store.senders(Some(account)).await?;
    let example = if empty {
        Some(Example::of(&app, &viewer, &uri, &headers).await?)
    } else {
        None
    };
    page::html(&List {
        frame: Frame::portal(&app, &viewer, "Messages", PATH),
        delivery: choices(&DELIVERY, &query.delivery),
        verification: choices(&VERIFICATION, &query.verification),
        senders: senders
            .iter()
            .map(|sender| sender.username.as_str())
            .map(|name| (name.to_owned(), name == query.sender))
            .collect(),
        rows: found
            .requests
            .iter()
            .map(|request| RowView::new(request, &viewer))
            .collect(),
        looked_for: in_words(&looked),
        suggestions: suggestions(&query, &looked),
        looked_back_to: match found.end {
            PageEnd::LookedThrough(id) => {
                let there = viewer.zone.at(id.created_at());
                Some(there.strftime("%-d %b %Y, %H:%M").to_string())
            }
            _ => None,
        },
        turn: query.turned(),
        previous: links.previous,
        next: links.next,
        further: links.further,
        example,
        query,
    })
}

/// Reads a page in the order in which it is shown.
async fn find(app: &App, viewer: &Viewer, query: &Query, looked: &Looked) -> Result<MessagePage, PageError> {
    let filter = query.filter(looked, &viewer.zone);
    let (order, after) = match (query.order(), query.cursor()) {
        (order, Cursor::Start) => (order, None),
        (order, Cursor::On(id)) => (order, Some(id)),
        (MessageOrder::NewestFirst, Cursor::Back(id)) => (MessageOrder::OldestFirst, Some(id)),
        (MessageOrder::OldestFirst, Cursor::Back(id)) => (MessageOrder::NewestFirst, Some(id)),
    };
    let now = viewer.account_now();
    let page = app.site.messages(viewer.account.key, filter, order, after, PAGE, now);
    let mut page = page.await?;
    if matches!(query.cursor(), Cursor::Back(_)) {
        page.requests.reverse();
    }
    Ok(page)
}

/// Where the pages beside this one are.
struct Links {
    previous: Option<String>,
    next: Option<String>,
    further: Option<String>,
}

impl Links {
    fn of(query: &Query, page: &MessagePage) -> Self {
        let (first, last) = (page.requests.first(), page.requests.last());
        let on = |id| query.path(Cursor::On(id));
        let back = |id| query.path(Cursor::Back(id));
        if matches!(query.cursor(), Cursor::Back(_)) {
            // The page was read backwards: its end is before its first row, and it came from what is behind its last.
            return Self {
                previous: match page.end {
                    PageEnd::Last => None,
                    PageEnd::Full(id) | PageEnd::LookedThrough(id) => Some(back(id)),
                },
                next: last.map(|request| on(request.id)),
                further: None,
            };
        }
        let (next, further) = match page.end {
            PageEnd::Last => (None, None),
            PageEnd::Full(id) => (Some(on(id)), None),
            PageEnd::LookedThrough(id) => (None, Some(on(id))),
        };
        let previous = match query.cursor() {
            Cursor::Start => None,
            // An empty page has no row to go back from: it leads to the beginning.
            _ => Some(first.map_or_else(|| query.path(Cursor::Start), |request| back(request.id))),
        };
        Self {
            previous,
            next,
            further,
        }
    }
}

fn choices<T>(known: &'static [(&'static str, &'static str, T)], chosen: &str) -> Vec<Choice> {
    let choice = |(word, label, _): &(&'static str, &'static str, T)| Choice {
        word,
        label,
        chosen: *word == chosen,
    };
    known.iter().map(choice).collect()
}

fn in_words(looked: &Looked) -> String {
    match looked {
        Looked::Nothing | Looked::Request(_) => String::new(),
        Looked::Number(NumberSearch::Is(phone)) => format!("the number {}", format::phone(*phone)),
        Looked::Number(NumberSearch::Begins(digits)) => format!("numbers that begin with +{digits}"),
        Looked::Number(NumberSearch::BeginsOrEnds(digits)) => {
            format!("numbers that begin or end with {digits}")
        }
        Looked::Payload(PayloadSearch::Is(text)) => format!("the payload “{text}”"),
        Looked::Payload(PayloadSearch::Begins(text)) => format!("payloads that begin with “{text}”"),
    }
}

/// What a person may have meant.
fn suggestions(query: &Query, looked: &Looked) -> Vec<(String, String)> {
    let to = |text: String, words: String| (query.path_for(&text), words);
    match looked {
        Looked::Number(NumberSearch::BeginsOrEnds(digits)) => vec![
            to(
                format!("+{digits}"),
                format!("Numbers with the calling code: +{digits}"),
            ),
            to(format!("payload:{digits}"), format!("The payload “{digits}”")),
        ],
        Looked::Payload(PayloadSearch::Is(text)) => {
            let mut all = vec![to(format!("{text}*"), format!("Payloads that begin with “{text}”"))];
            if !text.is_empty() && text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit()) {
                let words = format!("Numbers that begin or end with {text}");
                all.push(to(format!("number:{text}"), words));
            }
            all
        }
        _ => Vec::new(),
    }
}
