//! `/docs`: the Markdown of `docs/`, rendered once. The files are the source, and read well where code is hosted; here their
//! links lead from page to page, blocks of code in several languages are tabs, and states look as they do everywhere.

mod list;
mod markdown;

use std::sync::{Arc, LazyLock};

use askama::Template;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;

use self::list::{GROUPS, Group, Source};
use self::markdown::{Heading, Rendered};
use super::address::site_url;
use super::frame::Frame;
use super::page::{self, PageError};
use super::viewer::Visitor;
use crate::app::App;

/// The address in the Markdown's examples: a reader is shown the one that they came to.
const EXAMPLE_URL: &str = "http://127.0.0.1:8099";

/// The same in an example that shows a request's head.
const EXAMPLE_HOST: &str = "Host: 127.0.0.1:8099";

/// A page, ready to be put into its frame.
struct Page {
    source: &'static Source,
    rendered: Rendered,
}

static PAGES: LazyLock<Vec<Page>> = LazyLock::new(|| {
    list::pages()
        .map(|source| Page {
            source,
            rendered: markdown::render(source.markdown),
        })
        .collect()
});

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsPage<'a> {
    frame: Frame,
    canonical: Option<String>,
    groups: &'static [Group],
    slug: &'static str,
    about: &'static str,
    headings: &'a [Heading],
    html: String,
    previous: Option<&'static Source>,
    next: Option<&'static Source>,
}

#[derive(Template)]
#[template(path = "docs_index.html")]
struct IndexPage {
    frame: Frame,
    canonical: Option<String>,
    groups: &'static [Group],
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/docs", get(index))
        .route("/docs/{slug}", get(show))
        .route("/docs/{slug}/{*rest}", get(missing))
}

async fn index(State(app): State<Arc<App>>, visitor: Visitor) -> Result<Response, PageError> {
    page::html(&IndexPage {
        frame: Frame::light(&app, &visitor, "Documentation", "/docs"),
        canonical: canonical(&app, "/docs"),
        groups: &GROUPS,
    })
}

async fn show(
    State(app): State<Arc<App>>,
    Path(slug): Path<String>,
    visitor: Visitor,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, PageError> {
    let pages = &*PAGES;
    let place = pages.iter().position(|page| page.source.slug == slug);
    let Some(place) = place else {
        return Err(PageError::NoDocument);
    };
    let Page { source, rendered } = &pages[place];
    let url = site_url(&app.settings, request.uri(), &headers);
    let host = url.split_once("://").map_or(url.as_str(), |(_, host)| host);
    let html = rendered.html.replace(EXAMPLE_URL, &url);
    page::html(&DocsPage {
        frame: Frame::light(&app, &visitor, source.label, "/docs"),
        canonical: canonical(&app, &format!("/docs/{slug}")),
        groups: &GROUPS,
        slug: source.slug,
        about: source.about,
        headings: &rendered.headings,
        html: html.replace(EXAMPLE_HOST, &format!("Host: {host}")),
        previous: place.checked_sub(1).map(|before| pages[before].source),
        next: pages.get(place + 1).map(|page| page.source),
    })
}

async fn missing() -> PageError {
    PageError::NoDocument
}

/// The page's one address for search engines, where the operator named the server's.
fn canonical(app: &App, path: &str) -> Option<String> {
    let url = app.settings.server.public_url.as_ref()?;
    Some(format!("{}{path}", url.trim_end_matches('/')))
}
