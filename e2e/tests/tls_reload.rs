//! SIGHUP on the real binary: the certificate is read again, and the process lives on.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use countersign_e2e::{Options, Server};
use rcgen::{CertifiedKey, generate_simple_self_signed};

const PATIENCE: Duration = Duration::from_mins(1);

fn renew(folder: &Path) -> Result<()> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem())?;
    std::fs::write(folder.join("cert.pem"), cert.pem())?;
    Ok(())
}

fn hang_up(server: &Server) -> Result<()> {
    let sent = Command::new("sh")
        .args(["-c", "kill -HUP \"$0\"", &server.pid().to_string()])
        .status()?;
    ensure!(sent.success(), "kill -HUP failed");
    Ok(())
}

fn says(server: &Server, words: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !server.log().contains(words) {
        ensure!(
            Instant::now() < deadline,
            "the log doesn't say {words:?}:\n{}",
            server.log()
        );
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn a_hangup_has_the_certificate_read_again_and_ends_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    renew(folder.path())?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut server = Server::start(Options {
        env: vec![
            ("COUNTERSIGN_SERVER_TLS_CERT_FILE".to_owned(), file("cert.pem")),
            ("COUNTERSIGN_SERVER_TLS_KEY_FILE".to_owned(), file("key.pem")),
        ],
        ..Options::default()
    })?;
    ensure!(server.api_url().starts_with("https://"), "{}", server.api_url());
    hang_up(&server)?;
    says(&server, "the TLS certificate is still the one that is in use")?;
    renew(folder.path())?;
    hang_up(&server)?;
    says(&server, "cert.pem is in use")?;
    std::fs::write(folder.path().join("cert.pem"), "nothing")?;
    hang_up(&server)?;
    says(&server, "the TLS certificate stays the old one")?;
    let ended = server.terminate()?;
    ensure!(ended.success(), "it ended with {ended}");
    Ok(())
}
