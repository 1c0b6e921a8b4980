//! What goes wrong at a terminal: no server, a wrong address, arguments that make no sense.

use crate::support::{Place, Sandbox, stranger};

/// Nothing listens on port 1 of a machine that runs tests.
const NOBODY: &str = "http://127.0.0.1:1";

#[test]
fn without_a_server_every_command_says_how_to_start_one() {
    let place = Place::new();
    let key = ["--operator-key", "0123456789abcdef", "--url", NOBODY];
    let commands: [&[&str]; 12] = [
        &["account", "create", "--phone", "+391234567890", "--name", "Acme"],
        &["account", "list"],
        &["account", "show", "+391234567890"],
        &["account", "credit", "+391234567890", "1"],
        &["account", "close", "+391234567890"],
        &["token", "show", "+391234567890"],
        &["token", "rotate", "+391234567890"],
        &["sender", "list"],
        &["price", "list"],
        &["inbox", "list"],
        &["inbox", "read", "--phone", "+391234567890"],
        &["send", "+391234567890", "--token", "t"],
    ];
    for command in commands {
        let ran = place.run(command.iter().chain(&key));
        ran.failed_with(&[NOBODY, "countersign serve", "--url", "COUNTERSIGN_URL"]);
    }
}

#[test]
fn without_an_operator_key_the_sentence_names_all_three_places() {
    let place = Place::new();
    place.run(["account", "list", "--url", NOBODY]).failed_with(&[
        "operator.key",
        "--data-dir",
        "--operator-key",
        "COUNTERSIGN_OPERATOR_KEY",
    ]);
}

#[test]
fn an_address_that_is_none_or_unknown_is_named() {
    let place = Place::new();
    for url in ["nonsense", "ftp://127.0.0.1", "127.0.0.1:8099"] {
        for command in [vec!["inbox", "list"], vec!["status", "x", "--token", "t"]] {
            place
                .run(command.into_iter().chain(["--url", url]))
                .failed_with(&[url, "http://127.0.0.1:8099"]);
        }
    }
    place
        .run(["inbox", "list", "--url", "http://no-such-host.invalid"])
        .failed_with(&["no-such-host.invalid", "--url"]);
}

#[test]
fn what_is_no_countersign_server_is_told_apart() {
    let place = Place::new();
    let page = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
    for command in [
        vec!["inbox", "list"],
        vec!["account", "list", "--operator-key", "0123456789abcdef"],
        vec!["status", "x", "--token", "t"],
    ] {
        let url = stranger(page);
        place
            .run(command.into_iter().chain(["--url", &url]))
            .failed_with(&[&url, "--url"]);
    }
}

#[test]
fn a_wrong_operator_key_is_refused_with_its_source() {
    let sandbox = Sandbox::start();
    sandbox
        .run(["account", "list", "--operator-key", "not-the-right-one"])
        .failed_with(&["--operator-key", "wrong", "operator.key"]);
}

#[test]
fn an_unknown_account_is_named_with_the_command_that_lists_them() {
    let sandbox = Sandbox::start();
    for command in [
        vec!["account", "show", "+391234567890"],
        vec!["account", "credit", "+391234567890", "1"],
        vec!["account", "close", "4711"],
        vec!["token", "show", "+391234567890"],
        vec!["sender", "add", "acme_shop", "--account", "+391234567890"],
    ] {
        sandbox.run(command).failed_with(&["no account", "account list"]);
    }
}

#[test]
fn a_second_account_of_one_phone_and_impossible_credit_are_refused() {
    let sandbox = Sandbox::start();
    let create = |credit: &str| {
        let command = [
            "account",
            "create",
            "--phone",
            "+391234567890",
            "--name",
            "Acme",
            "--credit",
            credit,
        ];
        sandbox.run(command)
    };
    create("-1").failed_with(&["more than 0"]);
    create("1000000001").failed_with(&["at most"]);
    // Neither left an account behind.
    assert_eq!(create("0").exit, 0);
    create("1").failed_with(&["+391234567890", "exists already"]);
    sandbox
        .run(["account", "create", "--phone", "+393331234567", "--name", " "])
        .failed_with(&["name"]);
}

#[test]
fn arguments_that_make_no_sense_end_with_2_and_a_hint() {
    let place = Place::new();
    let commands: [&[&str]; 12] = [
        &["nonsense"],
        &["sender", "add", "acme", "--account", "+391234567890"],
        &["sender", "verify", ".."],
        &["account"],
        &["account", "show"],
        &["account", "show", "banana"],
        &["account", "create", "--name", "Acme"],
        &["account", "create", "--phone", "+999123", "--name", "Acme"],
        &["account", "credit", "+391234567890", "1e3"],
        &["account", "credit", "+391234567890", "0.0000001"],
        &["inbox", "read"],
        &["send"],
    ];
    for command in commands {
        let ran = place.run(command);
        assert_eq!(ran.exit, 2, "{ran:?}");
        assert_eq!(ran.stdout, "", "{ran:?}");
        assert!(
            ran.stderr.contains("Usage:") || ran.stderr.contains("--help"),
            "{ran:?}"
        );
    }
}

#[test]
fn a_log_level_that_is_none_is_refused() {
    let place = Place::new();
    let mut command = place.command(["inbox", "list"]);
    crate::support::run(command.env("COUNTERSIGN_LOG", "loud")).failed_with(&["COUNTERSIGN_LOG", "debug"]);
}

#[test]
fn a_mistake_in_the_operators_texts_keeps_the_server_from_starting_and_doctor_names_it() {
    let place = Place::new();
    let texts = place.path().join("texts");
    std::fs::create_dir(&texts).unwrap();
    std::fs::write(place.path().join("countersign.toml"), "[texts]\nfolder = \"texts\"\n").unwrap();
    std::fs::write(texts.join("it.ftl"), "\nsms-code = Codice: { $kode }\n").unwrap();
    let mistake = "texts/it.ftl, line 2: sms-code shows { $kode }, but it is given { $code }";
    place.run(["serve", "--listen", "127.0.0.1:0"]).failed_with(&[mistake]);
    let doctor = place.run(["doctor"]);
    assert_eq!(doctor.exit, 1, "{doctor:?}");
    assert!(doctor.stdout.contains(mistake), "{doctor:?}");

    std::fs::write(texts.join("it.ftl"), "sms-code = Codice: { $code }\n").unwrap();
    let doctor = place.run(["doctor", "--json"]).json();
    assert_eq!(doctor["texts"]["verdict"], "well", "{doctor}");
    let found = doctor["texts"]["found"].as_str().unwrap();
    assert!(found.ends_with("ar, de, en, es, it, pt, ru"), "{found}");

    std::fs::create_dir(texts.join("smss")).unwrap();
    let doctor = place.run(["doctor", "--json"]);
    assert_eq!(doctor.exit, 1, "{doctor:?}");
    assert!(doctor.stdout.contains("smss: no channel has that name"), "{doctor:?}");
}
