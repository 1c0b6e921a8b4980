//! Past usage of one account, many rows at once: a batch that puts its rows away holds its accounts' locks, so it reads all of them in
//! one round trip and writes them in another. `sql::usage::past` knows what goes where.

use tokio_postgres::types::ToSql;

use super::session::{Session, SessionError};
use crate::sql::Row;
use crate::sql::usage::past::Place;
use crate::types::StoreError;
use countersign_core::AccountKey;

const READ: &str = "SELECT k.n, u.sums FROM unnest($3::smallint[], $4::text[], $5::text[], $6::text[], $7::smallint[], $8::bigint[]) \
     WITH ORDINALITY AS k (p, c, r, s, l, t, n) CROSS JOIN LATERAL (SELECT sums FROM usage_past WHERE bucket = $1 \
     AND account_id = $2 AND series = k.p AND country = k.c AND route = k.r AND sender = k.s AND level = k.l \
     AND start = k.t OFFSET 0) AS u";
const PUT: &str = "INSERT INTO usage_past (bucket, account_id, series, country, route, sender, level, start, sums) \
     SELECT $1::smallint, $2::bigint, series, country, route, sender, level, start, sums \
     FROM unnest($3::smallint[], $4::text[], $5::text[], $6::text[], $7::smallint[], $8::bigint[], $9::bytea[]) \
     AS k (series, country, route, sender, level, start, sums) \
     ON CONFLICT (bucket, account_id, series, country, route, sender, level, start) DO UPDATE SET sums = excluded.sums";

/// The columns of places, a parameter each.
struct Columns<'p> {
    bucket: i16,
    account_id: i64,
    series: Vec<i16>,
    names: [Vec<&'p str>; 3],
    levels: Vec<i16>,
    starts: Vec<i64>,
}

impl<'p> Columns<'p> {
    fn of(account: AccountKey, places: &'p [Place]) -> Self {
        let small = |number| i16::try_from(number).unwrap_or_default();
        Self {
            bucket: i16::from(account.bucket.0),
            account_id: account.id.number(),
            series: places.iter().map(|(series, ..)| *series as i16).collect(),
            names: [0, 1, 2].map(|name| places.iter().map(|(_, names, ..)| names[name].as_str()).collect()),
            levels: places.iter().map(|(_, _, level, _)| small(level.number())).collect(),
            starts: places.iter().map(|(.., start)| *start).collect(),
        }
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 8] {
        let [countries, routes, senders] = &self.names;
        [
            &self.bucket,
            &self.account_id,
            &self.series,
            countries,
            routes,
            senders,
            &self.levels,
            &self.starts,
        ]
    }
}

/// The sums that stand at these places; `None` where there is no row.
pub(crate) fn read_past(
    session: &Session,
    account: AccountKey,
    places: &[Place],
) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    let statement = session.prepare(READ)?;
    let columns = Columns::of(account, places);
    let rows = session.wait(session.client().query(&statement, &columns.parameters()))?;
    let mut found = vec![None; places.len()];
    for row in &rows {
        let row = Row::Postgres(row);
        let number = usize::try_from(row.get::<i64>(0)?).unwrap_or_default();
        if let Some(found) = number.checked_sub(1).and_then(|place| found.get_mut(place)) {
            *found = Some(row.blob(1)?.to_vec());
        }
    }
    Ok(found)
}

/// Writes sums to these places, whether rows are there or not.
pub(crate) fn put_past(
    session: &Session,
    account: AccountKey,
    places: &[Place],
    sums: &[Vec<u8>],
) -> Result<(), SessionError> {
    let statement = session.prepare(PUT)?;
    let columns = Columns::of(account, places);
    let mut parameters = columns.parameters().to_vec();
    parameters.push(&sums);
    session.wait(session.client().execute(&statement, &parameters))?;
    Ok(())
}
