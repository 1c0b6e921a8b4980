//! What can be set for a bot, what is refused, and whom it trusts.

use std::sync::Arc;

use countersign_channels::testing::{Server, config};
use countersign_channels::{Handover, make};
use rcgen::generate_simple_self_signed;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::*;

fn problem(values: &[(&str, &str)]) -> String {
    let config = config("bot", "telegram_bot", values).unwrap();
    let made = make(config, Server::new().ports);
    made.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_token_is_enough() {
    assert_eq!(problem(&[("token", TOKEN)]), "");
}

#[test]
fn what_is_wrong_is_named_and_a_token_never_shown() {
    assert!(problem(&[]).starts_with("channels.bot.token: missing"));
    for token in [
        "not-a-real-token",
        "abc:not-a-real-token",
        "1:not-a-real-token/../x",
        "1:",
        ":not-a-real-token",
    ] {
        let problem = problem(&[("token", token)]);
        assert!(
            problem.starts_with("channels.bot.token: not a bot’s token"),
            "{problem}"
        );
        assert!(!problem.contains(SECRET_PART), "{problem}");
    }
    let with = |key, value| problem(&[("token", TOKEN), (key, value)]);
    assert!(with("mode", "webhook").contains("needs server.public_url"));
    assert!(with("mode", "push").contains("expected \"polling\" or \"webhook\""));
    assert!(with("sender", "x").contains("channels.bot.sender"));
    assert!(with("base_url", "ftp://x").contains("channels.bot.base_url"));
    assert!(with("timeout_s", "0").contains("from 1 to 60"));
    assert!(with("tokn", "x").contains("channels.bot.tokn"));
}

#[test]
fn a_webhook_that_telegram_would_never_call_is_refused() {
    let made = |public_url: &str, base_url: &str| {
        let values = [("token", TOKEN), ("mode", "webhook"), ("base_url", base_url)];
        let mut server = Server::new();
        server.ports.public_url = Some(public_url.to_owned());
        make(config("bot", "telegram_bot", &values).unwrap(), server.ports).map(|_| ())
    };
    let telegram = "https://api.telegram.org";
    let problem = made("http://codes.example.com", telegram).unwrap_err().to_string();
    assert!(problem.contains("channels.bot.mode: "), "{problem}");
    assert!(problem.contains("https://"), "{problem}");
    assert!(made("https://codes.example.com", telegram).is_ok());
    assert!(made("http://127.0.0.1:8080", "http://127.0.0.1:8081").is_ok());
}

#[test]
fn the_token_can_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    assert_eq!(problem(&[("token_file", file.to_str().unwrap())]), "");
}

#[tokio::test]
async fn an_extra_authority_is_trusted_and_an_unknown_one_is_not() {
    let certified = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });

    let mut server = Server::new();
    link(&server).await;
    let stranger = bot(&server, &url, &[]).deliver(code_message(1)).await;
    assert!(matches!(stranger, Handover::Later(_)), "nothing was sent: {stranger:?}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, certified.cert.pem()).unwrap();
    server.ports.extra_ca_file = Some(file);
    let known = bot(&server, &url, &[]).deliver(code_message(1)).await;
    assert_eq!(known, Handover::Accepted(None));
    serving.abort();
}
