//! `/account/statistics`: the page, what it shows of what happened, and its tables to take along.

use countersign_core::*;

use crate::support::{Browser, PHONE, Server};

/// Three messages to Italy and one to Germany; two arrive, one of them is proved, one is expired.
async fn some_messages(server: &Server, owner: &Browser<'_>) {
    let italian = 393_471_234_567;
    let first = owner.sent(italian, None, None).await;
    owner.news(first, News::Delivered).await;
    owner.news(first, News::Read).await;
    let code = EnteredCode::new("48151623".into());
    let check = Action::Check { request: first, code };
    server.submit(owner.account, check).await;
    let second = owner.sent(italian, None, None).await;
    owner.news(second, News::Delivered).await;
    let third = owner.sent(italian, None, None).await;
    owner.news(third, News::Failed).await;
    owner.sent(4_915_123_456_789, None, None).await;
}

#[tokio::test]
async fn statistics_show_what_was_sent_arrived_was_verified_and_cost() {
    let server = Server::start().await;
    let owner = server.owner().await;
    some_messages(&server, &owner).await;
    let page = owner.get("/account/statistics?range=today").await;
    assert_eq!(page.status, 200, "{}", page.body);
    // Four sent, two delivered, one verified; four charged, one refunded.
    for text in [
        "4 messages were sent",
        "50.0 %",
        "25.0 %",
        "$0.03",
        "Italy",
        "Germany",
        "No sender",
        "inbox",
        "role=\"img\"",
        "From sent to verified",
        "95 % within",
    ] {
        assert!(page.has(text), "{text} is missing");
    }
    assert!(!page.has(" style="), "the page's policy forbids inline styles");
    let filtered = owner.get("/account/statistics?range=today&country=DE").await;
    assert!(filtered.has("1 message was sent") && filtered.has("Clear filters"));
    assert!(
        !filtered.has("Different numbers"),
        "they are known of the whole account only"
    );
    assert!(
        filtered.has("<option value=\"IT\">"),
        "another country can still be chosen"
    );
}

#[tokio::test]
async fn an_account_without_messages_learns_what_will_be_here() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let page = owner.get("/account/statistics").await;
    assert_eq!(page.status, 200);
    assert!(page.has("Nothing was sent in this time") && page.has("/docs/quick-start"));
    assert!(!page.has("<svg viewBox=\"0 0 480"));
}

#[tokio::test]
async fn dates_that_cannot_be_are_told_and_kept() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let page = owner.get("/account/statistics?from=2026-02-30&to=2026-03-01").await;
    assert_eq!(page.status, 422);
    assert!(page.has("aria-invalid") && page.has("Give the first day as a date"));
    assert!(page.has("value=\"2026-02-30\""), "what was typed is kept");
}

#[tokio::test]
async fn what_is_shown_can_be_taken_along() {
    let server = Server::start().await;
    let owner = server.owner().await;
    some_messages(&server, &owner).await;
    let file = owner.get("/account/statistics/country.csv?range=today").await;
    assert_eq!(file.status, 200);
    assert!(file.head.contains("content-type: text/csv"));
    assert!(file.head.contains("attachment; filename=\"statistics-"));
    let lines: Vec<&str> = file.body.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("country,name,requests,sent,delivered,read"));
    assert!(lines[1].starts_with("IT,Italy,3,3,2,1,1,1,1,0,0,0.02,"), "{lines:?}");
    assert!(lines[2].starts_with("DE,Germany,1,1,0,0,0,0,0,0,0,0.01,"), "{lines:?}");
    let file = owner.get("/account/statistics/time.csv?range=7d").await;
    assert_eq!(file.body.lines().count(), 8, "a line for each day");
    assert_eq!(owner.get("/account/statistics/secrets.csv").await.status, 404);
}

#[tokio::test]
async fn another_accounts_messages_are_not_counted() {
    let server = Server::start().await;
    let (owner, other) = (server.owner().await, server.other().await);
    other.sent(PHONE, None, None).await;
    let page = owner.get("/account/statistics").await;
    assert!(page.has("Nothing was sent in this time"));
    let page = other.get("/account/statistics").await;
    assert!(page.has("1 message was sent"));
}
