//! Whether a database can be reached, and whether this program can keep books in it: asked at the start, and by commands. What is wrong
//! is said in words, since only the operator can mend it.

use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

use rustls::CertificateError;
use tokio_postgres::error::SqlState;

use super::session::{Session, SessionError};
use super::settings::PostgresSettings;
use crate::types::StoreError;

/// The oldest server that has all that the statements use.
const OLDEST_SERVER: i32 = 14;

/// Why a database can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// Nobody answers there, or not yet: a server that starts, or a network that comes up, may answer later.
    #[error("{0}")]
    NotYet(String),
    /// It was reached, or its address is wrong: waiting helps nothing.
    #[error(transparent)]
    Never(StoreError),
}

impl PostgresSettings {
    /// Connects once, waits for no longer than a question may take, and asks nothing. Not from within a runtime's own thread.
    pub fn reach(&self) -> Result<(), ReachError> {
        let access = self.access().map_err(ReachError::Never)?;
        match Session::connect(&access) {
            Ok(_session) => Ok(()),
            Err(error) if error.may_pass() => Err(ReachError::NotYet(words(&error))),
            Err(error) => Err(ReachError::Never(unreached(&error, self))),
        }
    }
}

/// Refuses a server that the books can't be kept on, and warns of a role that no guard holds for.
pub(super) fn examine(session: &Session) -> Result<(), StoreError> {
    let row = session.wait(session.client().query_one(
        "SELECT current_setting('server_version_num')::integer / 10000, current_setting('server_encoding'), rolsuper, \
         pg_is_in_recovery(), current_user::text FROM pg_roles WHERE rolname = current_user",
        &[],
    ))?;
    let (version, encoding): (i32, &str) = (row.get(0), row.get(1));
    let (is_superuser, is_standby, role): (bool, bool, &str) = (row.get(2), row.get(3), row.get(4));
    if version < OLDEST_SERVER {
        return Err(StoreError::Unfit(format!(
            "its server is PostgreSQL {version}, and {OLDEST_SERVER} is the oldest that will do: upgrade it"
        )));
    }
    if encoding != "UTF8" {
        return Err(StoreError::Unfit(format!(
            "its encoding is {encoding}, and texts in all languages need UTF8: make another database with CREATE DATABASE … \
             TEMPLATE template0 ENCODING 'UTF8'"
        )));
    }
    if is_standby {
        // A fail-over may make it the primary in a moment.
        tracing::warn!("this server of the database is a standby, which takes no writes");
        return Err(StoreError::Unavailable);
    }
    if is_superuser {
        tracing::warn!(
            "the database role {role} is a superuser: that the ledger is never edited doesn't bind it. Connect as a role that \
             isn't one"
        );
    }
    Ok(())
}

impl SessionError {
    /// Whether another attempt may go better.
    fn may_pass(&self) -> bool {
        let full = matches!(self, Self::Postgres(error) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS));
        full || (self.ends_connection() && self.distrust().is_none())
    }

    /// Why the server's certificate was refused, where that is what went wrong.
    fn distrust(&self) -> Option<&CertificateError> {
        let Self::Postgres(error) = self else { return None };
        // What went wrong with TLS is inside of an error of input and output, which names its own cause's cause only.
        let source = error.source()?.downcast_ref::<std::io::Error>()?;
        match source.get_ref()?.downcast_ref()? {
            rustls::Error::InvalidCertificate(why) => Some(why),
            _ => None,
        }
    }

    /// Whether the role may not do what was asked.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE))
    }
}

/// A connection for a command, whose questions may take so long. Connecting may not: it says why it can't. Not within a runtime's own
/// thread.
pub(crate) fn connect_for_long(settings: &PostgresSettings, longest: Duration) -> Result<Session, StoreError> {
    let access = settings.access()?;
    let mut session = Session::connect(&access).map_err(|error| unreached(&error, settings))?;
    session.set_timeout(longest);
    session.batch_execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")?;
    Ok(session)
}

fn unreached(error: &SessionError, settings: &PostgresSettings) -> StoreError {
    StoreError::Unfit(format!("{}: {}", settings.place(), words(error)))
}

/// With the cause below the cause: "error connecting to server" alone helps nobody.
fn words(error: &SessionError) -> String {
    let mut words = error.to_string();
    if let SessionError::Postgres(error) = error
        && error.as_db_error().is_none()
    {
        let mut source = error.source();
        while let Some(cause) = source {
            // Writing to a string can't fail.
            let _ = write!(words, ": {cause}");
            source = cause.source();
        }
    }
    if let Some(why) = error.distrust() {
        words.push_str(match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ". Name the server in the address as its certificate does"
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => ". Give the server another certificate, or set the clocks",
            _ => ". Name the authority that signed the server's certificate, with database.ca_file or sslrootcert in the address",
        });
    }
    words
}
