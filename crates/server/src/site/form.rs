//! What a form sends: `application/x-www-form-urlencoded`, bounded, read once, its CSRF token checked before anyone looks at
//! the fields.

use axum::body::{Body, to_bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use super::csrf::{self, Csrf};
use super::page::PageError;

/// The longest form: a page of addresses or a sender's small picture.
const MAX_FORM_BYTES: usize = 256 * 1024;

/// A form's fields, decoded.
#[derive(Debug, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form and checks that it was ours.
    pub(crate) async fn read(headers: &HeaderMap, body: Body, csrf: &Csrf) -> Result<Self, PageError> {
        let is_form = headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        if !is_form {
            return Err(PageError::BadForm);
        }
        let bytes = to_bytes(body, MAX_FORM_BYTES).await.map_err(|_| PageError::BadForm)?;
        let form = Self(form_urlencoded::parse(&bytes).into_owned().collect());
        if csrf.matches(form.raw(csrf::FIELD)) {
            Ok(form)
        } else {
            Err(PageError::StaleForm)
        }
    }

    /// A field as it was typed, without white space around it; empty where it is missing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// A field that isn't empty.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// Whether a box is ticked.
    pub(crate) fn ticked(&self, name: &str) -> bool {
        self.filled(name).is_some()
    }

    fn raw(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(field, _)| field == name)
            .map_or("", |(_, value)| value)
    }
}
