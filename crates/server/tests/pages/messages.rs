//! `/account/messages`: the list, one message, and the events of an open page.

use countersign_core::*;
use countersign_store::*;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::{Browser, PATIENCE, PHONE, Server};

#[tokio::test]
async fn an_empty_list_teaches_the_first_call() {
    let server = Server::start().await;
    let page = server.owner().await.get("/account/messages").await;
    assert_eq!(page.status, 200);
    assert!(page.has("No message yet") && page.has("/sendVerificationMessage"));
}

#[tokio::test]
async fn a_request_id_in_the_box_leads_to_its_message() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let id = owner.sent(PHONE, None, None).await;
    let page = owner.get(&format!("/account/messages?q={id}")).await;
    // The head is read in lower case.
    assert_eq!(page.location(), format!("/account/messages/{id}").to_ascii_lowercase());
}

#[tokio::test]
async fn a_search_finds_by_number_and_payload_and_says_what_it_looked_for() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let wanted = owner.sent(PHONE, Some("order-1"), None).await;
    let other = owner.sent(447_911_123_456, Some("order-2"), None).await;
    for query in ["q=%2B39+123+456+7890", "q=1234567890", "q=order-1", "q=number%3A7890"] {
        let page = owner.get(&format!("/account/messages?{query}")).await;
        assert!(page.has(&wanted.to_string()), "{query}");
        assert!(!page.has(&other.to_string()), "{query}");
    }
    let page = owner.get("/account/messages?q=order-").await;
    assert!(page.has("No message found") && page.has("the payload “order-”"));
    assert!(page.has("/account/messages?q=order-*"));
}

#[tokio::test]
async fn filters_stay_in_the_links_of_a_page() {
    let server = Server::start().await;
    let owner = server.owner().await;
    for _ in 0..60 {
        owner.sent(PHONE, Some("batch"), None).await;
    }
    let page = owner.get("/account/messages?q=batch&delivery=sent").await;
    let next = link(&page.body, "rel=\"next\"");
    assert!(next.contains("q=batch&#38;delivery=sent&#38;on="), "{next}");
    let second = owner.get(&next.replace("&#38;", "&")).await;
    assert_eq!(second.body.matches("data-label=\"Number\"").count(), 10);
    let back = link(&second.body, "rel=\"prev\"");
    assert!(back.contains("q=batch&#38;delivery=sent&#38;back="), "{back}");
    let first = owner.get(&back.replace("&#38;", "&")).await;
    assert_eq!(first.body.matches("data-label=\"Number\"").count(), 50);
    assert!(page.has("/account/messages?q=batch&#38;delivery=sent&#38;order=oldest"));
}

/// The address of the first link that says this of itself.
fn link(body: &str, mark: &str) -> String {
    let place = body.find(mark).unwrap();
    let before = &body[..place];
    let (_, href) = before.rsplit_once("href=\"").unwrap();
    href.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn another_accounts_message_is_no_message() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let other = server.other().await;
    let id = other.sent(PHONE, None, None).await;
    for path in ["", "/events"] {
        assert_eq!(owner.get(&format!("/account/messages/{id}{path}")).await.status, 404);
    }
    for path in ["revoke", "redeliver"] {
        let page = owner
            .post(&format!("/account/messages/{id}/{path}"), &[("number", "1")])
            .await;
        assert_eq!(page.status, 404, "{path}");
    }
    let found = server.store.request(other.account, id).await.unwrap().unwrap();
    assert_eq!(found.delivery, DeliveryState::Sent);
}

#[tokio::test]
async fn a_page_never_runs_what_a_payload_says_and_never_shows_the_code() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let id = owner.sent(PHONE, Some("<script>alert(1)</script>"), None).await;
    server
        .submit(
            owner.account,
            Action::Check {
                request: id,
                code: EnteredCode::new("48151623".into()),
            },
        )
        .await;
    for path in [
        "/account/messages".to_owned(),
        format!("/account/messages/{id}"),
        "/account/messages?q=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
    ] {
        let page = owner.get(&path).await;
        assert!(!page.has("<script>alert"), "{path}");
        assert!(page.has("alert(1)"), "{path}");
        assert!(!page.has("48151623"), "{path}");
    }
}

#[tokio::test]
async fn a_timeline_tells_of_the_sending_the_states_and_the_code() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let id = owner.sent(PHONE, None, None).await;
    owner.news(id, News::Delivered).await;
    owner.news(id, News::Read).await;
    for code in ["0000", "48151623"] {
        let code = EnteredCode::new(code.into());
        server.submit(owner.account, Action::Check { request: id, code }).await;
    }
    let page = owner.get(&format!("/account/messages/{id}")).await;
    let (_, timeline) = page.body.split_once("<ol class=\"timeline\"").unwrap();
    let (timeline, _) = timeline.split_once("</ol>").unwrap();
    let places: Vec<_> = ["Sent", "Delivered", "Read", "Code valid", "After 1 wrong code"]
        .map(|word| timeline.find(word).unwrap_or_else(|| panic!("{word} is missing")))
        .to_vec();
    assert!(places.is_sorted(), "{timeline}");
    assert!(!page.has("/revoke"));
}

/// The lines of a message's timeline, as their notes say it, in order.
async fn notes(owner: &Browser<'_>, id: RequestId, expected: &[&str]) {
    let page = owner.get(&format!("/account/messages/{id}")).await;
    let (_, timeline) = page.body.split_once("<ol class=\"timeline\"").unwrap();
    let (timeline, _) = timeline.split_once("</ol>").unwrap();
    let timeline = timeline.replace("&#39;", "'");
    let mut rest = timeline.as_str();
    for note in expected {
        let Some((_, after)) = rest.split_once(note) else {
            panic!("{note:?} is missing, or not in its place, in {timeline}")
        };
        rest = after;
    }
}

#[tokio::test]
async fn a_timeline_tells_which_leg_was_tried_what_it_answered_and_why_the_next_was_taken() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let id = owner
        .sent_over(
            "europe|telegram:300,upstream:400,sms:300",
            ("whatsapp", "its circuit is open"),
        )
        .await;
    owner
        .news_by(id, "telegram", News::CannotReach, Some("no <b>opt-in</b>"))
        .await;
    owner.news_by(id, "upstream", News::Accepted, None).await;
    owner.pass_seconds(25, id).await;
    owner.news_by(id, "sms", News::Accepted, None).await;
    owner.news_by(id, "sms", News::Delivered, None).await;
    owner.news_by(id, "upstream", News::Delivered, None).await;
    notes(
        &owner,
        id,
        &[
            "whatsapp was passed over: its circuit is open",
            "telegram can't reach this number: no &#60;b&#62;opt-in&#60;/b&#62;; upstream is next",
            "upstream took the message",
            "upstream did not deliver within 25.",
            "sms is next",
            "sms took the message",
            "By sms",
            "By upstream as well; it counts and costs once",
        ],
    )
    .await;
    let page = owner.get(&format!("/account/messages/{id}")).await;
    assert!(page.has("europe: telegram, then upstream, then sms"));
}

#[tokio::test]
async fn a_timeline_says_when_no_other_way_is_left_and_when_a_code_was_not_asked_for() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let over = "europe|telegram:500,sms:500";
    let failed = owner.sent_over(over, ("mail", "no address")).await;
    owner.pass_seconds(6, failed).await;
    let action = Action::NextLeg { request: failed };
    server.submit(owner.account, action).await;
    owner
        .news_by(failed, "sms", News::Refused, Some("sender not allowed"))
        .await;
    // Until it answers, the first leg may still deliver.
    owner.news_by(failed, "telegram", News::CannotReach, None).await;
    notes(
        &owner,
        failed,
        &[
            "telegram had not delivered after 6.",
            "when it was asked for again; sms is next",
            "sms refused the message: sender not allowed; no other way is left",
            "The last way to deliver it failed for good",
            "its fee was given back",
        ],
    )
    .await;
    let disowned = owner.sent_over(over, ("mail", "no address")).await;
    owner.news_by(disowned, "telegram", News::Delivered, None).await;
    owner.news_by(disowned, "telegram", News::Disowned, None).await;
    notes(
        &owner,
        disowned,
        &[
            "By telegram",
            "Its recipient says that they asked for no code: the code has ended",
        ],
    )
    .await;
    let page = owner.get(&format!("/account/messages/{disowned}")).await;
    assert!(!page.has("Nobody entered it in time"));
}

#[tokio::test]
async fn revoking_needs_the_pages_own_form() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let id = owner.sent(PHONE, None, None).await;
    let path = format!("/account/messages/{id}/revoke");
    assert_eq!(owner.post_with(&path, "stolen", &[]).await.status, 403);
    let state = async || server.store.request(owner.account, id).await.unwrap().unwrap().delivery;
    assert_eq!(state().await, DeliveryState::Sent);
    let page = owner.post(&path, &[]).await;
    assert!(page.location().ends_with("?done=revoked"));
    assert_eq!(state().await, DeliveryState::Revoked);
}

#[tokio::test]
async fn a_lost_report_is_shown_with_its_attempts_and_goes_again_by_hand() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let id = owner.sent(PHONE, None, Some("https://example.com/reports")).await;
    owner.news(id, News::Delivered).await;
    let key = ReportKey {
        request: RequestRef {
            account: owner.account,
            id,
        },
        number: 1,
    };
    let attempt = ReportAttempt {
        at: countersign_server::clock::now(),
        duration_ms: 120,
        status: Some(500),
        error: Some("the receiver answered 500".into()),
        response: b"<b>no & never</b>".to_vec(),
    };
    let recorded = server
        .store
        .record_report(key, attempt, ReportOutcome::Lost, server.store.lease());
    recorded.await.unwrap();
    let path = format!("/account/messages/{id}");
    let page = owner.get(&path).await;
    assert!(page.has("Lost") && page.has("the receiver answered 500") && page.has("120 ms"));
    assert!(page.has("no &#38; never") && !page.has("<b>no"));
    let redeliver = format!("{path}/redeliver");
    assert_eq!(
        owner.post_with(&redeliver, "stolen", &[("number", "1")]).await.status,
        403
    );
    let answer = owner.post(&redeliver, &[("number", "1")]).await;
    assert!(answer.location().ends_with("?done=redelivered"));
    let report = server.store.report(key).await.unwrap().unwrap();
    assert_eq!(report.profile.state, ReportState::Pending);
    // Pressed twice: it goes already.
    let again = owner.post(&redeliver, &[("number", "1")]).await;
    assert!(!again.location().contains("done"));
}

/// Reads a stream up to the so-many-th event.
async fn events(stream: &mut TcpStream, seen: &mut String, count: usize) {
    let mut buffer = [0; 1_024];
    while seen.matches("event: change").count() < count {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await;
        let read = read.unwrap().unwrap();
        assert!(read > 0, "the stream ended: {seen}");
        seen.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
}

#[tokio::test]
async fn an_open_page_hears_of_news_and_ends_with_the_server() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let id = owner.sent(PHONE, None, None).await;
    let mut stream = owner.open(&format!("/account/messages/{id}/events")).await;
    let mut seen = String::new();
    events(&mut stream, &mut seen, 1).await;
    assert!(seen.contains("text/event-stream"), "{seen}");
    owner.news(id, News::Delivered).await;
    events(&mut stream, &mut seen, 2).await;
    server.drain.send_replace(true);
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_session_has_eight_open_streams_at_most() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let id = owner.sent(PHONE, None, None).await;
    let path = format!("/account/messages/{id}/events");
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut stream = owner.open(&path).await;
        events(&mut stream, &mut String::new(), 1).await;
        open.push(stream);
    }
    assert_eq!(owner.get(&path).await.status, 429);
}
