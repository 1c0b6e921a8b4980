//! `statement`, `low-balance` and `autofill`: what an account's owner asks for with the token, and the operator by the account's name.

use std::fs;

use serde_json::{Value, json};

use crate::support::Sandbox;

fn with_three_entries() -> Sandbox {
    let sandbox = Sandbox::start();
    for phone in ["+393331234567", "+393331234568"] {
        assert_eq!(sandbox.run(["send", phone, "--token", sandbox.token()]).exit, 0);
    }
    sandbox
}

#[test]
fn a_statement_adds_up_in_every_format() {
    let sandbox = with_three_entries();
    let token = sandbox.token();
    let table = sandbox.run(["statement", "--token", token]);
    for word in [
        "Opening balance",
        "$0.00",
        "purchase",
        "charge",
        "-$0.01",
        "Closing balance",
    ] {
        assert!(table.stdout.contains(word), "{word}: {table:?}");
    }

    let statement: Value = sandbox.json(&["statement", "--token", token]);
    let entries = statement["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    assert_eq!(statement["opening_balance"], json!(0));
    assert_eq!(statement["closing_balance"], entries[2]["balance_after"]);
    // The operator sees the same by the account's name.
    let account = sandbox.json(&["account", "list"])[0]["account_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        sandbox.json(&["statement", "--account", &account])["entries"],
        statement["entries"]
    );

    let csv = sandbox.run(["statement", "--token", token, "--format", "csv"]).stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "number,booked_at,kind,amount,balance_after,request_id,reason");
    assert!(lines[1].contains(",opening_balance,,0,"), "{csv}");
    assert!(lines[5].contains(",closing_balance,,"), "{csv}");
    assert!(lines.iter().all(|line| line.matches(',').count() == 6), "{csv}");
    assert_eq!(lines.len(), 6);
}

#[test]
fn a_statement_goes_to_a_file_that_is_never_replaced_unasked() {
    let sandbox = with_three_entries();
    let file = sandbox.place.path().join("october.csv");
    let name = file.to_str().unwrap();
    let command = [
        "statement",
        "--token",
        sandbox.token(),
        "--format",
        "csv",
        "--output",
        name,
    ];
    assert_eq!(sandbox.run(command).exit, 0);
    let first = fs::read_to_string(&file).unwrap();
    assert!(first.contains("closing_balance"), "{first}");
    sandbox.run(command).failed_with(&["there already", "--force"]);
    let replaced = sandbox.run(command.iter().chain(&["--force"]));
    assert_eq!(replaced.exit, 0, "{replaced:?}");
}

#[test]
fn a_time_without_entries_is_an_empty_statement_and_a_wrong_time_is_named() {
    let sandbox = with_three_entries();
    let empty = ["--from", "2020-01-01", "--to", "2020-02-01"];
    let ran = sandbox.run(["statement", "--token", sandbox.token()].iter().chain(&empty));
    assert!(ran.stdout.contains("nothing was booked"), "{ran:?}");
    let csv = ["--format", "csv"];
    let ran = sandbox.run(
        ["statement", "--token", sandbox.token()]
            .iter()
            .chain(&empty)
            .chain(&csv),
    );
    assert_eq!(ran.stdout.lines().count(), 3, "{ran:?}");
    let wrong = sandbox.run(["statement", "--token", sandbox.token(), "--from", "yesterday"]);
    assert_eq!(wrong.exit, 2);
    let backwards = ["--from", "2020-02-01", "--to", "2020-01-01"];
    let ran = sandbox.run(["statement", "--token", sandbox.token()].iter().chain(&backwards));
    ran.failed_with(&["later"]);
}

#[test]
fn an_owner_sets_shows_and_ends_the_low_balance_report() {
    let sandbox = Sandbox::start();
    let token = sandbox.token();
    let ask = |arguments: &[&str]| sandbox.run([&["low-balance", "--token", token], arguments].concat());
    assert!(ask(&["show"]).stdout.contains("no low-balance report"));
    let set = ask(&["set", "2.5", "http://127.0.0.1:9/low"]);
    assert!(
        set.stdout.contains("$2.50") && set.stdout.contains("http://127.0.0.1:9/low"),
        "{set:?}"
    );
    assert_eq!(
        sandbox.json(&["low-balance", "show", "--token", token]),
        json!({ "below": 2.5, "url": "http://127.0.0.1:9/low" })
    );
    ask(&["set", "-1", "http://127.0.0.1:9/low"]).failed_with(&["more than 0"]);
    ask(&["set", "1", "ftp://example.com"]).failed_with(&["https://"]);
    assert!(ask(&["off"]).stdout.contains("no low-balance report"));
    sandbox
        .run(["low-balance", "show", "--token", "nonsense"])
        .failed_with(&["token"]);
}

#[test]
fn an_owner_sets_shows_and_ends_what_short_messages_end_with() {
    let sandbox = Sandbox::start();
    let token = sandbox.token();
    let ask = |arguments: &[&str]| sandbox.run([&["autofill", "--token", token], arguments].concat());
    assert!(ask(&["show"]).stdout.contains("end with their sentence"));
    let set = ask(&["set", "--domain", "münchen.example"]);
    assert!(set.stdout.contains("xn--mnchen-3ya.example"), "{set:?}");
    ask(&["set", "--domain", "example.com", "--android-hash", "FA+9qCX9VSu"]);
    assert_eq!(
        sandbox.json(&["autofill", "show", "--token", token]),
        json!({ "domain": "example.com", "android_hash": "FA+9qCX9VSu" })
    );
    ask(&["set"]).failed_with(&["--domain", "--android-hash"]);
    ask(&["set", "--domain", "127.0.0.1"]).failed_with(&["host name"]);
    ask(&["set", "--android-hash", "short"]).failed_with(&["11"]);
    assert!(ask(&["off"]).stdout.contains("end with their sentence"));
}
