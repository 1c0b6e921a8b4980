//! Twilio: what goes out, what its answers mean, what is asked afterwards.

use serde_json::{Value, json};

use super::*;

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
pub(super) const TOKEN: &str = "an-auth-token-of-tests";
const SID: &str = "SM00000000000000000000000000000001";

pub(super) fn settings(more: &[(&str, &str)]) -> impl Fn(&str) -> Vec<(String, String)> {
    let more = owned(more);
    move |url| {
        let base = [
            ("account_sid", ACCOUNT),
            ("auth_token", TOKEN),
            ("from", "+15551234567"),
            ("base_url", url),
        ];
        let base = owned(&base);
        let base = base
            .into_iter()
            .filter(|(key, _)| more.iter().all(|(other, _)| other != key));
        base.chain(more.iter().filter(|(_, value)| value != "-").cloned())
            .collect()
    }
}

async fn world(more: &[(&str, &str)]) -> World {
    World::with(settings(more), None).await
}

pub(super) fn resource(sid: &str, status: &str, price: Option<&str>) -> Value {
    json!({"sid": sid, "status": status, "error_code": null, "price": price, "price_unit": "USD", "body": "…"})
}

pub(super) fn taken(sid: &str) -> Reaction {
    Reaction::Say(201, resource(sid, "queued", None).to_string())
}

fn refusal(status: u16, code: u64) -> Reaction {
    let body = json!({"code": code, "message": format!("The number {PHONE} …"), "status": status});
    Reaction::Say(status, body.to_string())
}

#[tokio::test]
async fn a_message_goes_out_with_its_life_and_is_accepted_under_twilios_name() {
    let mut world = world(&[("risk_check", "disable")]).await;
    world.fake.will([taken(SID)]);
    assert_eq!(world.deliver().await, accepted(SID));
    let call = world.fake.call().await;
    assert_eq!(
        (call.verb.as_str(), call.target.as_str()),
        ("POST", format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json").as_str())
    );
    assert!(call.headers["authorization"].starts_with("Basic "));
    let form = form(&call);
    let validity: u64 = form["ValidityPeriod"].parse().unwrap();
    assert!((290..=300).contains(&validity), "{validity}");
    assert_eq!(form["To"], PHONE);
    assert_eq!(form["From"], "+15551234567");
    assert_eq!(form["RiskCheck"], "disable");
    assert!(form["Body"].contains(CODE), "{form:?}");
    assert!(!form.contains_key("StatusCallback") && !form.contains_key("MessagingServiceSid"));
}

#[tokio::test]
async fn a_text_is_in_the_recipients_language_with_what_the_account_wants_at_its_end() {
    let mut world = world(&[]).await;
    world.server.books.set_autofill(Autofill {
        domain: Some("example.com".to_owned()),
        android_hash: None,
    });
    world.fake.will([taken(SID)]);
    world.deliver().await;
    let text = form(&world.fake.call().await)["Body"].clone();
    assert!(text.ends_with("\n@example.com #123456"), "{text}");
    assert!(!text.contains("verification code"), "a German number: {text}");
}

#[tokio::test]
async fn the_operators_own_words_and_a_messaging_service_are_used() {
    let service = "MG0123456789abcdef0123456789abcdef";
    let more = [
        ("from", "-"),
        ("messaging_service_sid", service),
        ("text", "Acme: {code}"),
        ("login_text", "{site}: {code}"),
        ("api_key", "SK0123456789abcdef0123456789abcdef"),
        ("api_key_secret", "a-secret"),
    ];
    let mut world = world(&more).await;
    world
        .fake
        .will([taken(SID), taken("SM00000000000000000000000000000002")]);
    world.deliver().await;
    world.channel.deliver_login(prompt()).await;
    let sent = world.fake.call().await;
    let basic = "Basic U0swMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjphLXNlY3JldA==";
    assert_eq!(sent.headers["authorization"], basic);
    let sent = form(&sent);
    assert_eq!(
        (sent["MessagingServiceSid"].as_str(), sent["Body"].as_str()),
        (service, "Acme: 123456")
    );
    assert!(!sent.contains_key("From"));
    assert_eq!(form(&world.fake.call().await)["Body"], "your account: 123456");
}

#[tokio::test]
async fn errors_mean_what_their_codes_say_and_show_no_number() {
    let world = world(&[]).await;
    let cases: [(u16, u64, IsIt); 10] = [
        (400, 21_211, |it| matches!(it, Handover::CannotReach(_))),
        (400, 21_408, |it| matches!(it, Handover::CannotReach(_))),
        (400, 21_610, |it| matches!(it, Handover::CannotReach(_))),
        (400, 21_614, |it| matches!(it, Handover::CannotReach(_))),
        (400, 21_617, |it| matches!(it, Handover::Refused(_))),
        (400, 21_999, |it| matches!(it, Handover::Refused(_))),
        (401, 20_003, |it| matches!(it, Handover::Refused(_))),
        (403, 1, |it| matches!(it, Handover::Refused(_))),
        (500, 20_500, failed),
        (503, 21_614, failed),
    ];
    for (status, code, is_it) in cases {
        world.fake.will([refusal(status, code)]);
        let handover = world.deliver().await;
        assert!(is_it(&handover), "{status} {code}: {handover:?}");
        let shown = format!("{handover:?}");
        assert!(shown.contains(&code.to_string()) && !shown.contains(PHONE), "{shown}");
    }
}

#[tokio::test]
async fn what_only_the_operator_can_mend_is_said_once_a_minute() {
    let world = world(&[]).await;
    let (log, guard) = log();
    for _ in 0..3 {
        world.fake.will([refusal(401, 20_003)]);
        world.deliver().await;
    }
    drop(guard);
    let log = log.text();
    assert_eq!(log.matches("no message goes").count(), 1, "{log}");
    assert!(log.contains("refuses the credentials") && !log.contains(TOKEN), "{log}");
}

#[tokio::test]
async fn a_throttled_message_waits_and_so_do_others_until_the_pause_is_over() {
    let mut world = world(&[]).await;
    let body = json!({"code": 20_429}).to_string();
    world.fake.will([Reaction::SayWith(429, "retry-after: 7\r\n", body)]);
    assert_eq!(world.deliver().await, Handover::Later(Duration::from_secs(7)));
    world.fake.call().await;
    let Handover::Later(rest) = world.channel.deliver(message_of(2)).await else {
        panic!("it wasn't held back")
    };
    assert!(rest <= Duration::from_secs(7));
    assert!(world.fake.was_not_called());
}

#[tokio::test]
async fn a_pause_is_not_shortened_by_one_that_is_asked_for_after_it() {
    let mut world = world(&[]).await;
    let signal = Arc::new(tokio::sync::Notify::new());
    let mut short = resource(SID, "failed", None);
    short["error_code"] = json!(20_429);
    world.fake.will([
        Reaction::SayAfter(Arc::clone(&signal), short.to_string()),
        Reaction::SayWith(429, "retry-after: 50\r\n", String::new()),
    ]);
    let channel = Arc::clone(&world.channel);
    let first = tokio::spawn(async move { channel.deliver(message_of(1)).await });
    world.fake.call().await;
    let second = world.channel.deliver(message_of(2)).await;
    assert_eq!(second, Handover::Later(Duration::from_secs(50)));
    signal.notify_one();
    assert_eq!(first.await.unwrap(), Handover::Later(Duration::from_secs(1)));
    let Handover::Later(rest) = world.channel.deliver(message_of(3)).await else {
        panic!("it wasn't held back")
    };
    assert!(rest > Duration::from_secs(20), "{rest:?}");
}

#[tokio::test]
async fn the_examination_warns_of_calls_to_another_machine_without_tls() {
    // Every address of this machine, and none of those that are surely its own.
    let elsewhere = |url: &str| settings(&[("timeout_s", "1")])(&url.replace("127.0.0.1", "0.0.0.0"));
    for (world, warned) in [
        (World::with(elsewhere, None).await, true),
        (World::with(settings(&[]), None).await, false),
    ] {
        let account = json!({"status": "active", "type": "Full"}).to_string();
        world.fake.will([Reaction::Say(200, account)]);
        let findings = world.channel.examine().await;
        let warns = findings.iter().any(|finding| finding.found.contains("without TLS"));
        assert_eq!(warns, warned, "{findings:?}");
    }
}

#[tokio::test]
async fn a_pause_that_the_messages_life_does_not_allow_is_a_refusal() {
    let world = world(&[]).await;
    world
        .fake
        .will([Reaction::SayWith(429, "retry-after: 290\r\n", String::new())]);
    assert!(matches!(world.deliver().await, Handover::Refused(_)));
}

#[tokio::test]
async fn whatever_leaves_the_outcome_open_is_a_failure_and_nothing_is_sent_twice() {
    let mut world = world(&[("timeout_s", "1")]).await;
    let long = "x".repeat(100_000);
    for reaction in [
        Reaction::Close,
        Reaction::Hang,
        Reaction::Say(200, "<html>".to_owned()),
        Reaction::Say(201, "{}".to_owned()),
        Reaction::Say(201, long),
        Reaction::Write(b"HTTP/1.1 201 Created\r\ncontent-length: 500\r\n\r\n{\"sid\":".to_vec()),
        Reaction::Write(b"\x00\x01nonsense\r\n\r\n".to_vec()),
    ] {
        let what = format!("{reaction:?}");
        world.fake.will([reaction]);
        let handover = world.deliver().await;
        assert!(failed(&handover), "{what:.80}: {handover:?}");
        world.fake.call().await;
        assert!(world.fake.was_not_called(), "{what:.80}");
    }
}

#[tokio::test]
async fn a_message_that_twilio_takes_and_fails_at_once_is_judged_by_its_code() {
    let world = world(&[]).await;
    let mut body = resource(SID, "failed", None);
    body["error_code"] = json!(30_006);
    world.fake.will([Reaction::Say(201, body.to_string())]);
    assert!(matches!(world.deliver().await, Handover::CannotReach(_)));
}

#[tokio::test]
async fn fixed_lines_and_who_wrote_stop_are_not_reached_and_nobody_is_asked() {
    let mut world = world(&[]).await;
    let line = message(1, "+493012345678", CODE, clock::now()).unwrap();
    assert_eq!(world.channel.reach(&destination(&line)).await, Reach::Unreachable);
    assert!(matches!(world.channel.deliver(line).await, Handover::CannotReach(_)));
    let stopped = message_of(1);
    assert_eq!(world.channel.reach(&destination(&stopped)).await, Reach::Reachable);
    let recipient = crate::Recipient {
        phone: stopped.phone,
        address: String::new(),
        stopped: true,
        since: clock::now(),
    };
    let recipients = &world.server.ports.recipients;
    recipients.put(world.channel.name(), recipient).await.unwrap();
    assert_eq!(world.channel.reach(&destination(&stopped)).await, Reach::Unreachable);
    assert!(matches!(world.channel.deliver(stopped).await, Handover::CannotReach(_)));
    assert!(world.fake.was_not_called());
}

#[tokio::test]
async fn while_the_books_are_in_trouble_a_message_waits() {
    let mut world = world(&[]).await;
    world.server.books.set_in_trouble(true);
    assert_eq!(world.deliver().await, Handover::Later(AGAIN));
    assert!(world.fake.was_not_called());
}

#[tokio::test]
async fn a_message_whose_life_is_over_is_not_sent() {
    let mut world = world(&[]).await;
    let old = message(1, PHONE, CODE, clock::now().plus_millis(-300_001)).unwrap();
    assert!(matches!(world.channel.deliver(old).await, Handover::Refused(_)));
    assert!(world.fake.was_not_called());
}

#[tokio::test]
async fn without_callbacks_twilio_is_asked_until_a_messages_fate_and_price_are_known() {
    let mut world = world(&[("poll_s", "1")]).await;
    let (end, ended) = watch::channel(false);
    let running = tokio::spawn(Arc::clone(&world.channel).run(ended));
    let sent = message_of(1);
    let say = |body: Value| Reaction::Say(200, body.to_string());
    world.fake.will([
        taken(SID),
        say(resource(SID, "sent", None)),
        Reaction::Say(500, String::new()),
        say(resource(SID, "delivered", Some("-0.00790"))),
    ]);
    assert_eq!(world.channel.deliver(sent.clone()).await, accepted(SID));
    let news = world.news().await;
    assert_eq!(
        (news.request, news.news, news.detail),
        (sent.request, News::Delivered, None)
    );
    let cost = world.cost().await;
    assert_eq!(
        (cost.micros, cost.message, cost.upstream),
        (7_900, Some(key_of(&sent)), Some(handle(SID)))
    );
    world.fake.call().await;
    let asked = world.fake.call().await;
    let target = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}.json");
    assert_eq!((asked.verb.as_str(), asked.target), ("GET", target));
    end.send(true).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn a_message_that_failed_says_why_in_words() {
    let mut world = world(&[("poll_s", "1"), ("prices", "false")]).await;
    let (_end, ended) = watch::channel(false);
    let running = tokio::spawn(Arc::clone(&world.channel).run(ended));
    let mut body = resource(SID, "undelivered", None);
    body["error_code"] = json!(30_003);
    world.fake.will([taken(SID), Reaction::Say(200, body.to_string())]);
    world.deliver().await;
    let news = world.news().await;
    let detail = news.detail.unwrap();
    assert_eq!(news.news, News::Failed);
    assert_eq!(
        detail.as_str(),
        "the phone is off or out of reach (Twilio’s error 30003)"
    );
    running.abort();
}

#[tokio::test]
async fn the_examination_says_what_is_wrong_without_a_message_to_anyone() {
    let number = |sms: bool, url: &str| {
        let body = json!({"incoming_phone_numbers": [{"capabilities": {"sms": sms}, "sms_url": url}]});
        Reaction::Say(200, body.to_string())
    };
    let account = |status: &str, kind: &str| Reaction::Say(200, json!({"status": status, "type": kind}).to_string());
    let inbound = "https://gateway.example/channels/sms/inbound";
    let none = || Reaction::Say(200, json!({"incoming_phone_numbers": []}).to_string());
    let cases = [
        (
            vec![account("active", "Full"), number(true, inbound)],
            Verdict::Well,
            "can send SMS",
        ),
        (
            vec![account("active", "Full"), number(true, "")],
            Verdict::Warning,
            "doesn’t come here",
        ),
        (
            vec![account("active", "Full"), number(false, "")],
            Verdict::Broken,
            "can’t send SMS",
        ),
        (vec![account("active", "Full"), none()], Verdict::Warning, "isn’t among"),
        (
            vec![account("active", "Full"), Reaction::Close],
            Verdict::Warning,
            "couldn’t be looked up",
        ),
        (
            vec![account("active", "Trial"), number(true, inbound)],
            Verdict::Warning,
            "trial",
        ),
        (vec![account("suspended", "Full")], Verdict::Broken, "suspended"),
        (vec![refusal(401, 20_003)], Verdict::Broken, "refuses the credentials"),
        (vec![refusal(404, 20_404)], Verdict::Broken, "no such account"),
        (
            vec![Reaction::Say(200, "<html>".to_owned())],
            Verdict::Broken,
            "isn’t Twilio",
        ),
        (vec![Reaction::Close], Verdict::Broken, "can’t be asked"),
    ];
    let mut world = World::with(settings(&[]), Some("https://gateway.example")).await;
    for (reactions, verdict, said) in cases {
        let calls = reactions.len();
        world.fake.will(reactions);
        let findings = world.channel.examine().await;
        let found = findings.iter().find(|finding| finding.found.contains(said));
        let found = found.unwrap_or_else(|| panic!("{said}: {findings:?}"));
        assert_eq!(found.verdict, verdict, "{findings:?}");
        assert_eq!(found.remedy.is_empty(), verdict == Verdict::Well, "{findings:?}");
        for _ in 0..calls {
            assert_eq!(world.fake.call().await.verb, "GET");
        }
    }
}

#[tokio::test]
async fn settings_that_can_not_be_are_refused_with_the_keys_name_and_show_no_secret() {
    let server = Server::new();
    for (more, said) in [
        (
            vec![("account_sid", "SK0123456789abcdef0123456789abcdef")],
            "account_sid: expected AC and",
        ),
        (vec![("auth_token", "-")], "auth_token: missing"),
        (vec![("auth_token", "")], "auth_token: it is empty"),
        (
            vec![("api_key", "SK0123456789abcdef0123456789abcdef")],
            "api_key_secret: missing",
        ),
        (vec![("api_key_secret", "x")], "api_key: missing"),
        (vec![("from", "-")], "from: missing"),
        (vec![("from", "a name that is too long")], "from: expected"),
        (
            vec![("messaging_service_sid", "Acme")],
            "messaging_service_sid: expected MG",
        ),
        (vec![("risk_check", "off")], "risk_check: expected"),
        (vec![("callbacks", "true")], "callbacks: they need server.public_url"),
        (vec![("base_url", "https://user@a.example")], "base_url: expected"),
        (vec![("text", "no code")], "text: expected"),
        (vec![("provider", "vonage")], "provider: expected"),
        (
            vec![("url", "https://a.example")],
            "url: \"sms_http\" channels have no such setting",
        ),
    ] {
        let error = made(&settings(&more)("http://127.0.0.1:1"), &server)
            .err()
            .unwrap()
            .to_string();
        assert!(error.starts_with("channels.sms.") && error.contains(said), "{error}");
        assert!(!error.contains(TOKEN), "{error}");
    }
}
