//! `serve`: from its readiness to its end, and how other commands find it.

use std::fs;
use std::process::Stdio;

use crate::support::{Place, Sandbox, next_line, run, spawn, terminate};

#[test]
fn serve_tells_programs_where_it_is_and_ends_cleanly_on_sigterm() {
    let mut sandbox = Sandbox::start();
    assert!(sandbox.url().starts_with("http://127.0.0.1:"));
    assert_eq!(sandbox.ready["inbox_url"], format!("{}/inbox", sandbox.url()));
    assert_eq!(sandbox.token().len(), 60);
    let note = sandbox.place.path().join("countersign-data/serve.url");
    assert_eq!(fs::read_to_string(&note).unwrap().trim(), sandbox.url());
    assert_eq!(sandbox.terminate().code(), Some(0));
    assert!(!note.exists());
}

#[test]
fn serve_tells_people_and_its_curl_line_works_when_pasted() {
    let place = Place::new();
    // No command is `serve`; the address comes from the environment.
    let mut command = place.command(["--data-dir", "books"]);
    command
        .env("COUNTERSIGN_SERVER_LISTEN", "127.0.0.1:0")
        .stderr(Stdio::null());
    let (mut child, lines) = spawn(&mut command);
    let mut curl = String::new();
    while !curl.trim_start().starts_with("curl ") {
        curl = next_line(&lines);
    }
    let answer = std::process::Command::new("sh").args(["-c", curl.trim()]).output();
    let ended = terminate(&mut child, &lines);
    let answer = answer.unwrap();
    assert!(answer.status.success(), "{curl}: {answer:?}");
    assert!(
        String::from_utf8_lossy(&answer.stdout).contains(r#""ok":true"#),
        "{answer:?}"
    );
    assert_eq!(ended.code(), Some(0));
    assert!(place.path().join("books/countersign.db").exists());
}

#[test]
fn the_data_directory_may_stand_before_or_after_the_command() {
    let sandbox = Sandbox::start();
    let elsewhere = Place::new();
    let data = sandbox.place.path().join("countersign-data").display().to_string();
    for arguments in [
        ["--data-dir", &data, "account", "list", "--json"],
        ["account", "--data-dir", &data, "list", "--json"],
        ["account", "list", "--data-dir", &data, "--json"],
        ["--json", "account", "list", "--data-dir", &data],
    ] {
        // The running server's address is found there too.
        assert_eq!(elsewhere.run(arguments).json().as_array().unwrap().len(), 1);
    }
    let mut command = elsewhere.command(["account", "list", "--json"]);
    assert_eq!(run(command.env("COUNTERSIGN_DATA_DIR", &data)).exit, 0);
}

#[test]
fn the_address_comes_from_option_variable_or_the_data_directory_in_that_order() {
    let sandbox = Sandbox::start();
    let list = |option: Option<&str>, variable: &str| {
        let mut command = sandbox.place.command(["inbox", "list"]);
        command
            .env("COUNTERSIGN_URL", variable)
            .args(option.map(|url| format!("--url={url}")));
        run(&mut command)
    };
    assert_eq!(list(None, "").exit, 0);
    list(None, "http://127.0.0.1:1").failed_with(&["127.0.0.1:1"]);
    list(Some("http://127.0.0.1:2"), sandbox.url()).failed_with(&["127.0.0.1:2"]);
    assert_eq!(list(Some(sandbox.url()), "http://127.0.0.1:1").exit, 0);
    // A trailing slash is no matter.
    assert_eq!(list(Some(&format!("{}/", sandbox.url())), "").exit, 0);
}

#[test]
fn a_second_server_on_one_data_directory_or_address_is_refused() {
    let sandbox = Sandbox::start();
    let mut second = sandbox.place.command(["serve", "--listen", "127.0.0.1:0"]);
    run(second.env("COUNTERSIGN_LOG", "off")).failed_with(&["countersign-data", "--data-dir"]);
    let address = sandbox.url().trim_start_matches("http://");
    let mut second = sandbox
        .place
        .command(["serve", "--listen", address, "--data-dir", "other"]);
    run(second.env("COUNTERSIGN_LOG", "off")).failed_with(&[address, "--listen"]);
    // The first one's note stands.
    assert_eq!(sandbox.run(["inbox", "list"]).exit, 0);
}

#[test]
fn serve_refuses_settings_that_make_no_sense() {
    let place = Place::new();
    let serve = |arguments: &[&str]| {
        let mut command = place.command(["serve"]);
        run(command.args(arguments).env("COUNTERSIGN_LOG", "off"))
    };
    serve(&["--listen", "nonsense"]).failed_with(&["--listen", "nonsense"]);
    serve(&["--listen", "0.0.0.0:0"]).failed_with(&["loopback", "--sandbox-exposed"]);
    serve(&["--config", "none.toml"]).failed_with(&["none.toml", "countersign init"]);
    fs::write(place.path().join("c.toml"), "[server]\nlisen = \"x\"\n").unwrap();
    serve(&["--config", "c.toml"]).failed_with(&["server.lisen", "server.listen"]);
    fs::write(place.path().join("p.toml"), "mode = \"production\"\n").unwrap();
    serve(&["--config", "p.toml"]).failed_with(&["production", "master key"]);
}

#[test]
fn accounts_and_tokens_survive_a_restart() {
    let mut sandbox = Sandbox::start();
    sandbox.json(&[
        "account",
        "create",
        "--phone",
        "+391234567890",
        "--name",
        "Acme",
        "--credit",
        "10",
    ]);
    assert_eq!(sandbox.terminate().code(), Some(0));
    let mut command = sandbox.place.command(["serve", "--listen", "127.0.0.1:0", "--json"]);
    let (mut child, lines) = spawn(command.stderr(Stdio::null()));
    let ready: serde_json::Value = serde_json::from_str(&next_line(&lines)).unwrap();
    let token = ready["token"].as_str().map(str::to_owned);
    let shown = sandbox.run(["account", "show", "+391234567890", "--json"]);
    terminate(&mut child, &lines);
    assert_eq!(token.as_deref(), Some(sandbox.token()));
    assert_eq!(shown.json()["balance"], 10);
}

#[test]
fn production_has_no_token_no_inbox_and_no_sandbox_numbers() {
    let place = Place::new();
    fs::write(place.path().join("master.key"), "00ff".repeat(16)).unwrap();
    let settings = "mode = \"production\"\n[server]\nlisten = \"127.0.0.1:0\"\nbehind_proxy = true\n\
                    public_url = \"https://verify.example.com\"\n[keys]\nmaster_key_file = \"master.key\"\n";
    fs::write(place.path().join("countersign.toml"), settings).unwrap();
    let mut command = place.command(["serve", "--data-dir", "books", "--json"]);
    let (mut child, lines) = spawn(command.stderr(Stdio::null()));
    let ready = next_line(&lines);
    // Beside it the server is called by its own address, not through the proxy.
    let beside = |arguments: &[&str]| place.run(arguments.iter().chain(&["--data-dir", "books"]));
    let created = beside(&[
        "account",
        "create",
        "--phone",
        "+391234567890",
        "--name",
        "Acme",
        "--json",
    ]);
    let scripted = beside(&["account", "create", "--phone", "+9996610001", "--name", "Acme"]);
    let inbox = beside(&["inbox", "list"]);
    assert_eq!(terminate(&mut child, &lines).code(), Some(0));
    assert_eq!(ready, r#"{"api_url":"https://verify.example.com"}"#);
    assert_eq!(created.json()["balance"], 0);
    scripted.failed_with(&["+9996610001", "not a possible phone number"]);
    inbox.failed_with(&["no inbox", "sandbox"]);
}
