//! What the browser loads with a page: embedded in the binary, under names that change with the content, so that it may be
//! kept for ever, and smaller for a browser that can unpack them.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};

use crate::app::App;

/// A file that is part of the binary.
struct Asset {
    /// `site`, of `site.css`.
    stem: &'static str,
    extension: &'static str,
    kind: &'static str,
    content: Cow<'static, str>,
}

/// The line of `site.css` behind which nothing is for the start page and the documentation.
const PRIVATE_PART: &str = "/* Only for who is signed in";

/// The start page and the documentation are to be light, so they load one short sheet of their own: what all pages share, and
/// what only they have.
fn public_sheet() -> String {
    let whole = include_str!("assets/site.css");
    let shared = whole.split_once(PRIVATE_PART).map_or(whole, |(shared, _)| shared);
    format!("{shared}{}", include_str!("assets/public.css"))
}

static ASSETS: LazyLock<[Asset; 4]> = LazyLock::new(|| {
    [
        Asset {
            stem: "site",
            extension: "css",
            kind: "text/css",
            content: Cow::Borrowed(include_str!("assets/site.css")),
        },
        Asset {
            stem: "site",
            extension: "js",
            kind: "text/javascript",
            content: Cow::Borrowed(include_str!("assets/site.js")),
        },
        Asset {
            stem: "mark",
            extension: "svg",
            kind: "image/svg+xml",
            content: Cow::Borrowed(include_str!("assets/mark.svg")),
        },
        Asset {
            stem: "public",
            extension: "css",
            kind: "text/css",
            content: Cow::Owned(public_sheet()),
        },
    ]
});

/// Names with the first 64 bits of their content's hash: `site-0123456789abcdef.css`.
static NAMES: LazyLock<[String; 4]> = LazyLock::new(|| {
    ASSETS.each_ref().map(|asset| {
        let hash = digest(&SHA256, asset.content.as_bytes());
        let start = hash.as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes);
        format!("{}-{start:016x}.{}", asset.stem, asset.extension)
    })
});

/// Each packed once with gzip: style sheets come to a quarter. `None` would be an error that writing into memory can't have.
static PACKED: LazyLock<[Option<Bytes>; 4]> = LazyLock::new(|| ASSETS.each_ref().map(|asset| packed(&asset.content)));

fn packed(content: &str) -> Option<Bytes> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(content.as_bytes()).ok()?;
    packer.finish().ok().map(Bytes::from)
}

/// The style sheet's path.
pub(crate) fn style() -> String {
    path_of(0)
}

/// The script's path.
pub(crate) fn script() -> String {
    path_of(1)
}

/// The path of the mark that stands in a browser's tab.
pub(crate) fn mark() -> String {
    path_of(2)
}

/// The style sheet of the start page and the documentation, in place of [`style`].
pub(crate) fn public_style() -> String {
    path_of(3)
}

fn path_of(index: usize) -> String {
    format!("/assets/{}", NAMES[index])
}

/// `/assets/…`.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/assets/{name}", get(serve))
}

async fn serve(Path(name): Path<String>, asked: HeaderMap) -> Response {
    let Some(index) = NAMES.iter().position(|known| *known == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let asset = &ASSETS[index];
    let unpacks = asked
        .get(ACCEPT_ENCODING)
        .and_then(|codings| codings.to_str().ok())
        .is_some_and(|codings| codings.split(',').any(|coding| coding.trim() == "gzip"));
    let packed = PACKED[index].as_ref().filter(|_| unpacks);
    let body = packed.map_or_else(
        || Body::from(asset.content.as_bytes()),
        |packed| Body::from(packed.clone()),
    );
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if packed.is_some() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
