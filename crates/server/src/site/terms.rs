//! `/terms`: what people accept at their first sign-in, in the operator's words or else in ours. Their version is the hash of
//! their text, so that it is known later who accepted which.

use std::io;
use std::path::Path;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use pulldown_cmark::{Event, Options, Parser, html};
use ring::digest::{SHA256, digest};

use super::frame::Frame;
use super::page::{self, PageError};
use super::viewer::Visitor;
use crate::app::App;

const OURS: &str = include_str!("terms.md");

/// The terms, rendered.
pub(crate) struct Terms {
    html: String,
    /// The first 64 bits of the text's SHA-256, in hexadecimal digits.
    pub(crate) version: String,
}

impl Terms {
    /// Reads the operator's, or takes ours.
    pub(crate) fn load(file: Option<&Path>) -> io::Result<Self> {
        Ok(match file {
            Some(file) => Self::of(&std::fs::read_to_string(file)?),
            None => Self::of(OURS),
        })
    }

    fn of(markdown: &str) -> Self {
        // The operator's own words, but HTML in them would be outside what the pages' policy allows.
        let events = Parser::new_ext(markdown, Options::ENABLE_TABLES).map(|event| match event {
            Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
            event => event,
        });
        let mut text = String::new();
        html::push_html(&mut text, events);
        let hash = digest(&SHA256, markdown.as_bytes());
        let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
        Self {
            html: text,
            version: format!("{:016x}", u64::from_be_bytes(first)),
        }
    }
}

#[derive(Template)]
#[template(path = "terms.html")]
struct TermsPage<'a> {
    frame: Frame,
    html: &'a str,
    version: &'a str,
    has_heading: bool,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/terms", get(terms))
}

async fn terms(State(app): State<Arc<App>>, visitor: Visitor) -> Result<Response, PageError> {
    let terms = &app.login.terms;
    page::html(&TermsPage {
        frame: Frame::public(&app, &visitor, "Terms", "/terms"),
        html: &terms.html,
        version: &terms.version,
        has_heading: terms.html.contains("<h1>"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_text_is_another_version_and_html_in_it_is_text() {
        let (ours, theirs) = (Terms::of(OURS), Terms::of("# Terms\n\n<script>alert(1)</script>"));
        assert_ne!(ours.version, theirs.version);
        assert_eq!(ours.version, Terms::of(OURS).version);
        assert!(theirs.html.contains("&lt;script&gt;"), "{}", theirs.html);
    }
}
