//! What a form sends: `application/x-www-form-urlencoded`, bounded, read once, its CSRF token checked before anyone looks at
//! the fields.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use super::csrf::{self, Csrf};
use super::page::PageError;

/// The longest form: a page of addresses or a sender's small picture.
const MAX_FORM_BYTES: usize = 256 * 1024;

/// Fields of a form with a file: more than any of ours has.
const MAX_FIELDS: usize = 64;

/// A form that may carry one file, as `multipart/form-data`: bounded and checked like any other.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) form: Form,
    /// The file's bytes, where one was chosen. Its name and kind are what the sender says, and not read.
    pub(crate) file: Option<Vec<u8>>,
}

impl Upload {
    /// Reads a form, with a file or without, and checks that it was ours.
    pub(crate) async fn read(headers: &HeaderMap, body: Body, csrf: &Csrf) -> Result<Self, PageError> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let Some(boundary) = kind.and_then(|kind| multer::parse_boundary(kind).ok()) else {
            // A browser that can't do better sends it without the file.
            let form = Form::read(headers, body, csrf).await?;
            return Ok(Self { form, file: None });
        };
        let bytes = to_bytes(body, MAX_FORM_BYTES).await.map_err(|_| PageError::BadForm)?;
        let whole = futures_util::stream::once(std::future::ready(Ok::<Bytes, std::convert::Infallible>(bytes)));
        let mut parts = multer::Multipart::new(whole, boundary);
        let (mut fields, mut file) = (Vec::new(), None);
        while let Some(part) = parts.next_field().await.map_err(|_| PageError::BadForm)? {
            if fields.len() >= MAX_FIELDS {
                return Err(PageError::BadForm);
            }
            let name = part.name().unwrap_or_default().to_owned();
            let is_file = part.file_name().is_some();
            let content = part.bytes().await.map_err(|_| PageError::BadForm)?;
            if is_file {
                // Where no file was chosen, browsers send an empty one.
                file = Some(content.to_vec()).filter(|content| !content.is_empty()).or(file);
            } else {
                let text = String::from_utf8(content.to_vec()).map_err(|_| PageError::BadForm)?;
                fields.push((name, text));
            }
        }
        let form = Form::ours(fields, csrf)?;
        Ok(Self { form, file })
    }
}

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
        Self::ours(form_urlencoded::parse(&bytes).into_owned().collect(), csrf)
    }

    /// Keeps the fields if their token is this session's.
    fn ours(fields: Vec<(String, String)>, csrf: &Csrf) -> Result<Self, PageError> {
        let form = Self(fields);
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
