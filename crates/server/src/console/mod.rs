//! The operator's pages under `/operator`. Their session is apart from any account's, and opened by the operator key. What
//! they show and do stands behind the same functions as the operator's API (`operator/`).

mod account;
mod accounts;
mod audit;
mod guard;
mod health;
mod login;
mod orders;
mod prices;
mod senders;
mod texts;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;

use crate::answer::{Refusal, query};
use crate::app::App;
use crate::site::page::PageError;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .merge(login::router())
        .merge(health::router())
        .merge(accounts::router())
        .merge(account::router())
        .merge(guard::router())
        .merge(orders::router())
        .merge(senders::router())
        .merge(prices::router())
        .merge(texts::router())
        .merge(audit::router())
}

/// What was wrong with a form, said beside it; the page keeps what was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    /// Which of the page's forms.
    form: &'static str,
    sentence: String,
    status: StatusCode,
}

impl Problem {
    /// A refusal of the operator's functions. Where the server failed it is a page of its own.
    fn new(form: &'static str, refusal: &Refusal) -> Result<Self, PageError> {
        let status = match refusal.status() {
            StatusCode::SERVICE_UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
            status if status.is_client_error() => StatusCode::UNPROCESSABLE_ENTITY,
            _ => return Err(PageError::Internal),
        };
        Ok(Self {
            form,
            sentence: sentence(refusal.sentence()),
            status,
        })
    }
}

/// A sentence of the API as it stands on a page: a capital letter first, a full stop at its end.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let end = if text.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{}{}{end}", first.unwrap_or_default(), letters.as_str())
}

/// What was said about a form of the page, if anything was.
fn said_of<'a>(problem: Option<&'a Problem>, form: &str) -> Option<&'a str> {
    problem
        .filter(|problem| problem.form == form)
        .map(|problem| problem.sentence.as_str())
}

/// The status of a page with what was wrong on it.
fn status_of(problem: Option<&Problem>) -> StatusCode {
    problem.map_or(StatusCode::OK, |problem| problem.status)
}

/// A parameter of the page's address that isn't empty.
fn asked(raw: Option<&str>, name: &str) -> Option<String> {
    query(raw)
        .into_iter()
        .find(|(found, value)| found == name && !value.trim().is_empty())
        .map(|(_, value)| value.trim().to_owned())
}

/// A path with parameters; those that are empty are left out.
fn link(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let mut any = false;
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
        any = true;
    }
    if any {
        format!("{path}?{}", query.finish())
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_api_reads_as_a_sentence() {
        assert_eq!(sentence("nothing was done: try again"), "Nothing was done: try again.");
        assert_eq!(sentence("Why?"), "Why?");
    }

    #[test]
    fn a_link_has_the_parameters_that_say_something() {
        assert_eq!(
            link("/operator/audit", &[("by", ""), ("before", "")]),
            "/operator/audit"
        );
        assert_eq!(link("/x", &[("q", "a b"), ("by", ""), ("n", "1")]), "/x?q=a+b&n=1");
    }
}
