//! The operator's commands against a running server.

use crate::support::{Sandbox, run};

#[test]
fn account_create_prints_one_object_with_its_token_and_balance() {
    let sandbox = Sandbox::start();
    let command = "account create --phone +391234567890 --name Acme --credit 10 --json";
    let created = sandbox.run(command.split(' ')).json();
    assert_eq!(created["phone_number"], "+391234567890");
    assert_eq!(created["name"], "Acme");
    assert_eq!(created["balance"], 10);
    assert_eq!(created["token"].as_str().unwrap().len(), 60);
    let id = created["account_id"].as_str().unwrap();
    for name in ["+391234567890", "391234567890", id] {
        let shown = sandbox.json(&["account", "show", name]);
        assert_eq!(shown["account_id"], id);
        assert_eq!(shown["balance"], 10);
        assert_eq!(shown["held"], 0);
    }
}

#[test]
fn an_account_works_with_its_token_and_is_refused_once_closed() {
    let sandbox = Sandbox::start();
    let created = sandbox.json(&[
        "account",
        "create",
        "--phone",
        "+391234567890",
        "--name",
        "Acme",
        "--credit",
        "0.01",
    ]);
    let token = created["token"].as_str().unwrap();
    let send = |token: &str| sandbox.run(["send", "+393331234567", "--token", token]);
    assert_eq!(send(token).exit, 0);
    send(token).failed_with(&["BALANCE_NOT_ENOUGH", "account credit"]);
    let credited = sandbox.json(&["account", "credit", "+391234567890", "2.5"]);
    assert_eq!(credited["balance"], 2.5);
    assert_eq!(send(token).exit, 0);
    let closed = sandbox.json(&["account", "close", "+391234567890"]);
    assert!(closed["closed_at"].is_i64());
    send(token).failed_with(&["ACCESS_TOKEN_INVALID"]);
    sandbox
        .run(["account", "credit", "+391234567890", "1"])
        .failed_with(&["closed", "account create"]);
    // Closing again changes nothing, and the number is free for a new account.
    assert_eq!(
        sandbox.json(&["account", "close", "+391234567890"])["closed_at"],
        closed["closed_at"]
    );
    let again = sandbox.json(&["account", "create", "--phone", "+391234567890", "--name", "Acme 2"]);
    assert_ne!(again["account_id"], created["account_id"]);
    assert_eq!(again["balance"], 0);
}

#[test]
fn account_list_shows_every_account() {
    let sandbox = Sandbox::start();
    for number in 0..3 {
        let phone = format!("+39333123456{number}");
        sandbox.json(&["account", "create", "--phone", &phone, "--name", "Büro & Söhne"]);
    }
    let list = sandbox.json(&["account", "list"]);
    // The sandbox's own is among them.
    assert_eq!(list.as_array().unwrap().len(), 4);
    let people = sandbox.run(["account", "list"]);
    assert_eq!(people.stdout.lines().count(), 5, "{people:?}");
    assert!(people.stdout.contains("Büro & Söhne"), "{people:?}");
    assert!(!people.stdout.contains('\x1b'), "no colour off a terminal: {people:?}");
}

#[test]
fn a_rotated_token_replaces_the_old_one() {
    let sandbox = Sandbox::start();
    let owner = "+9996600000";
    assert_eq!(sandbox.json(&["token", "show", owner])["token"], sandbox.token());
    let rotated = sandbox.json(&["token", "rotate", owner]);
    let token = rotated["token"].as_str().unwrap();
    assert_ne!(token, sandbox.token());
    assert_eq!(sandbox.json(&["token", "show", owner])["token"], token);
    sandbox
        .run(["send", "+9996610001"])
        .failed_with(&["ACCESS_TOKEN_INVALID", "token show"]);
    assert_eq!(sandbox.run(["send", "+9996610001", "--token", token]).exit, 0);
}

#[test]
fn a_token_that_was_rotated_with_a_grace_still_works_and_the_test_mode_one_is_its_own() {
    let sandbox = Sandbox::start();
    let owner = "+9996600000";
    let rotated = sandbox.json(&["token", "rotate", owner, "--grace", "1h"]);
    assert!(rotated["old_token_until"].is_i64(), "{rotated}");
    for token in [sandbox.token(), rotated["token"].as_str().unwrap()] {
        assert_eq!(sandbox.run(["send", "+9996610001", "--token", token]).exit, 0);
    }
    let test = sandbox.json(&["token", "show", owner, "--test"]);
    assert_eq!(test["kind"], "test");
    let token = test["token"].as_str().unwrap();
    assert_eq!(sandbox.run(["send", "+9996610001", "--token", token]).exit, 0);
    sandbox
        .run(["send", "+393331234567", "--token", token])
        .failed_with(&["PHONE_NUMBER_INVALID"]);
    assert_ne!(sandbox.json(&["token", "rotate", owner, "--test"])["token"], token);
    let wrong = sandbox.run(["token", "rotate", owner, "--grace", "8d"]);
    assert_ne!(wrong.exit, 0, "{wrong:?}");
}

#[test]
fn a_sender_can_be_used_once_it_is_verified() {
    let sandbox = Sandbox::start();
    let send = || sandbox.run(["send", "+393331234567", "--sender", "@acme_shop"]);
    send().failed_with(&["SENDER_USERNAME_INVALID", "sender add"]);
    let added = sandbox.json(&["sender", "add", "@Acme_Shop", "--account", "+9996600000"]);
    assert_eq!(added["username"], "@acme_shop");
    assert_eq!(added["verified"], false);
    send().failed_with(&["SENDER_NOT_VERIFIED", "sender verify"]);
    sandbox
        .run(["sender", "add", "acme_shop", "--account", "+9996600000"])
        .failed_with(&["registered already", "sender list"]);
    assert_eq!(sandbox.json(&["sender", "verify", "acme_shop"])["verified"], true);
    assert_eq!(send().exit, 0);
    for list in [
        vec!["sender", "list"],
        vec!["sender", "list", "--account", "+9996600000"],
    ] {
        assert_eq!(sandbox.json(&list)[0]["username"], "@acme_shop");
    }
    sandbox
        .run(["sender", "verify", "nobody_here"])
        .failed_with(&["sender add"]);

    // The mark can be taken away, with a reason.
    let reason = "The name is another company's";
    let refused = sandbox.json(&["sender", "refuse", "@acme_shop", "--reason", reason]);
    assert_eq!(refused["verified"], false);
    send().failed_with(&["SENDER_NOT_VERIFIED"]);
    sandbox
        .run(["sender", "refuse", "acme_shop", "--reason", " "])
        .failed_with(&["say why"]);
    sandbox
        .run(["sender", "refuse", "nobody_here", "--reason", reason])
        .failed_with(&["nobody has registered"]);
}

#[test]
fn a_price_holds_from_the_next_call_on() {
    let sandbox = Sandbox::start();
    let cost = || sandbox.json(&["send", "+393331234567"])["request_cost"].to_string();
    assert_eq!(cost(), "0.01");
    assert_eq!(
        sandbox.json(&["price", "set", "+39", "0.0225"])["price"].to_string(),
        "0.0225"
    );
    assert_eq!(cost(), "0.0225");
    sandbox.json(&["price", "set", "default", "0.02", "--from", "2026-01-01"]);
    let list = &sandbox.json(&["price", "list"])[0];
    assert_eq!(
        list.to_string(),
        r#"{"effective_from":1767225600,"prefix":"default","price":0.02,"route":"all"}"#
    );
    sandbox.json(&["price", "unset", "+39"]);
    assert_eq!(cost(), "0.02");
    sandbox
        .run(["price", "unset", "+39"])
        .failed_with(&["+39", "price list"]);
    sandbox
        .run(["price", "set", "+0", "1"])
        .failed_with(&["not a number prefix"]);
    sandbox
        .run(["price", "set", "+39", "-1"])
        .failed_with(&["can't be a price"]);
}

#[test]
fn an_allow_list_keeps_other_addresses_out() {
    let sandbox = Sandbox::start();
    let owner = "+9996600000";
    let set = sandbox.json(&["account", "allow-list", owner, "192.0.2.7", "2001:db8::1/32"]);
    assert_eq!(set["allow_list"].to_string(), r#"["192.0.2.7/32","2001:db8::/32"]"#);
    sandbox
        .run(["send", "+393331234567"])
        .failed_with(&["IP_NOT_ALLOWED", "account allow-list"]);
    sandbox
        .run(["account", "allow-list", owner, "192.0.2.0/33"])
        .failed_with(&["192.0.2.0/33", "not an address range"]);
    sandbox.json(&["account", "allow-list", owner, "--clear"]);
    assert_eq!(sandbox.run(["send", "+393331234567"]).exit, 0);
}

#[test]
fn an_account_ends_its_short_messages_as_the_operator_says() {
    let sandbox = Sandbox::start();
    let owner = "+9996600000";
    let ask = |arguments: &[&str]| sandbox.run([&["account", "autofill", owner], arguments].concat());
    let set = ask(&["--domain", "Example.COM", "--android-hash", "FA+9qCX9VSu"]);
    assert!(
        set.stdout.contains("example.com") && set.stdout.contains("FA+9qCX9VSu"),
        "{set:?}"
    );
    let shown = sandbox.json(&["account", "show", owner]);
    assert_eq!(
        shown["autofill"].to_string(),
        r#"{"android_hash":"FA+9qCX9VSu","domain":"example.com"}"#
    );
    ask(&[]).failed_with(&["--domain", "--android-hash"]);
    ask(&["--domain", "https://example.com"]).failed_with(&["host name"]);
    assert_eq!(ask(&["--domain", "example.com", "--clear"]).exit, 2);
    ask(&["--clear"]);
    assert_eq!(sandbox.json(&["account", "show", owner]).get("autofill"), None);
}

#[test]
fn the_operator_key_comes_from_option_variable_or_file_in_that_order() {
    let sandbox = Sandbox::start();
    let file = sandbox.place.path().join("countersign-data/operator.key");
    let key = std::fs::read_to_string(&file).unwrap();
    let list = |option: Option<&str>, variable: &str| {
        let mut command = sandbox.place.command(["account", "list"]);
        command.env("COUNTERSIGN_OPERATOR_KEY", variable);
        command.args(option.map(|key| format!("--operator-key={key}")));
        run(&mut command)
    };
    // Empty counts as absent.
    assert_eq!(list(None, "").exit, 0);
    assert_eq!(list(Some(""), "").exit, 0);
    list(None, "wrong").failed_with(&["COUNTERSIGN_OPERATOR_KEY", "operator.key"]);
    list(Some("wrong"), key.trim()).failed_with(&["--operator-key"]);
    assert_eq!(list(Some(key.trim()), "wrong").exit, 0);
    std::fs::remove_file(&file).unwrap();
    list(None, "").failed_with(&[
        "no operator key",
        "--data-dir",
        "--operator-key",
        "COUNTERSIGN_OPERATOR_KEY",
    ]);
    assert_eq!(list(None, key.trim()).exit, 0);
}
