//! How columns and parameters travel between the books and PostgreSQL: integers of the width that the server expects, texts, bytes.

use std::error::Error as StdError;
use std::fmt;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::sql::connection::Column;

type Failure = Box<dyn StdError + Sync + Send>;

/// A parameter that its statement can't take: a mistake of this program, and nothing was asked of the server.
#[derive(Debug)]
pub(crate) struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Mismatch {}

/// A parameter of a statement.
#[derive(Debug)]
pub(crate) struct Parameter<'v>(pub(crate) Column<'v>);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, expected: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        let too_large = |_| Mismatch(format!("a number is too large for {expected}"));
        match (self.0, expected) {
            (Column::Null, _) => Ok(IsNull::Yes),
            (Column::Integer(number), &Type::INT8) => number.to_sql(expected, out),
            (Column::Integer(number), &Type::INT4) => i32::try_from(number).map_err(too_large)?.to_sql(expected, out),
            (Column::Integer(number), &Type::INT2) => i16::try_from(number).map_err(too_large)?.to_sql(expected, out),
            (Column::Integer(number), &Type::BOOL) => (number != 0).to_sql(expected, out),
            (Column::Text(text), &Type::TEXT | &Type::VARCHAR | &Type::NAME) => text.to_sql(expected, out),
            (Column::Blob(bytes), &Type::BYTEA) => bytes.to_sql(expected, out),
            (value, expected) => Err(Box::new(Mismatch(format!(
                "the statement expects {expected}, not {}",
                value.kind()
            )))),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A column of a row.
pub(crate) struct PostgresColumn<'r>(pub(crate) Column<'r>);

impl<'r> FromSql<'r> for PostgresColumn<'r> {
    fn from_sql(found: &Type, raw: &'r [u8]) -> Result<Self, Failure> {
        let column = match *found {
            Type::INT8 => Column::Integer(i64::from_sql(found, raw)?),
            Type::INT4 => Column::Integer(i32::from_sql(found, raw)?.into()),
            Type::INT2 => Column::Integer(i16::from_sql(found, raw)?.into()),
            Type::BOOL => Column::Integer(bool::from_sql(found, raw)?.into()),
            Type::NUMERIC => Column::Integer(whole(raw).ok_or("a sum that is no whole number of 64 bits")?),
            Type::BYTEA => Column::Blob(raw),
            _ => Column::Text(<&str>::from_sql(found, raw)?),
        };
        Ok(Self(column))
    }

    fn accepts(found: &Type) -> bool {
        matches!(
            *found,
            Type::INT8
                | Type::INT4
                | Type::INT2
                | Type::BOOL
                | Type::NUMERIC
                | Type::BYTEA
                | Type::TEXT
                | Type::VARCHAR
                | Type::NAME
                | Type::UNKNOWN
        )
    }
}

/// A NUMERIC that is a whole number: the type of PostgreSQL's sums. On the wire it is groups of four decimal digits: their number,
/// the weight of the first, sign, digits after the point, then the groups.
fn whole(raw: &[u8]) -> Option<i64> {
    let mut parts = raw.chunks_exact(2).map(|part| i16::from_be_bytes([part[0], part[1]]));
    let (groups, weight, sign, _scale) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let mut sum: i128 = 0;
    for place in 0..=weight {
        let group = if place < groups { parts.next()? } else { 0 };
        sum = sum.checked_mul(10_000)?.checked_add(group.into())?;
    }
    // Groups after the point.
    if parts.any(|group| group != 0) {
        return None;
    }
    match sign {
        0 => i64::try_from(sum).ok(),
        0x4000 => i64::try_from(-sum).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::whole;

    fn numeric(parts: &[i16]) -> Vec<u8> {
        parts.iter().flat_map(|part| part.to_be_bytes()).collect()
    }

    #[test]
    fn sums_are_read_where_they_are_whole() {
        assert_eq!(whole(&numeric(&[0, 0, 0, 0])), Some(0));
        assert_eq!(whole(&numeric(&[1, 0, 0, 0, 42])), Some(42));
        assert_eq!(whole(&numeric(&[2, 1, 0, 0, 12, 3456])), Some(123_456));
        assert_eq!(whole(&numeric(&[1, 1, 0, 0, 12])), Some(120_000));
        assert_eq!(whole(&numeric(&[1, 0, 0x4000, 0, 7])), Some(-7));
        assert_eq!(whole(&numeric(&[2, 0, 0, 1, 7, 5000])), None);
        assert_eq!(whole(&numeric(&[6, 5, 0, 0, 9, 9, 9, 9, 9, 9])), None);
    }
}
