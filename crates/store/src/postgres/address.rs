//! A database's address as PostgreSQL's own tools take it. `tokio-postgres` reads most of it; here is what it doesn't know: the stricter
//! words for `sslmode`, and `sslrootcert`.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

/// What an address says.
pub(super) struct Address {
    pub(super) config: Config,
    /// Whether, and how, the way is to be encrypted; `None` where it doesn't say. Wherever it is, the certificate is checked.
    pub(super) ssl_mode: Option<SslMode>,
    /// Whether it says which of several servers is meant.
    pub(super) says_session: bool,
    /// Who must have signed the server's certificate, where it says so.
    pub(super) authority: Option<Authority>,
}

/// Who is trusted with the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Authority {
    /// `sslrootcert=system`: the platform's authorities.
    Platform,
    /// Those in a PEM file.
    File(PathBuf),
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, tokio_postgres::Error> {
        let (before, query) = split(text);
        let mut kept = Vec::new();
        let (mut ssl_mode, mut says_session, mut authority) = (None, false, None);
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("sslrootcert", "system")) => authority = Some(Authority::Platform),
                Some(("sslrootcert", file)) => {
                    authority = (!file.is_empty()).then(|| Authority::File(PathBuf::from(decoded(file))));
                }
                // Here a certificate is never taken unseen, so these three are one.
                Some(("sslmode", "require" | "verify-ca" | "verify-full")) => ssl_mode = Some(SslMode::Require),
                Some(("sslmode", "prefer")) => ssl_mode = Some(SslMode::Prefer),
                Some(("sslmode", "disable")) => ssl_mode = Some(SslMode::Disable),
                said => {
                    says_session |= said.is_some_and(|(name, _)| name == "target_session_attrs");
                    kept.push(part);
                }
            }
        }
        let mark = if kept.is_empty() { "" } else { "?" };
        Ok(Self {
            config: format!("{before}{mark}{}", kept.join("&")).parse()?,
            ssl_mode,
            says_session,
            authority,
        })
    }
}

/// The address up to its settings, and these. A password ends at the first `@`, and may hold a `?`.
fn split(text: &str) -> (&str, &str) {
    let host = text.find('@').unwrap_or(0);
    match text[host..].find('?') {
        Some(mark) => (&text[..host + mark], &text[host + mark + 1..]),
        None => (text, ""),
    }
}

/// Without the escapes of an address (`%20`).
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after
            .first_chunk::<2>()
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_postgresqls_own_tools_are_understood() {
        let address =
            "postgres://kim:a%3Fb?c@db/books?sslmode=verify-full&connect_timeout=3&sslrootcert=/etc/my%20ca.pem";
        let address = Address::parse(address).unwrap();
        assert_eq!(address.ssl_mode, Some(SslMode::Require));
        assert_eq!(address.authority, Some(Authority::File("/etc/my ca.pem".into())));
        assert!(!address.says_session);
        assert_eq!(address.config.get_password(), Some(b"a?b?c".as_slice()));
        assert_eq!(address.config.get_dbname(), Some("books"));
        assert_eq!(
            address.config.get_connect_timeout().copied(),
            Some(std::time::Duration::from_secs(3))
        );
        let system = Address::parse("postgres://db/books?sslrootcert=system").unwrap();
        assert_eq!((system.ssl_mode, system.authority), (None, Some(Authority::Platform)));
    }

    #[test]
    fn what_would_encrypt_less_than_it_seems_to_is_refused() {
        for option in [
            "sslmode=allow",
            "sslmode=",
            "sslmode=Verify-Full",
            "sslcert=/a.pem",
            "sslrootcrt=/a.pem",
        ] {
            assert!(
                Address::parse(&format!("postgres://db/books?{option}")).is_err(),
                "{option}"
            );
        }
    }
}
