//! The client's and the inbox's commands against a running sandbox.

use crate::support::{Sandbox, run};

#[test]
fn a_code_is_sent_read_and_checked() {
    let sandbox = Sandbox::start();
    let sent = sandbox.json(&[
        "send",
        "+391234567890",
        "--code-length",
        "4",
        "--ttl",
        "60",
        "--payload",
        "order 17",
    ]);
    assert_eq!(sent["delivery_status"]["status"], "sent");
    assert_eq!(sent["payload"], "order 17");
    assert_eq!(sent["remaining_balance"], 99.99);
    let id = sent["request_id"].as_str().unwrap();

    let listed = sandbox.json(&["inbox", "list", "--phone", "+391234567890"]);
    let message = &listed[0];
    assert_eq!(message["request_id"], id);
    assert!(
        message["text"]
            .as_str()
            .unwrap()
            .contains(message["code"].as_str().unwrap())
    );
    assert!(message["sender"].is_null());
    let life = message["expires_at"].as_i64().unwrap() - message["sent_at"].as_i64().unwrap();
    assert_eq!(life, 60);
    // Listing changes no state.
    assert_eq!(sandbox.json(&["status", id])["delivery_status"]["status"], "sent");

    let read = sandbox.json(&["inbox", "read", "--phone", "+391234567890"]);
    assert_eq!(read[0]["code"], message["code"]);
    assert_eq!(sandbox.json(&["status", id])["delivery_status"]["status"], "read");

    let code = message["code"].as_str().unwrap();
    let wrong = if code == "0000" { "1111" } else { "0000" };
    let refused = sandbox.run(["check", id, wrong, "--json"]);
    assert_eq!(refused.exit, 3, "{refused:?}");
    assert!(refused.stdout.contains("code_invalid"), "{refused:?}");
    let accepted = sandbox.json(&["check", id, code]);
    assert_eq!(accepted["verification_status"]["status"], "code_valid");
    let people = sandbox.run(["status", id]);
    assert!(people.stdout.contains("✓ code valid"), "{people:?}");
    assert!(people.stdout.contains("$0.01"), "{people:?}");
}

#[test]
fn a_revoked_message_is_withdrawn_and_its_code_ends() {
    let sandbox = Sandbox::start();
    let sent = sandbox.json(&["send", "--phone", "+391234567890", "--code", "123456"]);
    let id = sent["request_id"].as_str().unwrap();
    assert_eq!(sandbox.json(&["revoke", id])["received"], true);
    assert_eq!(sandbox.json(&["status", id])["delivery_status"]["status"], "revoked");
    assert_eq!(sandbox.run(["check", id, "123456"]).exit, 3);
}

#[test]
fn an_idempotency_key_makes_a_send_safe_to_repeat() {
    let sandbox = Sandbox::start();
    let send = || sandbox.json(&["send", "+391234567890", "--idempotency-key", "order-17"]);
    assert_eq!(send(), send());
    assert_eq!(sandbox.json(&["account", "show", "+9996600000"])["balance"], 99.99);
}

#[test]
fn one_message_of_a_number_can_be_read_alone() {
    let sandbox = Sandbox::start();
    let first = sandbox.json(&["send", "+391234567890"]);
    let second = sandbox.json(&["send", "+391234567890"]);
    let id = |sent: &serde_json::Value| sent["request_id"].as_str().unwrap().to_owned();
    sandbox.json(&["inbox", "read", "--phone", "+391234567890", "--request", &id(&first)]);
    let state = |id: &str| sandbox.json(&["status", id])["delivery_status"]["status"].clone();
    assert_eq!(state(&id(&first)), "read");
    assert_ne!(state(&id(&second)), "read");
    let empty = sandbox.json(&["inbox", "list", "--phone", "+393331234567"]);
    assert_eq!(empty.as_array().map(Vec::len), Some(0));
}

#[test]
fn every_refusal_says_what_to_do() {
    let sandbox = Sandbox::start();
    for (arguments, words) in [
        (vec!["send", "12"], vec!["PHONE_NUMBER_INVALID", "+391234567890"]),
        (
            vec!["send", "+9996610004"],
            vec!["PHONE_NUMBER_NOT_FOUND", "nothing was charged"],
        ),
        (vec!["send", "+9996610005"], vec!["FLOOD_WAIT_30", "again in 30 s"]),
        (vec!["send", "+391234567890", "--code", "12a4"], vec!["CODE_INVALID"]),
        (
            vec!["send", "+391234567890", "--code-length", "9"],
            vec!["CODE_LENGTH_INVALID"],
        ),
        (
            vec!["send", "+391234567890", "--ttl", "29"],
            vec!["TTL_INVALID", "30 to 3600"],
        ),
        (vec!["status", "nothing"], vec!["REQUEST_ID_INVALID"]),
        (vec!["check", "nothing", "1234"], vec!["REQUEST_ID_INVALID"]),
        (vec!["revoke", "nothing"], vec!["REQUEST_ID_INVALID"]),
        (
            vec!["status", "nothing", "--token", "wrong"],
            vec!["ACCESS_TOKEN_INVALID", "token show"],
        ),
    ] {
        sandbox.run(arguments).failed_with(&words);
    }
    let json = sandbox.run(["send", "+9996610005", "--json"]);
    assert_eq!(json.exit, 1);
    let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!(error["name"], "FLOOD_WAIT_30");
}

#[test]
fn without_a_token_a_client_command_says_where_to_get_one() {
    let sandbox = Sandbox::start();
    let mut command = sandbox.place.command(["send", "+391234567890"]);
    run(command.env("COUNTERSIGN_TOKEN", "")).failed_with(&["COUNTERSIGN_TOKEN", "token show"]);
}

#[test]
fn the_sandboxs_tls_is_trusted_through_its_data_directory() {
    let sandbox = Sandbox::start_with(&["--sandbox-tls-listen", "127.0.0.1:0"]);
    let url = sandbox.ready["tls_url"].as_str().unwrap();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    assert_eq!(sandbox.run(["send", "+9996610001", "--url", url]).exit, 0);
    assert_eq!(sandbox.run(["account", "list", "--url", url]).exit, 0);
    // Without the authority nobody is trusted.
    let ca = sandbox.ready["sandbox_ca"].as_str().unwrap();
    let moved = sandbox.place.path().join("ca.pem");
    std::fs::rename(sandbox.place.path().join(ca), &moved).unwrap();
    sandbox
        .run(["send", "+9996610001", "--url", url])
        .failed_with(&[url, "certificate", "--ca-file"]);
    let ca_file = format!("--ca-file={}", moved.display());
    assert_eq!(sandbox.run(["send", "+9996610001", "--url", url, &ca_file]).exit, 0);
}

#[test]
fn a_code_is_written_in_the_language_that_the_send_names() {
    let sandbox = Sandbox::start();
    let text = |arguments: &[&str]| {
        sandbox.json(arguments);
        let listed = sandbox.json(&["inbox", "list"]);
        listed[0]["text"].as_str().unwrap().to_owned()
    };
    let english = text(&["send", "+9996612345", "--code", "482913"]);
    assert_eq!(english, "482913 is your verification code.");
    let portuguese = text(&[
        "send",
        "+9996612345",
        "--code",
        "482913",
        "--locale",
        "pt-BR",
        "--email",
        "ida@example.com",
    ]);
    assert_eq!(portuguese, "482913 é o seu código de verificação.");
    let spanish = text(&["send", "+34612345678", "--code", "482913"]);
    assert_eq!(spanish, "482913 es su código de verificación.");
}
