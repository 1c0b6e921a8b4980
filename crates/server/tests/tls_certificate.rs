//! A certificate that is changed while the server serves: new handshakes get the new one, open connections go on, and one that can't be
//! used changes nothing. The certificates are made here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use countersign_server::http::tls::OperatorCertificate;
use countersign_server::http::{HttpLimits, HttpServer, bind};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

struct Served {
    folder: TempDir,
    certificate: Arc<OperatorCertificate>,
    address: SocketAddr,
    _http: HttpServer,
}

/// Writes a new certificate, with its key, over what is there; answers the certificate.
fn renew(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    cert.der().clone()
}

fn serve() -> (Served, CertificateDer<'static>) {
    let folder = tempfile::tempdir().unwrap();
    let first = renew(folder.path());
    let certificate =
        OperatorCertificate::load(&folder.path().join("cert.pem"), &folder.path().join("key.pem")).unwrap();
    let router = Router::new().route("/", get(async || "hello"));
    let http = HttpServer::new(router, HttpLimits::new(10, Duration::from_secs(10)));
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    http.listen(listener, Some(certificate.config().unwrap()));
    let served = Served {
        folder,
        certificate,
        address,
        _http: http,
    };
    (served, first)
}

/// A connection of whoever trusts that certificate alone.
async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn says_hello(stream: &mut TlsStream<TcpStream>) -> bool {
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut some = [0; 1024];
        let read = stream.read(&mut some).await.unwrap();
        if read == 0 {
            return false;
        }
        answer.extend_from_slice(&some[..read]);
    }
    answer.starts_with(b"HTTP/1.1 200 ")
}

#[tokio::test]
async fn new_connections_get_the_new_certificate_and_open_ones_go_on() {
    let (served, first) = serve();
    let both = [&TLS13, &TLS12];
    let mut open = connect(served.address, &first, &both).await.unwrap();
    assert!(says_hello(&mut open).await);
    assert!(!served.certificate.reload().unwrap(), "nothing has changed");

    let second = renew(served.folder.path());
    assert!(served.certificate.reload().unwrap());
    assert!(connect(served.address, &first, &both).await.is_err());
    let mut new = connect(served.address, &second, &both).await.unwrap();
    assert!(says_hello(&mut new).await);
    assert!(says_hello(&mut open).await, "the open connection has ended");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_leaves_the_old_one_and_says_why() {
    let (served, first) = serve();
    let key = std::fs::read(served.folder.path().join("key.pem")).unwrap();
    renew(served.folder.path());
    // Half written: another's key.
    std::fs::write(served.folder.path().join("key.pem"), key).unwrap();
    let error = served.certificate.reload().unwrap_err().to_string();
    assert!(error.contains("the certificate and its key can't be used"), "{error}");
    assert!(!served.certificate.reload().unwrap(), "the same mistake is told once");
    std::fs::write(served.folder.path().join("cert.pem"), "no certificate").unwrap();
    let error = served.certificate.reload().unwrap_err().to_string();
    assert!(
        error.contains("cert.pem") && error.contains("there is none in it"),
        "{error}"
    );
    std::fs::remove_file(served.folder.path().join("cert.pem")).unwrap();
    assert!(served.certificate.reload().is_err());
    let mut stream = connect(served.address, &first, &[&TLS13, &TLS12]).await.unwrap();
    assert!(says_hello(&mut stream).await);

    let second = renew(served.folder.path());
    assert!(served.certificate.reload().unwrap());
    assert!(connect(served.address, &second, &[&TLS13]).await.is_ok());
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let (served, first) = serve();
    for version in [&TLS12, &TLS13] {
        let mut stream = connect(served.address, &first, &[version]).await.unwrap();
        assert!(says_hello(&mut stream).await);
    }
    // A client hello of TLS 1.1: its random, no session, one cipher suite, no compression.
    let mut hello = vec![22, 3, 2, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    // An alert, and the end; a reset says the same.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
}
