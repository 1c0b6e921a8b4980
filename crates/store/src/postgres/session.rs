//! One connection to a PostgreSQL server, for a thread that waits for its answers. Each has a runtime of its own, so an answer wakes no
//! other thread. Everything asked of it is bounded in time; where that runs out, the connection is given up.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::value::Parameter;
use crate::sql::connection::Value;
use crate::sql::dialect::for_postgres;
use crate::types::StoreError;

/// Ends a transaction. The time-out doesn't run meanwhile: where it cancels the wait for a synchronous standby, the server answers that
/// all is well, although the standby doesn't have it.
pub(crate) const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";

/// Rows that are read one by one.
pub(crate) type RowStream = Pin<Box<tokio_postgres::RowStream>>;

/// Why a server could not answer.
#[derive(Debug)]
pub(crate) enum SessionError {
    /// The server, or the connection to it.
    Postgres(tokio_postgres::Error),
    /// No answer came in time. The connection is given up.
    TimedOut,
    /// This machine could not even begin.
    Local(std::io::Error),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(error) => match error.as_db_error() {
                // Its detail prints whole rows, numbers included (P7).
                Some(error) => write!(f, "{}: {} ({})", error.severity(), error.message(), error.code().code()),
                None => write!(f, "{error}"),
            },
            Self::TimedOut => f.write_str("the database did not answer in time"),
            Self::Local(error) => write!(f, "{error}"),
        }
    }
}

impl SessionError {
    fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) => error.code(),
            _ => None,
        }
    }

    /// Whether a row broke a constraint, such as being there already.
    pub(crate) fn is_constraint(&self) -> bool {
        self.state().is_some_and(|state| state.code().starts_with("23"))
    }

    /// Whether a row without a month of its own met the month's making: a second try finds the month (`partitions`).
    fn is_of_a_new_month(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        error.as_db_error().is_some_and(|error| {
            *error.code() == SqlState::CHECK_VIOLATION
                && error.constraint().is_none()
                && error.table().is_some_and(|table| table.ends_with("_default"))
        })
    }

    /// Whether a statement failed on this side, before a byte of it was sent: a value that doesn't fit its parameter.
    pub(crate) fn is_unsent(&self) -> bool {
        match self {
            Self::Postgres(error) => {
                let source = std::error::Error::source(error);
                error.code().is_none()
                    && !error.is_closed()
                    && source.is_some_and(|source| !source.is::<std::io::Error>())
            }
            Self::TimedOut | Self::Local(_) => false,
        }
    }

    /// Whether the connection is of no use any more.
    pub(crate) fn ends_connection(&self) -> bool {
        match self {
            Self::Postgres(error) => {
                error.is_closed()
                    || (error.code().is_none() && !self.is_unsent())
                    || self.state().is_some_and(|state| {
                        state.code().starts_with("57P") || state.code().starts_with("08") || state.code() == "25006"
                    })
            }
            Self::TimedOut | Self::Local(_) => true,
        }
    }
}

impl From<tokio_postgres::Error> for SessionError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<SessionError> for StoreError {
    fn from(error: SessionError) -> Self {
        let state = error.state();
        if state == Some(&SqlState::DISK_FULL) {
            return Self::DiskFull;
        }
        if state == Some(&SqlState::T_R_SERIALIZATION_FAILURE)
            || state == Some(&SqlState::T_R_DEADLOCK_DETECTED)
            || error.is_of_a_new_month()
        {
            return Self::TryAgain;
        }
        // Statement time-out, lock time-out.
        if state == Some(&SqlState::QUERY_CANCELED)
            || state == Some(&SqlState::LOCK_NOT_AVAILABLE)
            || error.ends_connection()
        {
            tracing::debug!(%error, "the database can't be reached");
            return Self::Unavailable;
        }
        Self::Database(error.to_string())
    }
}

/// How to reach the server.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) config: Config,
    pub(crate) tls: MakeRustlsConnect,
    /// The longest that one question may take.
    pub(crate) timeout: Duration,
    /// Whether the tables are distributed: see [`super::Shared::sharded`].
    pub(crate) sharded: bool,
}

/// A connection.
pub(crate) struct Session {
    /// `None` once it is dropped.
    runtime: Option<Runtime>,
    client: Client,
    /// By the text that the books know, which is SQLite's.
    statements: RefCell<HashMap<String, Statement>>,
    timeout: Duration,
    sharded: Cell<bool>,
    broken: Cell<bool>,
    /// By when every answer must be there, whatever each may take.
    answer_by: Cell<Option<std::time::Instant>>,
}

impl Session {
    /// Connects. Not from within a runtime: it waits.
    pub(crate) fn connect(access: &Access) -> Result<Self, SessionError> {
        Self::connect_in(access, access.timeout)
    }

    /// The same where there is less time than that.
    pub(crate) fn connect_in(access: &Access, patience: Duration) -> Result<Self, SessionError> {
        if patience.is_zero() {
            return Err(SessionError::TimedOut);
        }
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(SessionError::Local)?;
        let client = runtime.block_on(async {
            let connecting = access.config.connect(access.tls.clone());
            let (client, connection) = tokio::time::timeout(patience.min(access.timeout), connecting)
                .await
                .map_err(|_| SessionError::TimedOut)??;
            tokio::spawn(async move {
                // What went wrong is told to whoever waits for an answer.
                let _ = connection.await;
            });
            Ok::<_, SessionError>(client)
        })?;
        Ok(Self {
            runtime: Some(runtime),
            client,
            statements: RefCell::default(),
            timeout: access.timeout,
            sharded: Cell::new(access.sharded),
            broken: Cell::new(false),
            answer_by: Cell::new(None),
        })
    }

    /// From now on, the longest that one question may take.
    pub(crate) const fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Whether the tables are distributed, so that each statement keeps to one bucket.
    pub(crate) fn is_sharded(&self) -> bool {
        self.sharded.get()
    }

    /// What only a question could tell.
    pub(crate) fn set_sharded(&self, sharded: bool) {
        self.sharded.set(sharded);
    }

    /// The client, for what is sent without waiting in between.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it can still be used.
    pub(crate) fn is_usable(&self) -> bool {
        !self.broken.get() && !self.client.is_closed()
    }

    /// The same after it has been idle: a server that ended meanwhile is noticed.
    pub(crate) fn is_still_open(&self) -> bool {
        if let Some(runtime) = &self.runtime {
            runtime.block_on(async {
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            });
        }
        self.is_usable()
    }

    /// Lets nothing take longer than that, until it is said anew.
    pub(crate) fn answer_by(&self, deadline: std::time::Instant) {
        self.answer_by.set(Some(deadline));
    }

    /// No further use of it.
    pub(crate) fn give_up(&self) {
        self.broken.set(true);
    }

    /// Ends a transaction of which nothing is kept.
    pub(crate) fn roll_back(&self) {
        if self.is_usable() && self.batch_execute("ROLLBACK").is_err() {
            self.give_up();
        }
    }

    /// Waits however long it takes: for migrations.
    pub(crate) fn wait_long<T>(
        &self,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SessionError> {
        match &self.runtime {
            Some(runtime) => Ok(runtime.block_on(asked)?),
            None => Err(SessionError::TimedOut),
        }
    }

    fn patience(&self) -> Duration {
        let left = |deadline: std::time::Instant| deadline.saturating_duration_since(std::time::Instant::now());
        self.answer_by
            .get()
            .map_or(self.timeout, |deadline| left(deadline).min(self.timeout))
    }

    /// Waits for an answer, no longer than it may take.
    pub(crate) fn wait<T>(
        &self,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SessionError> {
        let Some(runtime) = &self.runtime else {
            return Err(SessionError::TimedOut);
        };
        let answered = runtime.block_on(async { tokio::time::timeout(self.patience(), asked).await });
        let answered = match answered {
            Ok(answered) => answered.map_err(SessionError::from),
            Err(_) => Err(SessionError::TimedOut),
        };
        if let Err(error) = &answered
            && error.ends_connection()
        {
            self.broken.set(true);
        }
        answered
    }

    /// A statement that is prepared once; `sql` is SQLite's.
    pub(crate) fn prepare(&self, sql: &str) -> Result<Statement, SessionError> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let text = for_postgres(sql);
        #[cfg(feature = "testing")]
        if self.is_sharded() {
            crate::sql::shards::judge(&text).map_err(|why| SessionError::Local(std::io::Error::other(why)))?;
        }
        let statement = self.wait(self.client.prepare(&text))?;
        self.statements.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// All rows.
    pub(crate) fn query(&self, statement: &Statement, values: &[&dyn Value]) -> Result<Vec<Row>, SessionError> {
        let values = parameters(values);
        self.wait(self.client.query(statement, &references(&values)))
    }

    /// How many rows were changed.
    pub(crate) fn execute(&self, statement: &Statement, values: &[&dyn Value]) -> Result<usize, SessionError> {
        let values = parameters(values);
        let changed = self.wait(self.client.execute(statement, &references(&values)))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    /// Statements without parameters.
    pub(crate) fn batch_execute(&self, sql: &str) -> Result<(), SessionError> {
        self.wait(self.client.batch_execute(sql))
    }

    /// Rows one by one, as the server sends them. Nothing else may be asked until the last was read.
    pub(crate) fn stream(&self, statement: &Statement, values: &[&dyn Value]) -> Result<RowStream, SessionError> {
        let values = parameters(values);
        let rows = self.wait(
            self.client
                .query_raw(statement, values.iter().map(|value| value as &dyn ToSql)),
        )?;
        Ok(Box::pin(rows))
    }

    /// The next of them.
    pub(crate) fn next_row(&self, rows: &mut RowStream) -> Result<Option<Row>, SessionError> {
        self.wait(async { rows.next().await.transpose() })
    }

    /// Ends a transaction that only read.
    pub(crate) fn end_reading(&self) {
        if self.is_usable() && self.batch_execute("COMMIT").is_err() {
            self.give_up();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Waits for nothing, so it may be dropped anywhere.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn parameters<'v>(values: &'v [&'v dyn Value]) -> Vec<Parameter<'v>> {
    values.iter().map(|value| Parameter(value.column())).collect()
}

fn references<'p>(values: &'p [Parameter<'_>]) -> Vec<&'p (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}
