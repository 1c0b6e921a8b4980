//! Parameters of bulk statements: a column of many rows is one array. On a sharded database the first is one bucket, elsewhere each row's.

use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

/// Columns as arrays, a parameter each.
#[derive(Default)]
pub(super) struct Arrays(Vec<Box<dyn ToSql + Sync>>);

impl Arrays {
    /// The buckets of rows, which come first.
    pub(super) fn put_buckets<T>(&mut self, sharded: bool, rows: &[T], bucket: impl Fn(&T) -> i64) {
        let small = |row: &T| i16::try_from(bucket(row)).unwrap_or_default();
        if sharded {
            self.put_one(rows.first().map(small).unwrap_or_default());
        } else {
            self.put(rows, small);
        }
    }

    /// A column.
    pub(super) fn put<T, V>(&mut self, rows: &[T], value: impl Fn(&T) -> V)
    where
        Vec<V>: ToSql + Sync + 'static,
    {
        self.0.push(Box::new(rows.iter().map(value).collect::<Vec<V>>()));
    }

    /// A column whose values are moved out of the rows: texts and bytes aren't copied.
    pub(super) fn take<T, V>(&mut self, rows: &mut [T], value: impl Fn(&mut T) -> V)
    where
        Vec<V>: ToSql + Sync + 'static,
    {
        self.0.push(Box::new(rows.iter_mut().map(value).collect::<Vec<V>>()));
    }

    /// One value for all rows.
    pub(super) fn put_one(&mut self, value: impl ToSql + Sync + 'static) {
        self.0.push(Box::new(value));
    }

    fn references(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.0.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

/// A statement with its parameters, ready to be sent.
pub(super) struct Ready {
    pub(super) statement: Statement,
    pub(super) values: Arrays,
}

impl Ready {
    /// Sends it at the first poll; how many rows it changed.
    pub(super) async fn execute(&self, client: &tokio_postgres::Client) -> Result<u64, tokio_postgres::Error> {
        client.execute(&self.statement, &self.values.references()).await
    }

    /// Sends it at the first poll; the rows that it answers.
    pub(super) async fn query(
        &self,
        client: &tokio_postgres::Client,
    ) -> Result<Vec<tokio_postgres::Row>, tokio_postgres::Error> {
        client.query(&self.statement, &self.values.references()).await
    }
}
