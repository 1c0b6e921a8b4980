//! `/`: what Countersign is, and why; what codes cost, from the live price list, beside what the reader pays today. And
//! `/robots.txt`.

use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use countersign_core::{ApiError, Credits, DeliveryState, NumberPrefix};

use super::address::site_url;
use super::countries::place_of;
use super::format::{count, money};
use super::frame::Frame;
use super::page::{self, PageError};
use super::prices::{LivePrices, PricePage};
use super::state::Badge;
use super::viewer::Visitor;
use crate::app::{App, Mode};

/// Prices on one page.
const PRICES: usize = 20;
/// Most codes a month that the comparison counts with.
const MAX_CODES: u64 = 1_000_000_000;
/// Most that an SMS may cost there: a hundred.
const MAX_SMS_MICROS: i64 = 100_000_000;

#[derive(Template)]
#[template(path = "landing.html")]
struct Landing {
    frame: Frame,
    canonical: Option<String>,
    url: String,
    default_price: String,
    /// As JSON has it.
    sample_cost: String,
    prices: Vec<PriceLine>,
    /// The link to more prices, and whether these are not the first.
    next: Option<String>,
    is_first: bool,
    comparison: Comparison,
    /// What becomes of the sample's message.
    states: [Badge; 4],
}

struct PriceLine {
    prefix: String,
    place: String,
    price: String,
}

/// What the reader types, and what comes of it.
#[derive(Default)]
struct Comparison {
    sms: String,
    codes: String,
    sms_problem: bool,
    codes_problem: bool,
    result: Option<Difference>,
}

struct Difference {
    sms: String,
    here: String,
    saved: Option<String>,
    codes: String,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(landing))
        .layer(Extension(Arc::<LivePrices>::default()))
        .route("/robots.txt", get(robots))
        .method_not_allowed_fallback(unknown_method)
}

async fn landing(
    State(app): State<Arc<App>>,
    Extension(live): Extension<Arc<LivePrices>>,
    visitor: Visitor,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, PageError> {
    let asked = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
        pairs
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.into_owned())
    };
    let after = asked("after").and_then(|prefix| NumberPrefix::parse(&prefix));
    let page = live
        .page(&app, visitor.now, after.unwrap_or(NumberPrefix::DEFAULT), PRICES)
        .await?;
    let PricePage { default, rows, next } = page;
    let comparison = Comparison::new(asked("sms"), asked("codes"), default);
    let status = if comparison.sms_problem || comparison.codes_problem {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    let lines = rows.iter().filter_map(|row| {
        Some(PriceLine {
            prefix: row.prefix.to_string(),
            place: place_of(row.prefix.digits()),
            price: money(row.price?),
        })
    });
    let landing = Landing {
        frame: Frame::light(&app, &visitor, "Verification codes through a messenger", "/"),
        canonical: app.settings.server.public_url.clone(),
        url: site_url(&app.settings, request.uri(), &headers),
        default_price: money(default),
        sample_cost: default.to_string(),
        prices: lines.collect(),
        next: next.map(|prefix| format!("/?after={}#prices", prefix.digits())),
        is_first: after.is_none(),
        comparison,
        states: [
            Badge::delivery(DeliveryState::Sent),
            Badge::delivery(DeliveryState::Delivered),
            Badge::delivery(DeliveryState::Read),
            Badge::new("valid", "Code valid", "shield"),
        ],
    };
    page::html_with(status, &landing)
}

impl Comparison {
    fn new(sms: Option<String>, codes: Option<String>, price: Credits) -> Self {
        let (Some(sms), Some(codes)) = (sms, codes) else {
            return Self::default();
        };
        let typed = sms.trim().trim_start_matches('$').replace(',', ".");
        let each = Credits::parse(&typed)
            .ok()
            .filter(|each| (0..=MAX_SMS_MICROS).contains(&each.micros()));
        let number: String = codes.chars().filter(|digit| !" ,'_".contains(*digit)).collect();
        let number = number.parse::<u64>().ok().filter(|number| *number <= MAX_CODES);
        let result = each.zip(number).map(|(each, number)| {
            // At most 10¹⁷ millionths: within 64 bits. A price may be a thousand: that is cut off, and no reader minds.
            let times = i64::try_from(number).unwrap_or(i64::MAX);
            let total = |each: Credits| Credits::from_micros(each.micros().saturating_mul(times));
            let (by_sms, here) = (total(each), total(price));
            Difference {
                sms: money(by_sms),
                here: money(here),
                saved: (by_sms > here).then(|| money(by_sms - here)),
                codes: count(number),
            }
        });
        Self {
            sms_problem: each.is_none(),
            codes_problem: number.is_none(),
            sms,
            codes,
            result,
        }
    }
}

/// Posted to the root, it was meant for the API and names no method.
async fn unknown_method() -> Response {
    let body = format!("{{\"ok\":false,\"error\":\"{}\"}}", ApiError::UnknownMethod);
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Pages that say something to everybody may be found; a sandbox may not.
async fn robots(State(app): State<Arc<App>>) -> Response {
    let text = match app.mode {
        Mode::Sandbox => "User-agent: *\nDisallow: /\n",
        Mode::Production => {
            "User-agent: *\nDisallow: /account\nDisallow: /operator\nDisallow: /login\nDisallow: /inbox\nAllow: /\n"
        }
    };
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(sms: &str, codes: &str) -> Comparison {
        Comparison::new(
            Some(sms.to_owned()),
            Some(codes.to_owned()),
            Credits::from_micros(10_000),
        )
    }

    #[test]
    fn the_difference_is_counted_to_the_cent() {
        let result = compare("0.045", "20,000").result.unwrap();
        assert_eq!((result.sms.as_str(), result.here.as_str()), ("$900.00", "$200.00"));
        assert_eq!(result.saved.as_deref(), Some("$700.00"));
    }

    #[test]
    fn a_cheaper_sms_is_not_turned_into_a_saving() {
        assert_eq!(compare("0.008", "1000").result.unwrap().saved, None);
    }

    #[test]
    fn what_is_no_number_is_said_and_kept() {
        let wrong = compare("cheap", "-3");
        assert!(wrong.sms_problem && wrong.codes_problem && wrong.result.is_none());
        assert_eq!((wrong.sms.as_str(), wrong.codes.as_str()), ("cheap", "-3"));
        assert!(compare("101", "1").sms_problem);
    }
}
