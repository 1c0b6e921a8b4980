//! Whom those trust that speak TLS on a connection of their own (SMPP, SMTP, the sender of delivery reports): the platform's
//! authorities, and those of the operator's extra file. Channels over HTTP have `http.rs`.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

/// Trust in the platform's authorities and those of a PEM file. The error says what is wrong with the file.
pub fn tls_client_config(extra_ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let extra = extra_ca_file.map(read_certificates).transpose()?.unwrap_or_default();
    // An error says that a provider is installed already: it is ring everywhere in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    match Verifier::new_with_extra_roots(extra.clone(), provider) {
        Ok(verifier) => Ok(ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth()),
        Err(error) => {
            // Slim containers have no authorities at all; what isn't encrypted and the extra ones must work all the same.
            tracing::warn!(%error, "the platform's certificate authorities can't be used: install ca-certificates");
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(extra);
            Ok(ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth())
        }
    }
}

/// The certificates of a PEM file. The error says what is wrong with the file.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("can’t read {}: {error}", path.display()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if RootCertStore::empty().add_parsable_certificates(certificates.clone()).0 > 0 => {
            Ok(certificates)
        }
        _ => Err(format!("{} holds no certificate in PEM form", path.display())),
    }
}
