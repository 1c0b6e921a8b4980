//! The operator's certificate, which is read again while the server serves: when the process gets SIGHUP, and every few seconds where its
//! files have changed. Handshakes from then on get the new one; connections that are open go on. One that can't be used changes
//! nothing, and the log says why.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use super::{TlsError, config_with};

/// How often the files are looked at. Programs that renew certificates do so weeks before the old one ends.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Longest file that is read: a chain is a few kilobytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A certificate chain with its key, in two PEM files.
#[derive(Debug)]
pub struct OperatorCertificate {
    certificate_file: PathBuf,
    key_file: PathBuf,
    present: RwLock<Arc<CertifiedKey>>,
    /// What was read last, whether it could be used or not: each text is judged once.
    read: Mutex<Texts>,
}

#[derive(PartialEq, Eq)]
struct Texts {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The key is never shown.
impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Texts(hidden)")
    }
}

impl OperatorCertificate {
    /// Reads it.
    pub fn load(certificate_file: &Path, key_file: &Path) -> Result<Arc<Self>, TlsError> {
        let texts = Texts::read(certificate_file, key_file)?;
        let present = texts.certified(certificate_file, key_file)?;
        Ok(Arc::new(Self {
            certificate_file: certificate_file.to_owned(),
            key_file: key_file.to_owned(),
            present: RwLock::new(Arc::new(present)),
            read: Mutex::new(texts),
        }))
    }

    /// How TLS is spoken with it.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        config_with(|builder| Ok(builder.with_cert_resolver(Arc::clone(self) as _)))
    }

    /// Reads the files again, and takes the certificate over where they have changed; answers whether it did. After a failure the present
    /// one stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let texts = Texts::read(&self.certificate_file, &self.key_file)?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if *read == texts {
            return Ok(false);
        }
        let certified = texts.certified(&self.certificate_file, &self.key_file);
        *read = texts;
        let certified = Arc::new(certified?);
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(true)
    }

    /// The same, told to the log.
    fn reload_and_say_so(&self, asked: bool) {
        match self.reload() {
            Ok(true) => tracing::info!("the new TLS certificate {} is in use", self.certificate_file.display()),
            Ok(false) if asked => tracing::info!("the TLS certificate is still the one that is in use"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the TLS certificate stays the old one"),
        }
    }

    /// Looks after it until the server ends.
    pub(crate) fn attend(self: Arc<Self>, mut draining: watch::Receiver<bool>) {
        let mut hangup = match hangup() {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::warn!(%error, "SIGHUP can't be heard: a new TLS certificate is found by its file alone");
                return;
            }
        };
        tokio::spawn(async move {
            loop {
                let asked = tokio::select! {
                    _ = draining.wait_for(|draining| *draining) => return,
                    () = hangup.recv() => true,
                    () = tokio::time::sleep(LOOK_EVERY) => false,
                };
                let certificate = Arc::clone(&self);
                // A file system may take its time.
                let reloaded = tokio::task::spawn_blocking(move || certificate.reload_and_say_so(asked)).await;
                if reloaded.is_err() {
                    return;
                }
            }
        });
    }
}

impl ResolvesServerCert for OperatorCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.present.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Texts {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read_file(certificate, "a certificate chain (PEM)")?,
            key: read_file(key, "a private key (PEM)")?,
        })
    }

    fn certified(&self, certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
        let unreadable = |what, path: &Path, reason: String| TlsError::File {
            what,
            path: path.to_owned(),
            reason,
        };
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| unreadable("a certificate chain (PEM)", certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(unreadable(
                "a certificate chain (PEM)",
                certificate,
                "there is none in it".to_owned(),
            ));
        }
        let private = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| unreadable("a private key (PEM)", key, error.to_string()))?;
        let provider = rustls::crypto::ring::default_provider();
        Ok(CertifiedKey::from_der(chain, private, &provider)?)
    }
}

fn read_file(path: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    let failed = |reason: String| TlsError::File {
        what,
        path: path.to_owned(),
        reason,
    };
    let size = std::fs::metadata(path)
        .map_err(|error| failed(error.to_string()))?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(failed("it is too long".to_owned()));
    }
    std::fs::read(path).map_err(|error| failed(error.to_string()))
}

#[cfg(unix)]
struct Hangup(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangup {
    async fn recv(&mut self) {
        if self.0.recv().await.is_none() {
            // It can't be heard any more.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
fn hangup() -> std::io::Result<Hangup> {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::hangup()).map(Hangup)
}

#[cfg(not(unix))]
struct Hangup;

#[cfg(not(unix))]
impl Hangup {
    async fn recv(&mut self) {
        std::future::pending::<()>().await;
    }
}

#[cfg(not(unix))]
fn hangup() -> std::io::Result<Hangup> {
    Ok(Hangup)
}
