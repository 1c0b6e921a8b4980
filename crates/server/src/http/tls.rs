//! TLS, 1.2 and 1.3: an operator's certificate (`certificate`), or the sandbox's own.
//!
//! The sandbox's CA is made once and kept in the data directory. It is constrained to the names that the sandbox serves, so
//! that a stolen key of it can't impersonate any other site to those who trust it.

mod certificate;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

pub use certificate::OperatorCertificate;

use crate::start::files;

/// The host names of the sandbox's certificate; many clients hard-code the first.
pub const SANDBOX_NAMES: [&str; 2] = ["gatewayapi.telegram.org", "localhost"];
/// Its addresses.
const SANDBOX_ADDRESSES: [&str; 2] = ["127.0.0.1", "::1"];
/// The sandbox CA's certificate, for clients to trust.
pub const CA_CERTIFICATE_FILE: &str = "sandbox-ca.pem";
/// Its key, mode 0600.
const CA_KEY_FILE: &str = "sandbox-ca.key";
/// A new leaf is made at every start; browsers and some libraries refuse leaves that live longer than this.
const LEAF_LIFE: Duration = Duration::from_hours(397 * 24);
/// Clocks of containers differ.
const CLOCK_SKEW: Duration = Duration::from_hours(24);

/// Why TLS can't be served.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A PEM file can't be read or holds nothing of use.
    #[error("can't read {what} from {path}: {reason}")]
    File {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Certificate and key don't fit each other.
    #[error("the certificate and its key can't be used: {0}")]
    Unfit(#[from] rustls::Error),
    /// The sandbox's own certificate can't be made.
    #[error("can't make the sandbox's certificate: {0}")]
    Making(#[from] rcgen::Error),
    /// A file of the sandbox's CA can't be written.
    #[error("can't write {path}: {source}")]
    Writing {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A certificate for [`SANDBOX_NAMES`], made now, and the CA that signed it, made where `data_dir` has none.
pub fn sandbox_config(data_dir: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let issuer = Issuer::new(ca_parameters()?, ca_key(data_dir)?);
    let mut leaf = CertificateParams::new(sandbox_subjects())?;
    leaf.distinguished_name.push(DnType::CommonName, SANDBOX_NAMES[0]);
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let epoch = date_time_ymd(1970, 1, 1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    leaf.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    leaf.not_after = epoch + now.saturating_add(LEAF_LIFE).saturating_sub(CLOCK_SKEW);
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|reason| TlsError::File {
        what: "the sandbox's key",
        path: data_dir.join(CA_KEY_FILE),
        reason: reason.to_owned(),
    })?;
    config(vec![certificate.der().clone()], key)
}

fn config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<ServerConfig>, TlsError> {
    config_with(|builder| Ok(builder.with_single_cert(chain, key)?))
}

type Builder = rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>;

fn config_with(certify: impl FnOnce(Builder) -> Result<ServerConfig, TlsError>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth();
    let mut config = certify(builder)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Resumption without a table of sessions.
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

fn sandbox_subjects() -> Vec<String> {
    SANDBOX_NAMES
        .into_iter()
        .chain(SANDBOX_ADDRESSES)
        .map(str::to_owned)
        .collect()
}

/// The CA's key from the data directory. A new one is made together with its certificate: they are useless apart.
fn ca_key(data_dir: &Path) -> Result<KeyPair, TlsError> {
    let key_path = data_dir.join(CA_KEY_FILE);
    let certificate_path = data_dir.join(CA_CERTIFICATE_FILE);
    if certificate_path.exists()
        && let Ok(pem) = std::fs::read_to_string(&key_path)
    {
        return Ok(KeyPair::from_pem(&pem)?);
    }
    let key = KeyPair::generate()?;
    let certificate = ca_parameters()?.self_signed(&key)?;
    let writing = |path: PathBuf| move |source| TlsError::Writing { path, source };
    files::write_secret(&key_path, key.serialize_pem().as_bytes()).map_err(writing(key_path))?;
    // Last, and whole or not at all: where it is, the key is there too.
    files::write_public(&certificate_path, certificate.pem().as_bytes()).map_err(writing(certificate_path))?;
    Ok(key)
}

/// Always the same, so that a leaf signed after a restart fits the certificate that clients were given.
fn ca_parameters() -> Result<CertificateParams, TlsError> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "Countersign sandbox CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.not_before = date_time_ymd(2026, 1, 1);
    ca.not_after = date_time_ymd(2046, 1, 1);
    let names = SANDBOX_NAMES.map(|name| GeneralSubtree::DnsName(name.to_owned()));
    let addresses = SANDBOX_ADDRESSES
        .iter()
        .filter_map(|address| address.parse::<IpAddr>().ok());
    let addresses = addresses.map(|address| {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, whole))
    });
    ca.name_constraints = Some(NameConstraints {
        permitted_subtrees: names.into_iter().chain(addresses).collect(),
        excluded_subtrees: Vec::new(),
    });
    Ok(ca)
}
