//! The balance: its history with filters and files, orders from the form to the ledger, statements.

use countersign_core::{Action, AdjustmentReason, Command, Credits, OrderId, RequestId, Timestamp};
use countersign_server::Mode;
use countersign_store::OrderFilter;
use reqwest::StatusCode;

use crate::support::{Browser, OPERATOR_KEY, PHONE, Page, Site, now, send};

const DAY_MS: i64 = 86_400_000;

async fn ask(site: &Site, action: Action, now: Timestamp) {
    let command = Command {
        now,
        token: None,
        idempotency: None,
        action,
    };
    site.store.submit(site.account, command).await.unwrap().unwrap();
}

async fn adjust(site: &Site, amount: &str, reason: &str) {
    let action = Action::Adjust {
        amount: Credits::parse(amount).unwrap(),
        reason: AdjustmentReason::new(reason).unwrap(),
    };
    ask(site, action, now()).await;
}

/// Orders by the form; answers where it leads.
async fn order(browser: &Browser, amount: &str, provider: &str) -> Page {
    browser.get("/account/balance").await;
    let fields = [("amount", amount), ("provider", provider)];
    browser.submit("/account/balance/orders", &fields).await
}

/// The reference of the order that a redirect leads to.
fn reference(page: &Page) -> String {
    let to = page.to.as_deref().unwrap();
    let rest = to.strip_prefix("/account/balance/orders/").unwrap();
    rest.split('?').next().unwrap().to_owned()
}

async fn balance(site: &Site) -> String {
    let profile = site.store.account(site.account.id).await.unwrap().unwrap();
    profile.balance.to_string()
}

fn count(page: &Page, what: &str) -> usize {
    page.text.matches(what).count()
}

#[tokio::test]
async fn the_page_says_what_there_is_to_spend_and_what_was_booked() {
    let site = Site::start().await;
    ask(&site, send(PHONE, 7), now()).await;
    adjust(&site, "-2.5", "credited <twice>").await;
    let page = site.owner().await.get("/account/balance").await;
    assert_eq!((page.status, page.heading()), (StatusCode::OK, "Balance"));
    page.shows("$7.49");
    page.shows("credited &#60;twice&#62;");
    page.shows("−$2.50");
    page.shows("+$10.00");
    page.shows("/account/messages/");
    // Unless spent before, in three years.
    page.shows("Lapses next");
    assert!(page.text.len() < 30_000, "{} bytes", page.text.len());
}

#[tokio::test]
async fn without_an_entry_the_page_teaches() {
    let site = Site::start().await;
    let account = site.account;
    let empty = crate::support::new_account(site.store.as_ref(), 9, "+393333333339").await;
    assert_ne!(account, empty);
    let browser = site.signed_in(empty).await;
    let page = browser.get("/account/balance").await;
    page.shows("Nothing was booked yet");
    page.shows("Add funds");
    browser.get("/account/balance/orders").await.shows("No orders yet");
    browser.get("/account/balance/statements").await.shows("so far");
    let month = now().rfc_3339()[..7].to_owned();
    let path = format!("/account/balance/statements/{month}");
    browser.get(&path).await.shows("Nothing was booked in this month");
}

#[tokio::test]
async fn the_history_is_filtered_by_kind_time_and_request() {
    let site = Site::start().await;
    let at = now();
    ask(&site, send(PHONE, 7), at).await;
    ask(&site, send(PHONE, 8), at).await;
    adjust(&site, "1", "goodwill").await;
    let browser = site.owner().await;
    let rows = |page: &Page| count(page, "data-label=\"Balance after\"");
    assert_eq!(rows(&browser.get("/account/balance").await), 4);
    assert_eq!(rows(&browser.get("/account/balance?kind=charge").await), 2);
    assert_eq!(rows(&browser.get("/account/balance?kind=adjustment").await), 1);
    assert_eq!(rows(&browser.get("/account/balance?kind=lapse").await), 0);
    let day = |offset: i64| now().plus_millis(offset * DAY_MS).rfc_3339()[..10].to_owned();
    let of_days = |from: i64, to: i64| format!("/account/balance?from={}&to={}", day(from), day(to));
    assert_eq!(rows(&browser.get(&of_days(-1, 1)).await), 4);
    assert_eq!(rows(&browser.get(&of_days(-9, -8)).await), 0);
    let request = RequestId::new(at, 8);
    let page = browser.get(&format!("/account/balance?request={request}")).await;
    assert_eq!((rows(&page), count(&page, "Charge</span>")), (1, 1));
    // What can't be is said at its field, and what was typed stays.
    for (query, field) in [
        ("request=abc", "request"),
        ("from=yesterday", "from"),
        ("from=2026-02-02&to=2026-02-01", "to"),
    ] {
        let page = browser.get(&format!("/account/balance?{query}")).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        page.shows(&format!("aria-describedby=\"{field}-problem\""));
        page.shows(&format!("id=\"{field}-problem\""));
    }
}

#[tokio::test]
async fn a_long_history_is_read_page_by_page() {
    let site = Site::start().await;
    for number in 0..60 {
        adjust(&site, "0.01", &format!("number {number}")).await;
    }
    let browser = site.owner().await;
    let first = browser.get("/account/balance?kind=adjustment").await;
    first.shows("number 59");
    assert!(!first.text.contains("number 9<"), "the first page is too long");
    let (_, link) = first.text.split_once("?kind=adjustment&#38;before=").unwrap();
    let before = link.split('#').next().unwrap();
    let path = format!("/account/balance?kind=adjustment&before={before}");
    let second = browser.get(&path).await;
    second.shows("number 9<");
    second.shows("number 0<");
    second.shows("Newest");
    assert!(!second.text.contains("rel=\"next\""), "there is no third page");
}

#[tokio::test]
async fn the_csv_holds_the_filtered_history_and_no_formula() {
    let site = Site::start().await;
    ask(&site, send(PHONE, 7), now()).await;
    adjust(&site, "-2.5", "=1+1, \"twice\"").await;
    let browser = site.owner().await;
    let csv = browser.get("/account/balance/history.csv").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(
        csv.headers["content-disposition"],
        "attachment; filename=\"history.csv\""
    );
    let lines: Vec<_> = csv.text.lines().collect();
    assert_eq!(lines[0], "number,booked_at,kind,amount,balance_after,request_id,reason");
    assert!(
        lines[1].starts_with("3,") && lines[1].ends_with(",adjustment,-2.5,7.49,,\"'=1+1, \"\"twice\"\"\""),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].starts_with("2,") && lines[2].contains(",charge,-0.01,9.99,"),
        "{}",
        lines[2]
    );
    assert!(lines[3].ends_with(",purchase,10,10,,"), "{}", lines[3]);
    let charges = browser.get("/account/balance/history.csv?kind=charge").await;
    assert_eq!(charges.text.lines().count(), 2);
}

#[tokio::test]
async fn a_transfer_is_ordered_paid_and_confirmed_by_the_operator() {
    let site = Site::start().await;
    let browser = site.owner().await;
    let made = order(&browser, "25,50", "transfer").await;
    let reference = reference(&made);
    assert!(OrderId::parse(&reference).is_some(), "{reference}");
    let page = browser.get(made.to.as_deref().unwrap()).await;
    for text in [
        &*reference,
        "$25.50",
        "Waits for payment",
        "How to pay",
        "The order is made",
    ] {
        page.shows(text);
    }
    browser.get("/account/balance").await.shows(&reference);
    assert_eq!(balance(&site).await, "10");
    let confirmed = operator(
        &site,
        &format!("/orders/{}/confirm", reference.to_lowercase()),
        r#"{"note":"seen"}"#,
    )
    .await;
    assert_eq!(confirmed["state"], "confirmed");
    assert_eq!(balance(&site).await, "35.5");
    // Again: the same order, bought once.
    let again = operator(&site, &format!("/orders/{reference}/confirm"), "").await;
    assert_eq!(again, confirmed);
    assert_eq!(balance(&site).await, "35.5");
    let page = browser.get(&format!("/account/balance/orders/{reference}")).await;
    page.shows("Paid");
    page.shows("the operator");
    page.shows("seen");
    assert!(
        !page.text.contains("Cancel this order"),
        "a paid order can't be cancelled"
    );
    // The purchase in the history leads to its order.
    browser
        .get("/account/balance?kind=purchase")
        .await
        .shows(&format!("orders/{reference}\""));
}

/// Asks the operator's API.
async fn operator(site: &Site, path: &str, body: &str) -> serde_json::Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(format!("http://{}/operator/v1{path}", site.address))
        .bearer_auth(OPERATOR_KEY)
        .body(body.to_owned());
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn play_money_is_there_at_once_and_in_the_sandbox_only() {
    let site = Site::start().await;
    let browser = site.owner().await;
    order(&browser, "5", "play-money")
        .await
        .leads_to("/account/balance?done=added");
    assert_eq!(balance(&site).await, "15");
    let production = Site::start_with(Mode::Production, |settings| settings.inbox.enabled = false).await;
    let browser = production.owner().await;
    let page = browser.get("/account/balance").await;
    assert!(!page.text.contains("Play money"), "play money in production");
    let refused = browser
        .submit(
            "/account/balance/orders",
            &[("amount", "5"), ("provider", "play-money")],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(balance(&production).await, "10");
}

#[tokio::test]
async fn a_wrong_amount_is_said_at_its_field_and_stays_there() {
    let site = Site::start().await;
    let browser = site.owner().await;
    for (amount, words) in [
        ("", "Type an amount"),
        ("ten", "Type digits"),
        ("1,000", "more than one way"),
        ("0.5", "between them"),
        ("100000.01", "between them"),
        ("12.345", "whole cents"),
    ] {
        let page = order(&browser, amount, "transfer").await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{amount:?}");
        page.shows(words);
        page.shows("aria-describedby=\"amount-hint amount-problem\"");
        page.shows(&format!("placeholder=\"50.00\" value=\"{amount}\""));
    }
    assert!(
        site.store
            .orders(OrderFilter::default(), None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_order_is_cancelled_once_and_the_eleventh_open_one_is_refused() {
    let site = Site::start().await;
    let browser = site.owner().await;
    let mut last = String::new();
    for _ in 0..10 {
        last = reference(&order(&browser, "5", "transfer").await);
    }
    let eleventh = order(&browser, "5", "transfer").await;
    assert_eq!(eleventh.status, StatusCode::UNPROCESSABLE_ENTITY);
    eleventh.shows("10 open orders");
    let path = format!("/account/balance/orders/{last}");
    browser.get(&path).await.shows("Cancel this order");
    let cancel = format!("{path}/cancel");
    browser
        .submit(&cancel, &[])
        .await
        .leads_to("/account/balance?done=cancelled");
    browser.get(&path).await.shows("Cancelled");
    order(&browser, "5", "transfer").await;
    assert_eq!(balance(&site).await, "10");
}

#[tokio::test]
async fn an_order_paid_meanwhile_is_not_cancelled() {
    let site = Site::start().await;
    let browser = site.owner().await;
    let reference = reference(&order(&browser, "5", "transfer").await);
    let path = format!("/account/balance/orders/{reference}");
    browser.get(&path).await;
    operator(&site, &format!("/orders/{reference}/confirm"), "").await;
    browser.submit(&format!("{path}/cancel"), &[]).await.leads_to(&path);
    browser.get(&path).await.shows("Paid");
    assert_eq!(balance(&site).await, "15");
}

#[tokio::test]
async fn another_accounts_order_is_not_found_and_a_form_without_its_token_is_refused() {
    let site = Site::start().await;
    let browser = site.owner().await;
    let reference = reference(&order(&browser, "5", "transfer").await);
    let other = site.account(2, "+393333333334").await;
    let stranger = site.signed_in(other).await;
    let path = format!("/account/balance/orders/{reference}");
    assert_eq!(stranger.get(&path).await.status, StatusCode::NOT_FOUND);
    stranger.get("/account/balance").await;
    let cancelled = stranger.submit(&format!("{path}/cancel"), &[]).await;
    assert_eq!(cancelled.status, StatusCode::NOT_FOUND);
    assert_eq!(
        browser.get("/account/balance/orders/CS-2222-2223").await.status,
        StatusCode::NOT_FOUND
    );
    for path in ["/account/balance/orders", &format!("{path}/cancel")] {
        for csrf in ["", "AAAA"] {
            let page = browser.post(path, &[("csrf", csrf), ("amount", "5")]).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}");
        }
    }
    let orders = site.store.orders(OrderFilter::default(), None, 10).await.unwrap();
    assert_eq!((orders.len(), orders[0].state.name()), (1, "open"));
    // Nobody signed in: to the login, and back.
    let page = site.browser().get("/account/balance").await;
    page.leads_to("/login?next=%2Faccount%2Fbalance");
}

#[tokio::test]
async fn a_statement_adds_up_on_the_page_and_in_its_files() {
    let site = Site::start().await;
    ask(&site, send(PHONE, 7), now()).await;
    adjust(&site, "-2.5", "correction").await;
    let month = now().rfc_3339()[..7].to_owned();
    let browser = site.owner().await;
    let list = browser.get("/account/balance/statements").await;
    list.shows(&format!("/account/balance/statements/{month}\""));
    list.shows("$7.49");
    let path = format!("/account/balance/statements/{month}");
    let page = browser.get(&path).await;
    for text in [
        "Opening balance",
        "$0.00",
        "$7.49",
        "+$10.00",
        "−$2.50",
        "correction",
        "Times are in UTC",
    ] {
        page.shows(text);
    }
    let csv = browser.get(&format!("{path}.csv")).await;
    let lines: Vec<_> = csv.text.lines().collect();
    assert_eq!(lines.len(), 6, "{}", csv.text);
    assert!(lines[1].contains(",opening_balance,,0,,"), "{}", lines[1]);
    assert!(
        lines[2].starts_with("1,") && lines[5].contains(",closing_balance,,7.49,,"),
        "{}",
        csv.text
    );
    let json = browser.get(&format!("{path}.json")).await;
    let json: serde_json::Value = serde_json::from_str(&json.text).unwrap();
    assert_eq!(json["closing_balance"], 7.49);
    assert_eq!(json["entries"].as_array().unwrap().len(), 3);
    for missing in ["2199-01", "2026-13", "nonsense", &format!("{month}.pdf")] {
        let page = browser.get(&format!("/account/balance/statements/{missing}")).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{missing}");
    }
}
