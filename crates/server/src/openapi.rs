//! `/openapi.json`: the whole public API as OpenAPI 3.1, made once from the code that serves it: the Gateway methods from
//! `api/description.rs`, the owner's API from what stands on its handlers. `docs/api.md` shows tables made from the same.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Info, OpenApi, Server};

use crate::account;
use crate::api::description;
use crate::app::App;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    document().to_json().unwrap_or_else(|error| {
        // It is made of our own types alone, and a test makes it.
        tracing::error!(%error, "the OpenAPI document could not be written");
        "{}".to_owned()
    })
});

/// `/openapi.json`.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/openapi.json", get(serve))
}

async fn serve() -> Response {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        // It changes with the program only.
        (CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, DOCUMENT.as_str()).into_response()
}

fn document() -> OpenApi {
    let mut document = description::describe();
    document.merge(account::Description::openapi());
    let mut info = Info::new("Countersign", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Verification codes through a messenger. The methods at the root are those of the Telegram Gateway API, with HTTP \
         status 200 for every answer of a method, errors included; `/account/v1` is the owner's API."
            .to_owned(),
    );
    document.info = info;
    // Wherever it was fetched from.
    document.servers = Some(vec![Server::new("/")]);
    document.tags = Some(vec![
        TagBuilder::new()
            .name("Gateway")
            .description(Some("The four methods of the Gateway API, and one of ours."))
            .build(),
        TagBuilder::new()
            .name("Owner")
            .description(Some("What an account's owner may see and do beside the methods."))
            .build(),
        TagBuilder::new()
            .name("Server")
            .description(Some("The server itself."))
            .build(),
    ]);
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The account's API token."))
        .build();
    components
        .security_schemes
        .insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
    let query = ApiKeyValue::with_description(
        "access_token",
        "The same token as a parameter; in a form or JSON body, too.",
    );
    components.security_schemes.insert(
        "accessToken".to_owned(),
        SecurityScheme::ApiKey(ApiKey::Query(query)).into(),
    );
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_method_and_the_owners_api() {
        let document: serde_json::Value = serde_json::from_str(&DOCUMENT).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        for path in [
            "/sendVerificationMessage",
            "/checkSendAbility",
            "/checkVerificationStatus",
            "/revokeVerificationMessage",
        ] {
            for verb in ["get", "post"] {
                assert!(
                    document["paths"][path][verb]["operationId"].is_string(),
                    "{verb} {path}"
                );
            }
        }
        for path in [
            "/account/v1",
            "/account/v1/statement",
            "/account/v1/orders",
            "/account/v1/orders/{reference}",
            "/account/v1/orders/{reference}/cancel",
            "/sandbox/clock",
            "/healthz",
            "/readyz",
        ] {
            assert!(document["paths"][path].is_object(), "{path}");
        }
    }

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        fn look(value: &serde_json::Value, document: &serde_json::Value) {
            match value {
                serde_json::Value::Object(map) => {
                    if let Some(target) = map.get("$ref").and_then(|target| target.as_str()) {
                        let pointer = target.trim_start_matches('#');
                        assert!(document.pointer(pointer).is_some(), "{target}");
                    }
                    map.values().for_each(|value| look(value, document));
                }
                serde_json::Value::Array(values) => values.iter().for_each(|value| look(value, document)),
                _ => {}
            }
        }
        let document: serde_json::Value = serde_json::from_str(&DOCUMENT).unwrap();
        look(&document, &document);
    }
}
