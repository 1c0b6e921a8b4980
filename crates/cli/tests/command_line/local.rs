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
fn the_manual_has_a_page_for_every_command() {
    let place = Place::new();
    let written = place.run(["man", "pages/man1", "--json"]).json();
    assert!(written["pages"].as_u64().unwrap() > 30, "{written}");
    for (page, words) in [("countersign.1", "serve"), ("countersign-account-create.1", "phone")] {
        let text = fs::read_to_string(place.path().join("pages/man1").join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains(words), "{page}: {text}");
    }
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
    let written = place.run(["init", "--mode", "sandbox", "--json"]).json();
    assert_eq!(written["config_file"], "countersign.toml");
    let path = place.path().join("countersign.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("COUNTERSIGN_CALLBACKS_EXTRA_CA_FILE"), "{text}");
    fs::write(&path, "# mine").unwrap();
    place
        .run(["init", "--mode", "sandbox"])
        .failed_with(&["countersign.toml", "already there", "--force", "--config"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "# mine");
    assert_eq!(place.run(["init", "--mode", "sandbox", "--force"]).exit, 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(
        place.run(["init", "--mode", "sandbox", "--config", "other.toml"]).exit,
        0
    );
    place
        .run(["init", "--mode", "sandbox", "--config", "no/such/dir/c.toml"])
        .failed_with(&["no/such/dir/c.toml", "--config"]);
}

#[test]
fn init_guesses_nothing_where_nobody_can_be_asked_and_makes_what_production_needs() {
    let place = Place::new();
    place.run(["init"]).failed_with(&["no terminal", "--mode sandbox"]);
    let production = ["init", "--mode", "production", "--data-dir", "data"];
    place
        .run(production)
        .failed_with(&["--behind-proxy", "--tls-cert-file"]);
    let with = |more: &[&'static str]| place.run(production.iter().chain(more).copied());
    with(&["--behind-proxy", "--trusted-proxies", "nowhere"])
        .failed_with(&["server.trusted_proxies", "Nothing was written"]);
    assert!(
        fs::read_dir(place.path().join("data")).unwrap().next().is_none(),
        "a refused file leaves no key"
    );
    assert!(!place.path().join("countersign.toml").exists());
    let written = with(&["--behind-proxy", "--trusted-proxies", "10.0.0.0/8, ::1", "--json"]).json();
    assert_eq!(written["new_master_key_file"], "data/master.key");
    let text = fs::read_to_string(place.path().join("countersign.toml")).unwrap();
    assert!(
        text.contains("\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n"),
        "{text}"
    );
    // The key is kept, and a second file names the same.
    let key = fs::read(place.path().join("data/master.key")).unwrap();
    let written = with(&["--behind-proxy", "--config", "second.toml", "--json"]).json();
    assert!(written.get("new_master_key_file").is_none(), "{written}");
    assert_eq!(fs::read(place.path().join("data/master.key")).unwrap(), key);
}

#[test]
fn the_unit_for_systemd_starts_the_server_with_options_that_there_are() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/systemd/countersign.service");
    let unit = fs::read_to_string(unit).unwrap();
    let commands: Vec<_> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart="))
        .collect();
    let [command] = commands[..] else {
        panic!("one ExecStart, please: {commands:?}")
    };
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("/usr/bin/countersign"));
    let place = Place::new();
    let ran = place.run(words.chain(["--help"]));
    assert_eq!(ran.exit, 0, "{ran:?}");
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
