//! The server's address as the reader of a page knows it, for examples to paste.

use axum::http::header::HOST;
use axum::http::{HeaderMap, Uri, uri::Authority};

use super::cookies;
use crate::settings::Settings;

/// Without a slash at its end: the operator's `public_url`, else the host that the browser asked for.
pub(crate) fn site_url(settings: &Settings, uri: &Uri, headers: &HeaderMap) -> String {
    if let Some(url) = &settings.server.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let scheme = if cookies::is_secure(settings) { "https" } else { "http" };
    // It ends up inside HTML: only what is made of a host's letters is taken over.
    let named = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(Authority::as_str).or(named).filter(|host| {
        host.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte))
    });
    format!("{scheme}://{}", host.unwrap_or("127.0.0.1:8099"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::app::Mode;

    fn url(host: &'static str) -> String {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
        site_url(&Settings::defaults(Mode::Sandbox), &Uri::from_static("/docs"), &headers)
    }

    #[test]
    fn examples_name_the_host_that_the_reader_came_to() {
        assert_eq!(url("gateway.example:8443"), "http://gateway.example:8443");
        assert_eq!(url("[::1]:8099"), "http://[::1]:8099");
    }

    #[test]
    fn a_host_that_is_none_stays_out_of_the_page() {
        assert_eq!(url("<script>"), "http://127.0.0.1:8099");
    }

    #[test]
    fn the_operators_address_comes_first() {
        let mut settings = Settings::defaults(Mode::Production);
        settings.server.public_url = Some("https://verify.example/".to_owned());
        let told = site_url(&settings, &Uri::from_static("/"), &HeaderMap::new());
        assert_eq!(told, "https://verify.example");
    }
}
