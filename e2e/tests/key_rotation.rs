//! The master key is changed on the real binary: killed in the middle, it goes on after its restart; afterwards the old key file is of no
//! use.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Options, Server, binary};

const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_change_of_the_key_survives_kills_and_the_old_key_file_is_useless_afterwards() -> Result<()> {
    let mut server = Server::start(Options::default())?;
    let mut sent = BTreeSet::new();
    for number in 0..40 {
        let told = server.cli_json(["send", &format!("+39123456{number:04}")])?;
        sent.insert(told["request_id"].as_str().context("no request_id")?.to_owned());
    }
    let key_file = server.data_dir().join("master.key");
    let old_key = std::fs::read(&key_file)?;
    let old = server.cli_json(["key", "fingerprint"])?["key_fingerprint"].clone();

    // It begins, and the server is killed at once, several times; whatever it had done, it goes on.
    let mut began = std::process::Command::new(binary()?)
        .args(["keys", "rotate", "--data-dir"])
        .arg(server.data_dir())
        .env("COUNTERSIGN_URL", server.api_url())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let next = server.data_dir().join("master.key.next");
    let deadline = Instant::now() + PATIENCE;
    while !next.exists() && std::fs::read(&key_file)? == old_key {
        ensure!(Instant::now() < deadline, "no new key was made");
        std::thread::yield_now();
    }
    for _ in 0..3 {
        server.kill9()?;
        server.restart()?;
    }
    // The command lost its server; what it says then is another test's matter.
    began.wait()?;
    // On PostgreSQL the killed processes count as nodes until the others give them up.
    let deadline = Instant::now() + PATIENCE;
    while next.exists() {
        if let Err(error) = server.cli_json(["keys", "rotate"]) {
            let waits = format!("{error:#}").contains("don't know the new master key yet");
            ensure!(waits && Instant::now() < deadline, "{error:#}");
        }
    }
    let rotated = server.cli_json(["key", "fingerprint"])?["key_fingerprint"].clone();
    ensure!(rotated != old, "the key is still the old one");
    for id in &sent {
        ensure!(
            server.cli_json(["status", id])?["request_id"] == id.as_str(),
            "{id} is gone"
        );
    }
    ensure!(server.cli_json(["audit"])?["ok"] == true, "the audit found something");

    server.terminate()?;
    let new_key = std::fs::read(&key_file)?;
    ensure!(new_key != old_key, "the new file isn't in its place");
    std::fs::write(&key_file, &old_key)?;
    let refused = server.restart().err().context("the old key opened the books")?;
    ensure!(format!("{refused:#}").contains("master key"), "{refused:#}");
    std::fs::write(&key_file, &new_key)?;
    server.restart()?;
    Ok(())
}
