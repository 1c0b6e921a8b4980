//! One way to ask SQLite and PostgreSQL: the same few methods that `rusqlite` has, so that a statement is written once. Integers of all
//! widths, texts and bytes are all that the books' columns hold.

use crate::postgres::{PostgresColumn, RowStream, Session};
use crate::types::StoreError;

/// A connection, in or out of a transaction.
#[derive(Clone, Copy)]
pub(crate) enum Connection<'c> {
    /// To the database's file.
    Sqlite(&'c rusqlite::Connection),
    /// To a PostgreSQL server.
    Postgres(&'c Session),
}

/// Why a statement failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// SQLite said so.
    Sqlite(rusqlite::Error),
    /// PostgreSQL, or the way to it.
    Postgres(crate::postgres::SessionError),
    /// A row was asked for, and there is none.
    NoRow,
    /// A column holds another type than was asked for.
    Column,
}

impl Error {
    /// Whether a row broke a constraint, such as being there already.
    pub(crate) fn is_constraint(&self) -> bool {
        match self {
            Self::Sqlite(rusqlite::Error::SqliteFailure(failure, _)) => {
                failure.code == rusqlite::ErrorCode::ConstraintViolation
            }
            Self::Postgres(error) => error.is_constraint(),
            _ => false,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::QueryReturnedNoRows => Self::NoRow,
            error => Self::Sqlite(error),
        }
    }
}

impl From<crate::postgres::SessionError> for Error {
    fn from(error: crate::postgres::SessionError) -> Self {
        Self::Postgres(error)
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            Error::Sqlite(error) => error.into(),
            Error::Postgres(error) => error.into(),
            Error::NoRow => Self::Database("a row that must be there is missing".into()),
            Error::Column => Self::Damaged("a column"),
        }
    }
}

/// Turns "there is no such row" into `None`.
pub(crate) trait OptionalExtension<T> {
    fn optional(self) -> Result<Option<T>, Error>;
}

impl<T> OptionalExtension<T> for Result<T, Error> {
    fn optional(self) -> Result<Option<T>, Error> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A value in a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Column<'r> {
    Null,
    Integer(i64),
    Text(&'r str),
    Blob(&'r [u8]),
}

impl Column<'_> {
    /// What it is, without saying it (P7).
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Integer(_) => "a number",
            Self::Text(_) => "a text",
            Self::Blob(_) => "bytes",
        }
    }
}

/// A type that a column is read as.
pub(crate) trait FromColumn: Sized {
    fn from_column(column: Column<'_>) -> Result<Self, Error>;
}

macro_rules! integers {
    ($($type:ty),+) => {$(
        impl FromColumn for $type {
            fn from_column(column: Column<'_>) -> Result<Self, Error> {
                match column {
                    Column::Integer(number) => Self::try_from(number).map_err(|_| Error::Column),
                    _ => Err(Error::Column),
                }
            }
        }
        impl Value for $type {
            fn column(&self) -> Column<'_> {
                Column::Integer(i64::from(*self))
            }
        }
    )+};
}
integers!(i64, i32, u8, u16, u32);

impl FromColumn for bool {
    fn from_column(column: Column<'_>) -> Result<Self, Error> {
        i64::from_column(column).map(|number| number != 0)
    }
}

impl FromColumn for String {
    fn from_column(column: Column<'_>) -> Result<Self, Error> {
        match column {
            Column::Text(text) => Ok(text.to_owned()),
            _ => Err(Error::Column),
        }
    }
}

impl FromColumn for Vec<u8> {
    fn from_column(column: Column<'_>) -> Result<Self, Error> {
        match column {
            Column::Blob(bytes) => Ok(bytes.to_vec()),
            _ => Err(Error::Column),
        }
    }
}

impl<const N: usize> FromColumn for [u8; N] {
    fn from_column(column: Column<'_>) -> Result<Self, Error> {
        match column {
            Column::Blob(bytes) => bytes.try_into().map_err(|_| Error::Column),
            _ => Err(Error::Column),
        }
    }
}

impl<T: FromColumn> FromColumn for Option<T> {
    fn from_column(column: Column<'_>) -> Result<Self, Error> {
        match column {
            Column::Null => Ok(None),
            column => T::from_column(column).map(Some),
        }
    }
}

/// A value that a parameter takes.
pub(crate) trait Value: Sync {
    fn column(&self) -> Column<'_>;
}

impl Value for bool {
    fn column(&self) -> Column<'_> {
        Column::Integer(i64::from(*self))
    }
}

impl Value for str {
    fn column(&self) -> Column<'_> {
        Column::Text(self)
    }
}

impl Value for String {
    fn column(&self) -> Column<'_> {
        Column::Text(self)
    }
}

impl Value for [u8] {
    fn column(&self) -> Column<'_> {
        Column::Blob(self)
    }
}

impl Value for Vec<u8> {
    fn column(&self) -> Column<'_> {
        Column::Blob(self)
    }
}

impl<const N: usize> Value for [u8; N] {
    fn column(&self) -> Column<'_> {
        Column::Blob(self)
    }
}

impl<T: Value> Value for Option<T> {
    fn column(&self) -> Column<'_> {
        self.as_ref().map_or(Column::Null, Value::column)
    }
}

impl Value for std::sync::Arc<str> {
    fn column(&self) -> Column<'_> {
        Column::Text(self)
    }
}

impl<T: Value + ?Sized> Value for &T {
    fn column(&self) -> Column<'_> {
        (**self).column()
    }
}

/// A statement's parameters: `params![…]`, or an array of values of one type.
pub(crate) trait Params: Sized {
    fn with<T>(self, take: impl FnOnce(&[&dyn Value]) -> T) -> T;
}

impl Params for &[&dyn Value] {
    fn with<T>(self, take: impl FnOnce(&[&dyn Value]) -> T) -> T {
        take(self)
    }
}

impl<V: Value, const N: usize> Params for [V; N] {
    fn with<T>(self, take: impl FnOnce(&[&dyn Value]) -> T) -> T {
        take(&self.each_ref().map(|value| value as &dyn Value))
    }
}

/// Parameters of several types.
macro_rules! params {
    () => {
        &[] as &[&dyn $crate::sql::connection::Value]
    };
    ($($value:expr),+ $(,)?) => {
        &[$(&$value as &dyn $crate::sql::connection::Value),+] as &[&dyn $crate::sql::connection::Value]
    };
}
pub(crate) use params;

/// How SQLite takes a value.
struct SqliteValue<'v>(&'v dyn Value);

impl rusqlite::ToSql for SqliteValue<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::ValueRef;
        Ok(rusqlite::types::ToSqlOutput::Borrowed(match self.0.column() {
            Column::Null => ValueRef::Null,
            Column::Integer(number) => ValueRef::Integer(number),
            Column::Text(text) => ValueRef::Text(text.as_bytes()),
            Column::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl<'c> Connection<'c> {
    /// A statement that is prepared once for each connection.
    pub(crate) fn prepare_cached(self, sql: &str) -> Result<Statement<'c>, Error> {
        Ok(match self {
            Self::Sqlite(connection) => Statement::Sqlite(connection.prepare_cached(sql)?),
            Self::Postgres(session) => Statement::Postgres(session, session.prepare(sql)?),
        })
    }

    /// Runs a statement; answers how many rows it changed.
    pub(crate) fn execute(self, sql: &str, params: impl Params) -> Result<usize, Error> {
        self.prepare_cached(sql)?.execute(params)
    }

    /// The first row that a statement answers.
    pub(crate) fn query_row<T>(
        self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(Row<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.prepare_cached(sql)?.query_row(params, read)
    }

    /// Begins a transaction that only reads, and sees the books as they stand now until it is dropped.
    pub(crate) fn snapshot(self) -> Result<Snapshot<'c>, Error> {
        Ok(match self {
            Self::Sqlite(connection) => Snapshot {
                connection: self,
                _sqlite: Some(connection.unchecked_transaction()?),
            },
            Self::Postgres(session) => {
                session.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
                Snapshot {
                    connection: self,
                    _sqlite: None,
                }
            }
        })
    }

    /// Whether this is a PostgreSQL server: for the few statements that can't be the same.
    pub(crate) const fn is_postgres(self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Whether its tables are distributed, so that each statement keeps to one bucket.
    pub(crate) fn is_sharded(self) -> bool {
        matches!(self, Self::Postgres(session) if session.is_sharded())
    }
}

/// A transaction that only reads.
pub(crate) struct Snapshot<'c> {
    connection: Connection<'c>,
    _sqlite: Option<rusqlite::Transaction<'c>>,
}

impl<'c> Snapshot<'c> {
    pub(crate) const fn connection(&self) -> Connection<'c> {
        self.connection
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        if let Connection::Postgres(session) = self.connection {
            session.end_reading();
        }
    }
}

/// A prepared statement.
pub(crate) enum Statement<'c> {
    Sqlite(rusqlite::CachedStatement<'c>),
    Postgres(&'c Session, tokio_postgres::Statement),
}

impl Statement<'_> {
    /// How many columns its rows have.
    #[cfg(feature = "testing")]
    pub(crate) fn column_count(&self) -> usize {
        match self {
            Self::Sqlite(statement) => statement.column_count(),
            Self::Postgres(_, statement) => statement.columns().len(),
        }
    }

    /// All rows. SQLite steps from one to the next; from PostgreSQL all come at once, so every question has a limit.
    pub(crate) fn query(&mut self, params: impl Params) -> Result<Rows<'_>, Error> {
        params.with(|values| match self {
            Self::Sqlite(statement) => {
                let bound = rusqlite::params_from_iter(values.iter().map(|value| SqliteValue(*value)));
                Ok(Rows::Sqlite(statement.query(bound)?))
            }
            Self::Postgres(session, statement) => {
                Ok(Rows::Postgres(session.query(statement, values)?.into_iter(), None))
            }
        })
    }

    /// All rows, one by one, where they may be very many: nothing else may be asked of this connection until they are read.
    pub(crate) fn stream(&mut self, params: impl Params) -> Result<Rows<'_>, Error> {
        params.with(|values| match self {
            Self::Sqlite(statement) => {
                let bound = rusqlite::params_from_iter(values.iter().map(|value| SqliteValue(*value)));
                Ok(Rows::Sqlite(statement.query(bound)?))
            }
            Self::Postgres(session, statement) => Ok(Rows::Stream(
                session,
                Box::new(session.stream(statement, values)?),
                None,
            )),
        })
    }

    /// The first row.
    pub(crate) fn query_row<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(Row<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut rows = self.query(params)?;
        read(rows.next()?.ok_or(Error::NoRow)?)
    }

    /// Every row, read in one way.
    pub(crate) fn query_map<T>(
        &mut self,
        params: impl Params,
        mut read: impl FnMut(Row<'_>) -> Result<T, Error>,
    ) -> Result<std::vec::IntoIter<Result<T, Error>>, Error> {
        let mut rows = self.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(read(row));
        }
        Ok(all.into_iter())
    }

    /// Runs it; answers how many rows it changed.
    pub(crate) fn execute(&mut self, params: impl Params) -> Result<usize, Error> {
        params.with(|values| match self {
            Self::Sqlite(statement) => {
                let bound = rusqlite::params_from_iter(values.iter().map(|value| SqliteValue(*value)));
                Ok(statement.execute(bound)?)
            }
            Self::Postgres(session, statement) => Ok(session.execute(statement, values)?),
        })
    }

    /// Whether there is any row.
    pub(crate) fn exists(&mut self, params: impl Params) -> Result<bool, Error> {
        Ok(self.query(params)?.next()?.is_some())
    }
}

/// Rows that a statement answers.
pub(crate) enum Rows<'s> {
    Sqlite(rusqlite::Rows<'s>),
    Postgres(std::vec::IntoIter<tokio_postgres::Row>, Option<tokio_postgres::Row>),
    Stream(&'s Session, Box<RowStream>, Option<tokio_postgres::Row>),
}

impl Rows<'_> {
    /// The next row; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>, Error> {
        Ok(match self {
            Self::Sqlite(rows) => rows.next()?.map(Row::Sqlite),
            Self::Postgres(rows, current) => {
                *current = rows.next();
                current.as_ref().map(Row::Postgres)
            }
            Self::Stream(session, rows, current) => {
                *current = session.next_row(rows)?;
                current.as_ref().map(Row::Postgres)
            }
        })
    }
}

/// A row.
#[derive(Clone, Copy)]
pub(crate) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl<'r> Row<'r> {
    /// A column's value.
    pub(crate) fn get<T: FromColumn>(self, column: usize) -> Result<T, Error> {
        T::from_column(self.column(column)?)
    }

    /// A text, where it lies.
    pub(crate) fn text(self, column: usize) -> Result<&'r str, Error> {
        match self.column(column)? {
            Column::Text(text) => Ok(text),
            _ => Err(Error::Column),
        }
    }

    /// A text that may be NULL, where it lies.
    pub(crate) fn text_or_null(self, column: usize) -> Result<Option<&'r str>, Error> {
        match self.column(column)? {
            Column::Null => Ok(None),
            Column::Text(text) => Ok(Some(text)),
            _ => Err(Error::Column),
        }
    }

    /// Bytes, where they lie.
    pub(crate) fn blob(self, column: usize) -> Result<&'r [u8], Error> {
        match self.column(column)? {
            Column::Blob(bytes) => Ok(bytes),
            _ => Err(Error::Column),
        }
    }

    pub(crate) fn column(self, column: usize) -> Result<Column<'r>, Error> {
        use rusqlite::types::ValueRef;
        match self {
            Self::Sqlite(row) => Ok(match row.get_ref(column)? {
                ValueRef::Null => Column::Null,
                ValueRef::Integer(number) => Column::Integer(number),
                ValueRef::Text(text) => Column::Text(std::str::from_utf8(text).map_err(|_| Error::Column)?),
                ValueRef::Blob(bytes) => Column::Blob(bytes),
                ValueRef::Real(_) => return Err(Error::Column),
            }),
            Self::Postgres(row) => {
                let value: Option<PostgresColumn<'r>> = row.try_get(column).map_err(|_| Error::Column)?;
                Ok(value.map_or(Column::Null, |value| value.0))
            }
        }
    }
}
