//! The books in a PostgreSQL database, for several nodes at once: each node has writer lanes that commit in batches, and readers
//! beside them. Correctness comes from the locks of accounts' rows; everything that nodes keep in memory may be wrong for a moment
//! without harm.
//!
//! `session` is one connection, for code that waits for its answers; `value` is how columns and parameters travel.

mod session;
mod value;

pub(crate) use session::{RowStream, Session, SessionError};
pub(crate) use value::PostgresColumn;
