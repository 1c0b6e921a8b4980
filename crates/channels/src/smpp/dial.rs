//! Opens a connection to the message centre: resolves its name, connects, and speaks TLS where that is set. Says in words what went
//! wrong at which step, for the log and for `countersign doctor`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::settings::Settings;
use crate::config::{ChannelConfig, ConfigError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection, in the clear or over TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What is needed to open connections.
#[derive(Clone)]
pub(super) struct Dialer {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why there is no connection: one sentence without secrets, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DialError {
    pub(super) problem: String,
    pub(super) remedy: &'static str,
}

impl Dialer {
    /// Fails where the certificates to trust can't be read, or the name of the certificate can't be one.
    pub(super) fn new(
        config: &ChannelConfig,
        settings: &Settings,
        extra_ca_file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let tls = match &settings.tls {
            None => None,
            Some(name) => {
                let Ok(name) = ServerName::try_from(name.clone()) else {
                    let problem = "expected the host name or the IP address that the certificate bears";
                    return Err(ConfigError::of_key(config, "tls_name", problem));
                };
                let extra = extra_ca_file.map(read_certificates).transpose();
                let extra = extra.map_err(|problem| ConfigError::of_key(config, "tls", problem))?;
                let config = tls_config(extra.unwrap_or_default());
                Some((TlsConnector::from(Arc::new(config)), name))
            }
        };
        Ok(Self {
            host: settings.host.clone(),
            port: settings.port,
            tls,
        })
    }

    /// As people write it.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether connections are encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Opens a connection, within ten seconds for each step.
    pub(super) async fn dial(&self) -> Result<Box<dyn Stream>, DialError> {
        let address = self.address();
        let failed = |what: &str, remedy| DialError {
            problem: format!("{address}: {what}"),
            remedy,
        };
        let resolved = tokio::time::timeout(
            CONNECT_TIMEOUT,
            tokio::net::lookup_host((self.host.as_str(), self.port)),
        );
        let addresses: Vec<_> = match resolved.await {
            Ok(Ok(addresses)) => addresses.collect(),
            _ => {
                return Err(failed(
                    "the name can’t be resolved",
                    "Check host, and this machine’s DNS.",
                ));
            }
        };
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&addresses[..])).await;
        let remedy =
            "Check host and port, and whether the operator of the message centre lets this machine’s address in.";
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(&format!("no connection ({error})"), remedy)),
            Err(_) => return Err(failed("no connection within 10 s", remedy)),
        };
        // A PDU is small and waited for.
        let _ = stream.set_nodelay(true);
        let Some((connector, name)) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let encrypted = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name.clone(), stream)).await;
        let remedy = "Check that the port speaks TLS; set tls_name where the certificate bears another name, and \
                      callbacks.extra_ca_file where its authority is your own.";
        match encrypted {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(failed(&format!("no TLS ({error})"), remedy)),
            Err(_) => Err(failed("no TLS within 10 s", remedy)),
        }
    }
}

/// Trust in the platform's authorities and extra ones.
fn tls_config(extra: Vec<CertificateDer<'static>>) -> ClientConfig {
    // An error says that a provider is installed already: it is ring everywhere in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    match Verifier::new_with_extra_roots(extra.clone(), provider) {
        Ok(verifier) => ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "the platform's certificate authorities can't be used: install ca-certificates");
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(extra);
            ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth()
        }
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("can’t read {}: {error}", path.display()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("{} holds no certificate in PEM form", path.display())),
    }
}
