//! How a PostgreSQL database is reached: what the operator set, as `tokio-postgres` takes it. TLS is asked for wherever the server is
//! another machine, and then its certificate must be good: a password and a thousand phone numbers an hour go over this line.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{Address, Authority};
use super::session::Access;
use crate::types::StoreError;

/// What one server of several is given to answer.
const SHORTEST_CONNECT: Duration = Duration::from_millis(500);

/// Which database, and how it is used.
#[derive(Clone)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database`, also with several hosts, of which the one that takes writes is used.
    pub url: String,
    /// A PEM file with the authority that signed the server's certificate; `None` trusts the platform's. `sslrootcert` in the address
    /// goes before.
    pub ca_file: Option<PathBuf>,
    /// Writer lanes, each with a connection: how many batches this node commits at once.
    pub lanes: usize,
    /// Connections for questions and settings besides.
    pub readers: usize,
    /// The longest that one question, or one batch, may take. Beyond it callers are told that the books can't be reached.
    pub timeout: Duration,
    /// What this node is called in the table of nodes: its host's name, for people.
    pub node_name: String,
    /// When nodes speak up, and when they count as dead: the same on all nodes, so no setting of the operator's.
    #[doc(hidden)]
    pub times: NodeTimes,
}

/// How nodes tell each other that they live. What was promised (a dead node's work goes on within 30 s) hangs on these; tests have shorter
/// ones.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct NodeTimes {
    /// How often a node says that it lives.
    pub heartbeat: Duration,
    /// How long after its last heartbeat a node stops working by itself. Shorter than `dead_after` by what a message under way takes.
    pub holds_for: Duration,
    /// How long after its last heartbeat, by the database's clock, the others take a node's work over.
    pub dead_after: Duration,
    /// How often they look for such nodes.
    pub look: Duration,
}

impl Default for NodeTimes {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5),
            holds_for: Duration::from_secs(20),
            dead_after: Duration::from_secs(25),
            look: Duration::from_secs(2),
        }
    }
}

/// Without the password.
impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("place", &self.place())
            .field("ca_file", &self.ca_file)
            .field("lanes", &self.lanes)
            .field("readers", &self.readers)
            .field("timeout", &self.timeout)
            .field("node_name", &self.node_name)
            .finish_non_exhaustive()
    }
}

impl PostgresSettings {
    /// Whether a text is the address of a database, as far as that can be seen. It is asked of nobody.
    pub fn is_address(text: &str) -> bool {
        let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
        is_url && Address::parse(text).is_ok()
    }

    /// Which database this is, for people: its hosts and its name, and nothing secret.
    pub fn place(&self) -> String {
        let Ok(Address { config, .. }) = Address::parse(&self.url) else {
            return "a PostgreSQL database".to_owned();
        };
        let ports = config.get_ports();
        let port_of = |place: usize| ports.get(place).or_else(|| ports.first());
        let hosts = config.get_hosts().iter().enumerate().map(|(place, host)| match host {
            Host::Tcp(name) => match port_of(place) {
                Some(port) => format!("{name}:{port}"),
                None => name.clone(),
            },
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        });
        let hosts: Vec<String> = hosts.collect();
        let name = config.get_dbname().or_else(|| config.get_user()).unwrap_or_default();
        format!("{}/{name}", hosts.join(","))
    }

    /// The defaults for a database.
    pub fn new(url: String) -> Self {
        Self {
            url,
            ca_file: None,
            lanes: 4,
            readers: 4,
            timeout: Duration::from_secs(5),
            node_name: String::new(),
            times: NodeTimes::default(),
        }
    }

    pub(crate) fn access(&self) -> Result<Access, StoreError> {
        let address = Address::parse(&self.url).map_err(|error| wrong(&error.to_string()))?;
        let mut config = address.config;
        let is_here = config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
            #[cfg(unix)]
            Host::Unix(_) => true,
        });
        let is_here = is_here
            && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
            && !config.get_hosts().is_empty();
        let is_plain = is_here && address.authority.is_none();
        let unless_said = if is_plain { SslMode::Disable } else { SslMode::Require };
        config.ssl_mode(address.ssl_mode.unwrap_or(unless_said));
        // Of several servers the one that takes writes, and time to come to the last of them.
        if !address.says_session {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let places = u32::try_from(config.get_hosts().len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        config
            .connect_timeout((self.timeout / places).max(SHORTEST_CONNECT))
            .tcp_user_timeout(self.timeout)
            .keepalives_idle(Duration::from_secs(10))
            .application_name(format!("countersign {}", self.node_name).trim_end());
        // The server gives up what this side gave up, soon after; and a name in a table is looked for nowhere else.
        let timeout_ms = self.timeout.as_millis();
        let given = config
            .get_options()
            .map(|options| format!("{options} "))
            .unwrap_or_default();
        config.options(format!(
            "{given}-c statement_timeout={timeout_ms} -c idle_in_transaction_session_timeout={} -c TimeZone=UTC \
             -c synchronous_commit=on -c jit=off -c default_transaction_isolation=read\\ committed",
            2 * timeout_ms
        ));
        Ok(Access {
            config,
            tls: self.tls(address.authority)?,
            timeout: self.timeout,
            sharded: false,
        })
    }

    fn tls(&self, said: Option<Authority>) -> Result<MakeRustlsConnect, StoreError> {
        let authority = said.unwrap_or_else(|| self.ca_file.clone().map_or(Authority::Platform, Authority::File));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error.to_string()))?;
        let config = match authority {
            Authority::File(path) => {
                let mut roots = RootCertStore::empty();
                let unreadable = |error: &dyn std::fmt::Display| wrong(&format!("{}: {error}", path.display()));
                for certificate in CertificateDer::pem_file_iter(&path).map_err(|error| unreadable(&error))? {
                    let certificate = certificate.map_err(|error| unreadable(&error))?;
                    roots.add(certificate).map_err(|error| unreadable(&error))?;
                }
                if roots.is_empty() {
                    return Err(unreadable(&"there is no certificate in it"));
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            Authority::Platform => {
                let verifier =
                    rustls_platform_verifier::Verifier::new(provider).map_err(|error| wrong(&error.to_string()))?;
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
                    .with_no_client_auth()
            }
        };
        Ok(MakeRustlsConnect::new(config))
    }
}

fn wrong(why: &str) -> StoreError {
    StoreError::Database(format!("the database's address can't be used: {why}"))
}
