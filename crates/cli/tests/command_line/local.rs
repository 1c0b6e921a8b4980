//! Commands that need no server: help, completions, `init`, `audit`.

use std::fs;
use std::process::Stdio;

use crate::support::{Place, Sandbox, run};

#[test]
fn help_teaches_and_names_every_exit_code() {
    let place = Place::new();
    let help = place.run(["--help"]);
    assert_eq!(help.exit, 0);
    insta::assert_snapshot!(help.stdout);
    for command in [
        "serve",
        "account",
        "token",
        "sender",
        "price",
        "send",
        "check",
        "inbox",
        "init",
        "completions",
    ] {
        let help = place.run([command, "--help"]);
        assert_eq!(help.exit, 0, "{help:?}");
        assert!(help.stdout.contains("Example"), "{command} shows no example");
        assert!(
            help.stdout.contains("--data-dir"),
            "{command} hides the options of every command"
        );
        assert!(
            help.stdout.lines().all(|line| line.chars().count() <= 100),
            "{command} is too wide"
        );
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = place.run(["completions", shell]);
        assert_eq!(ran.exit, 0);
        assert!(ran.stdout.contains("allow-list"), "{shell}");
    }
    assert_eq!(place.run(["completions", "bash", "--json"]).json()["shell"], "bash");
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let place = Place::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command(["completions", "bash"]);
    let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn init_writes_a_file_that_serve_understands_and_never_overwrites_one() {
    let place = Place::new();
    let written = place.run(["init", "--json"]).json();
    assert_eq!(written["config_file"], "countersign.toml");
    let path = place.path().join("countersign.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("COUNTERSIGN_CALLBACKS_EXTRA_CA_FILE"), "{text}");
    fs::write(&path, "# mine").unwrap();
    place
        .run(["init"])
        .failed_with(&["countersign.toml", "already there", "--force", "--config"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "# mine");
    assert_eq!(place.run(["init", "--force"]).exit, 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(place.run(["init", "--config", "other.toml"]).exit, 0);
    place
        .run(["init", "--config", "no/such/dir/c.toml"])
        .failed_with(&["no/such/dir/c.toml", "--config"]);
}

#[test]
fn audit_passes_beside_a_live_server() {
    let sandbox = Sandbox::start();
    sandbox.json(&["send", "+391234567890"]);
    let report = sandbox.json(&["audit"]);
    assert_eq!(report["ok"], true);
    assert_eq!(report["accounts"], 1);
    assert_eq!(report["requests"], 1);
    assert_eq!(report["entries"], 2);
    assert!(sandbox.run(["audit"]).stdout.contains("books balance"));
}

#[test]
fn audit_ends_with_1_and_names_the_first_violation() {
    let mut sandbox = Sandbox::start();
    let account = sandbox.json(&["account", "show", "+9996600000"])["account_id"].clone();
    let id = account.as_str().unwrap();
    assert_eq!(sandbox.terminate().code(), Some(0));
    let books = sandbox.place.path().join("countersign-data/countersign.db");
    let books = rusqlite::Connection::open(books).unwrap();
    books.execute("UPDATE account SET balance = balance + 1", []).unwrap();
    for arguments in [vec!["audit"], vec!["audit", "--json"]] {
        let ran = sandbox.place.run(arguments);
        assert_eq!(ran.exit, 1, "{ran:?}");
        assert!(ran.stderr.contains(id), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
    let report: serde_json::Value = serde_json::from_str(&sandbox.place.run(["audit", "--json"]).stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["violation"]["account_id"], id);
}

#[test]
fn audit_of_nothing_says_what_to_name() {
    let place = Place::new();
    place
        .run(["audit"])
        .failed_with(&["no database", "countersign-data", "--data-dir"]);
    place
        .run(["audit", "--data-dir", "elsewhere"])
        .failed_with(&["elsewhere"]);
    let mut command = place.command(["audit"]);
    run(command.env("COUNTERSIGN_DATA_DIR", "by-variable")).failed_with(&["by-variable"]);
    // Asking must not make what it asks about.
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
