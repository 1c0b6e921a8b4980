//! The whole server, started as `countersign serve` starts it: first start and restart, its files, its TLS, bad input
//! through real sockets, and its end.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_server::Mode;
use countersign_server::settings::{DatabaseUrl, Settings};
use countersign_server::start::{RunningServer, StartError, start};
use countersign_store::testing;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Far more than anything here takes; a test that gets there has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn settings(data_dir: &Path) -> Settings {
    let mut settings = Settings::defaults(Mode::Sandbox);
    data_dir.clone_into(&mut settings.data_dir);
    let database = testing::database_url(data_dir).unwrap();
    settings.database.url = database.and_then(|url| DatabaseUrl::parse(&url));
    settings.server.listen = free_port();
    settings.sandbox.tls_listen = free_port();
    settings
}

fn free_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Sends one request, and answers what came back until the connection's end.
async fn exchange<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO, request: &[u8]) -> String {
    let mut bytes = Vec::new();
    let exchanging = async {
        // The server may answer before it has taken everything.
        let _ = io.write_all(request).await;
        let _ = io.read_to_end(&mut bytes).await;
    };
    timeout(PATIENCE, exchanging)
        .await
        .expect("the server did not end the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn tell(server: &RunningServer, request: &[u8]) -> String {
    exchange(TcpStream::connect(server.api_address).await.unwrap(), request).await
}

fn post(path: &str, token: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn send(token: &str) -> Vec<u8> {
    post(
        "/sendVerificationMessage",
        token,
        "application/x-www-form-urlencoded",
        b"phone_number=%2B391234567890&code=1234",
    )
}

fn token(server: &RunningServer) -> String {
    server.first_account.as_ref().unwrap().token.as_str().to_owned()
}

async fn end(server: RunningServer) {
    timeout(PATIENCE, server.shutdown())
        .await
        .expect("the server did not end")
        .unwrap();
}

#[tokio::test]
async fn a_first_start_makes_an_account_with_credit_whose_token_works_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("made/by/the/start");
    let server = start(settings(&data_dir)).await.unwrap();
    assert_eq!(server.api_url, format!("http://{}", server.api_address));
    assert_eq!(server.inbox_url, Some(format!("http://{}/inbox", server.api_address)));
    assert_eq!(server.first_account.as_ref().unwrap().phone.to_string(), "+9996600000");
    let first_token = token(&server);
    let answer = tell(&server, &send(&first_token)).await;
    assert!(answer.contains(r#""remaining_balance":99.99"#), "{answer}");
    // It arrives after the send was answered.
    let arrives = async {
        let question = b"GET /inbox/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        while !tell(&server, question).await.contains("1234") {}
    };
    timeout(PATIENCE, arrives).await.expect("the inbox shows no message");
    end(server).await;

    let server = start(settings(&data_dir)).await.unwrap();
    assert_eq!(token(&server), first_token);
    let answer = tell(&server, &send(&first_token)).await;
    assert!(answer.contains(r#""remaining_balance":99.98"#), "{answer}");
    end(server).await;
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_secret_in_the_data_directory_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let mut settings = settings(&data_dir);
    settings.sandbox.tls = true;
    end(start(settings).await.unwrap()).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o700);
    for secret in ["master.key", "operator.key", "sandbox-ca.key"] {
        assert_eq!(mode(&data_dir.join(secret)), 0o600, "{secret}");
    }
    assert!(data_dir.join("sandbox-ca.pem").exists());
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused_until_the_first_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(settings(dir.path())).await.unwrap();
    let refused = start(settings(dir.path())).await.err().unwrap();
    assert!(matches!(refused, StartError::InUse(_)), "{refused}");
    end(first).await;
    end(start(settings(dir.path())).await.unwrap()).await;
}

#[tokio::test]
async fn a_taken_address_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(settings(&dir.path().join("first"))).await.unwrap();
    let mut second = settings(&dir.path().join("second"));
    second.server.listen = first.api_address;
    let refused = start(second).await.err().unwrap().to_string();
    assert!(refused.contains("choose another address with --listen"), "{refused}");
    end(first).await;
}

#[tokio::test]
async fn a_lost_master_key_is_told_and_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    end(start(settings(dir.path())).await.unwrap()).await;
    std::fs::remove_file(dir.path().join("master.key")).unwrap();
    // PostgreSQL's books tell a new node from a lost key by the key alone.
    let (lost, wrong) = if testing::on_postgres() {
        ("all nodes need the same", "all nodes need the same")
    } else {
        ("restore it", "master key doesn't fit")
    };
    let refused = start(settings(dir.path())).await.err().unwrap().to_string();
    assert!(refused.contains(lost), "{refused}");
    assert!(!dir.path().join("master.key").exists());
    std::fs::write(dir.path().join("master.key"), "11".repeat(32)).unwrap();
    let refused = start(settings(dir.path())).await.err().unwrap().to_string();
    assert!(refused.contains(wrong), "{refused}");
}

#[tokio::test]
async fn production_makes_no_account_and_has_no_inbox_and_no_clock() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, [7; 32]).unwrap();
    let mut settings = settings(&dir.path().join("data"));
    settings.mode = Mode::Production;
    settings.inbox.enabled = false;
    settings.server.behind_proxy = true;
    settings.keys.master_key_file = Some(key);
    settings.check().unwrap();
    let server = start(settings).await.unwrap();
    assert!(server.first_account.is_none() && server.inbox_url.is_none());
    for path in ["/inbox", "/inbox/messages", "/sandbox/clock"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = tell(&server, request.as_bytes()).await;
        assert!(
            answer.ends_with(r#"{"ok":false,"error":"UNKNOWN_METHOD"}"#),
            "{path}: {answer}"
        );
    }
    end(server).await;
}

#[tokio::test]
async fn bad_bodies_get_a_clear_error_and_the_next_caller_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(settings(dir.path())).await.unwrap();
    let token = token(&server);
    let cases: [(&str, &[u8]); 6] = [
        ("application/json", br#"{"phone_number":"+391234"#),
        ("application/json", b"phone_number=%2B391234567890"),
        ("application/json", b"\xff\xfe\x00"),
        ("application/json", b"[1,2,3]"),
        ("application/x-www-form-urlencoded", b"phone_number=\xff\xff"),
        ("multipart/form-data; boundary=x", b"no boundary here"),
    ];
    for (kind, body) in cases {
        let answer = tell(&server, &post("/sendVerificationMessage", &token, kind, body)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{kind} {body:?}: {answer}");
        assert!(
            answer.ends_with(r#"{"ok":false,"error":"BAD_REQUEST"}"#),
            "{kind} {body:?}: {answer}"
        );
    }
    let huge = vec![b'1'; 10 * 1024 * 1024];
    for kind in [
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
    ] {
        let answer = tell(&server, &post("/sendVerificationMessage", &token, kind, &huge)).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{kind}: {answer}");
        assert!(
            answer.ends_with(r#"{"ok":false,"error":"BODY_TOO_LARGE"}"#),
            "{kind}: {answer}"
        );
    }
    let answer = tell(&server, &send(&token)).await;
    assert!(
        answer.contains(r#""remaining_balance":99.99"#),
        "something was charged: {answer}"
    );
    end(server).await;
}

#[tokio::test]
async fn a_body_that_never_comes_is_answered_on_every_path() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.server.request_timeout = Duration::from_secs(1);
    let server = start(settings).await.unwrap();
    let operator_key = std::fs::read_to_string(dir.path().join("operator.key")).unwrap();
    let paths = [
        ("/sendVerificationMessage", token(&server)),
        ("/sandbox/clock", token(&server)),
        ("/inbox/read", String::new()),
        ("/operator/v1/accounts", operator_key.trim().to_owned()),
    ];
    for (path, token) in paths {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 50\r\n\r\n{{"
        );
        let answer = tell(&server, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{path}: {answer}");
    }
    let answer = tell(&server, &send(&token(&server))).await;
    assert!(answer.contains(r#""ok":true"#), "{answer}");
    end(server).await;
}

#[tokio::test]
async fn pages_answer_under_this_machines_names_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(settings(dir.path())).await.unwrap();
    for (host, origin, passes) in [
        ("localhost:8099", "", true),
        ("[::1]:8099", "", true),
        ("evil.example", "", false),
        ("localhost:8099", "origin: http://evil.example\r\n", false),
    ] {
        for path in ["/inbox", "/inbox/messages"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{origin}connection: close\r\n\r\n");
            let answer = tell(&server, request.as_bytes()).await;
            assert_eq!(
                answer.starts_with("HTTP/1.1 200 "),
                passes,
                "{host} {origin}{path}: {answer}"
            );
        }
    }
    end(server).await;
}

/// A TLS client that trusts the sandbox's CA alone.
async fn tls_request(server: &RunningServer, name: &str) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(server.sandbox_ca.as_ref().unwrap()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.tls_address.unwrap()).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    Ok(exchange(stream, &send(&token(server))).await)
}

#[tokio::test]
async fn the_sandboxs_tls_is_trusted_by_its_ca_under_its_names_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.sandbox.tls = true;
    let mut authority = None;
    for _ in 0..2 {
        let server = start(settings.clone()).await.unwrap();
        for name in ["gatewayapi.telegram.org", "localhost", "127.0.0.1", "::1"] {
            let answer = tls_request(&server, name).await.unwrap();
            assert!(answer.contains(r#""ok":true"#), "{name}: {answer}");
        }
        assert!(tls_request(&server, "telegram.org").await.is_err());
        let certificate = std::fs::read(server.sandbox_ca.as_ref().unwrap()).unwrap();
        assert_eq!(
            *authority.get_or_insert(certificate.clone()),
            certificate,
            "a restart made another CA"
        );
        end(server).await;
    }
}

#[tokio::test]
async fn what_is_no_tls_on_the_tls_port_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.sandbox.tls = true;
    settings.server.request_timeout = Duration::from_secs(1);
    let server = start(settings).await.unwrap();
    let connect = || TcpStream::connect(server.tls_address.unwrap());
    let answer = exchange(connect().await.unwrap(), b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(!answer.contains("HTTP/"), "{answer}");
    // A handshake that never begins.
    assert_eq!(exchange(connect().await.unwrap(), b"").await, "");
    assert!(
        tls_request(&server, "localhost")
            .await
            .unwrap()
            .contains(r#""ok":true"#)
    );
    end(server).await;
}

#[tokio::test]
async fn an_operators_own_certificate_is_served_on_the_main_address() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["gateway.example".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut settings = settings(&dir.path().join("data"));
    settings.server.tls_cert_file = Some(certificate.clone());
    settings.server.tls_key_file = Some(key.clone());
    let mut server = start(settings.clone()).await.unwrap();
    assert!(server.api_url.starts_with("https://"), "{}", server.api_url);
    server.sandbox_ca = Some(certificate.clone());
    server.tls_address = Some(server.api_address);
    assert!(
        tls_request(&server, "gateway.example")
            .await
            .unwrap()
            .contains(r#""ok":true"#)
    );
    end(server).await;

    settings.server.tls_key_file = Some(certificate);
    let refused = start(settings).await.err().unwrap().to_string();
    assert!(refused.contains("a private key (PEM)"), "{refused}");
}

#[tokio::test]
async fn a_server_that_is_told_to_end_ends_although_callers_hold_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(settings(dir.path())).await.unwrap();
    let mut watcher = TcpStream::connect(server.api_address).await.unwrap();
    watcher
        .write_all(b"GET /inbox/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(watcher.read_u8().await.unwrap(), b'H');
    let silent = TcpStream::connect(server.api_address).await.unwrap();
    let (tell_end, told) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(server.run_until(async {
        let _ = told.await;
    }));
    drop(tell_end);
    timeout(Duration::from_secs(8), running)
        .await
        .expect("open streams held the server up")
        .unwrap()
        .unwrap();
    drop(silent);
}
