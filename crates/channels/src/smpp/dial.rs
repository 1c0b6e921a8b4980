//! Opens a connection to the message centre: resolves its name, connects, and speaks TLS where that is set. Says in words what went
//! wrong at which step, for the log and for `countersign doctor`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::settings::Settings;
use crate::config::{ChannelConfig, ConfigError};
use crate::tls;

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
                let trust = tls::tls_client_config(extra_ca_file);
                let trust = trust.map_err(|problem| ConfigError::of_key(config, "tls", problem))?;
                Some((TlsConnector::from(Arc::new(trust)), name))
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
