//! What an operator may set.

use super::*;

fn problem(values: &[(&str, &str)]) -> String {
    let server = Server::new();
    match channel("https://graph.example", &server, values) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{values:?} was taken"),
    }
}

#[test]
fn what_cannot_work_is_refused_with_what_to_do_and_without_secrets() {
    for (key, value) in [
        ("phone_number_id", "+15550783881"),
        ("phone_number_id", ""),
        ("business_account_id", "acme"),
        ("access_token", ""),
        ("access_token", "two\nlines-hunter2"),
        ("app_secret", " "),
        ("verify_token", "hunter2"),
        ("template", "Verification Code"),
        ("languages", "en-US"),
        ("languages", ""),
        ("base_url", "graph.facebook.com"),
        ("base_url", "https://user:hunter2@graph.example"),
        ("api_version", "25"),
        ("api_version", "v25"),
        ("timeout_s", "0"),
        ("paid", "perhaps"),
        ("phone_number", "1"),
    ] {
        let problem = problem(&[(key, value)]);
        assert!(
            problem.starts_with(&format!("channels.wa.{key}: ")),
            "{key} {value}: {problem}"
        );
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}

#[test]
fn credentials_and_a_template_must_be_set() {
    let server = Server::new();
    let all = [
        ("phone_number_id", NUMBER_ID),
        ("access_token", TOKEN),
        ("app_secret", APP_SECRET),
        ("verify_token", VERIFY_TOKEN),
        ("template", "verification_code"),
    ];
    for (missing, _) in all {
        let rest: Vec<_> = all.into_iter().filter(|(key, _)| *key != missing).collect();
        let made = make(config("wa", KIND, &rest).unwrap(), server.ports.clone());
        let problem = made.err().unwrap().to_string();
        assert!(
            problem.starts_with(&format!("channels.wa.{missing}: missing")),
            "{problem}"
        );
    }
    assert!(make(config("wa", KIND, &all).unwrap(), server.ports.clone()).is_ok());
}

#[tokio::test]
async fn version_and_languages_are_what_was_set() {
    let mut world = World::with(&[("api_version", "v26.0"), ("languages", "en_GB, it")], None).await;
    let in_italy = message(1, "+393331234567", "123456", clock::now()).unwrap();
    world.deliver_as(in_italy, "wamid.A").await;
    let call = world.fake.call().await;
    assert!(call.target.starts_with("/v26.0/"), "{}", call.target);
    assert_eq!(call.json()["template"]["language"]["code"], "it");
    let elsewhere = message(2, "+4915123456789", "123456", clock::now()).unwrap();
    world.deliver_as(elsewhere, "wamid.B").await;
    assert_eq!(world.fake.call().await.json()["template"]["language"]["code"], "en_GB");
}

#[test]
fn it_costs_money_unless_it_is_said_not_to() {
    let server = Server::new();
    let is_paid = |values: &[(&str, &str)]| channel("https://graph.example", &server, values).unwrap().is_paid();
    assert!(is_paid(&[]) && !is_paid(&[("paid", "false")]));
}
