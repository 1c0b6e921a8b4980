//! Price lists as CSV: `route,prefix,price,effective_from`, as programs and spreadsheets write it. Every wrong line is told with
//! its number; what is read back from what was written changes nothing. The command line and the operator's console read and
//! write it.

use countersign_core::{Credits, MAX_PRICE, MAX_PRICE_ROWS, NumberPrefix, PriceRoute, PriceRow, Timestamp};
use csv::{ReaderBuilder, StringRecord, Trim};

/// The columns, in the order in which they are written; they may stand in any.
pub const COLUMNS: [&str; 4] = ["route", "prefix", "price", "effective_from"];
/// How a table says that a price is taken away.
const REMOVED: &str = "removed";

/// The table of some rows.
pub fn write(rows: &[PriceRow]) -> Result<Vec<u8>, csv::Error> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(COLUMNS)?;
    for row in rows {
        let price = row.price.map_or_else(|| REMOVED.to_owned(), |price| price.to_string());
        table.write_record([
            row.route.as_str(),
            &row.prefix.to_string(),
            &price,
            &row.effective_from.rfc_3339(),
        ])?;
    }
    table.into_inner().map_err(|error| error.into_error().into())
}

/// Reads a table; `Err` names all that is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Vec<PriceRow>, String> {
    // Spreadsheets begin UTF-8 with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut table = ReaderBuilder::new().trim(Trim::All).flexible(true).from_reader(bytes);
    let header = table
        .headers()
        .map_err(|error| format!("its first line can't be read: {error}"))?;
    let places = places(header)?;
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    let mut seen = std::collections::HashMap::new();
    for record in table.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                wrong.push(format!("line {line}: it isn't UTF-8 text, or a quote is missing"));
                continue;
            }
        };
        if record.iter().all(str::is_empty) {
            continue;
        }
        let line = record.position().map_or(0, csv::Position::line);
        match row(&record, places) {
            Ok(row) => {
                let of = (row.route.clone(), row.prefix, row.effective_from);
                match seen.insert(of, line) {
                    Some(earlier) => wrong.push(format!("line {line}: it sets the price that line {earlier} sets")),
                    None => rows.push(row),
                }
            }
            Err(reason) => wrong.push(format!("line {line}: {reason}")),
        }
    }
    if rows.len() > MAX_PRICE_ROWS {
        wrong.push(format!("a price list has at most {MAX_PRICE_ROWS} rows"));
    }
    match wrong.len() {
        0 => Ok(rows),
        1 => Err(format!("one line is wrong; {}", wrong.join("; "))),
        count => Err(format!("{count} lines are wrong; {}", wrong.join("; "))),
    }
}

/// Where each of [`COLUMNS`] stands.
fn places(header: &StringRecord) -> Result<[usize; 4], String> {
    let mut places = [0; 4];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        let mut found = header
            .iter()
            .enumerate()
            .filter(|(_, name)| name.eq_ignore_ascii_case(column));
        *place = match (found.next(), found.next()) {
            (Some((place, _)), None) => place,
            (None, _) => {
                return Err(format!(
                    "its first line has no column `{column}`: it must be `{}`, divided by commas",
                    COLUMNS.join(",")
                ));
            }
            (Some(_), Some(_)) => return Err(format!("its first line has the column `{column}` twice")),
        };
    }
    Ok(places)
}

/// One line, read strictly: an empty cell is more likely a slip than a wish.
fn row(record: &StringRecord, places: [usize; 4]) -> Result<PriceRow, String> {
    let [route, prefix, price, from] = places.map(|place| record.get(place).unwrap_or_default());
    let shown = |text: &str| text.chars().take(40).collect::<String>();
    let price = if price.eq_ignore_ascii_case(REMOVED) {
        None
    } else {
        let amount = Credits::parse(price)
            .map_err(|_| format!("`{}` is no price: write it like 0.02, or `{REMOVED}`", shown(price)))?;
        if amount.is_negative() || amount > MAX_PRICE {
            return Err(format!(
                "{amount} can't be a price: a message costs from 0 to {MAX_PRICE}"
            ));
        }
        Some(amount)
    };
    let at = Timestamp::parse_rfc_3339(from).filter(|at| at.millis() % 1000 == 0);
    Ok(PriceRow {
        route: PriceRoute::parse(route)
            .ok_or_else(|| format!("`{}` is no route: write its name, or `all`", shown(route)))?,
        prefix: NumberPrefix::parse_or_default(prefix).ok_or_else(|| {
            format!(
                "`{}` is no number prefix: write it like +39, or `default`",
                shown(prefix)
            )
        })?,
        effective_from: at.ok_or_else(|| {
            format!(
                "`{}` is no time: write it like 2027-01-01 or 2027-01-01T12:00:00Z, without parts of seconds",
                shown(from)
            )
        })?,
        price,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<String>, String> {
        let shown = |row: PriceRow| {
            let amount = row.price.map_or_else(|| REMOVED.to_owned(), |price| price.to_string());
            let from = row.effective_from.unix_seconds();
            format!("{} {} {amount} {from}", row.route, row.prefix)
        };
        parse(text.as_bytes()).map(|rows| rows.into_iter().map(shown).collect())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let row = |route: &str, prefix: &str, seconds: i64, price: Option<&str>| PriceRow {
            route: PriceRoute::parse(route).unwrap(),
            prefix: NumberPrefix::parse_or_default(prefix).unwrap(),
            effective_from: Timestamp::from_millis(seconds * 1000),
            price: price.map(|price| Credits::parse(price).unwrap()),
        };
        let rows = [
            row("all", "default", 0, Some("0.01")),
            row("all", "+39", 1_795_419_000, Some("0.000001")),
            row("inbox", "+1650", 1_795_419_000, None),
        ];
        let table = write(&rows).unwrap();
        assert_eq!(
            String::from_utf8(table.clone()).unwrap(),
            "route,prefix,price,effective_from\n\
             all,default,0.01,1970-01-01T00:00:00Z\n\
             all,+39,0.000001,2026-11-23T07:30:00Z\n\
             inbox,+1650,removed,2026-11-23T07:30:00Z\n"
        );
        let back = parse(&table).unwrap();
        assert_eq!(back, rows);
    }

    #[test]
    fn the_habits_of_spreadsheets_are_understood() {
        let expected = ["all +39 0.02 1798761600"];
        for text in [
            "route,prefix,price,effective_from\nall,+39,0.02,2027-01-01\n",
            "\u{feff}route,prefix,price,effective_from\r\nall,+39,0.02,2027-01-01T00:00:00Z\r\n",
            "Price , Effective_From ,ROUTE, Prefix,note\n 0.020 , 2027-01-01 01:00:00+01:00 , all , 39 ,new year\n",
            "\"route\",\"prefix\",\"price\",\"effective_from\"\n\"all\",\"+39\",\"0.02\",\"2027-01-01\"\n,,,\n\n , ,,\n",
        ] {
            assert_eq!(read_text(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn every_wrong_line_is_named_with_its_number_and_its_reason() {
        let text = "route,prefix,price,effective_from\n\
                    all,+39,0.02,2027-01-01\n\
                    In Box,+39,0.02,2027-01-01\n\
                    all,0039,0.02,2027-01-01\n\
                    all,+39,\"0,02\",2027-01-01\n\
                    all,+39,,2027-01-01\n\
                    all,+39,-1,2027-01-01\n\
                    all,+39,0.02,01.01.2027\n\
                    all,+39,0.03,2027-01-01\n\
                    ,+39,0.02,2027-01-01\n\
                    all,,0.02,2027-01-01\n\
                    all,+39,=1+1,2027-01-01\n\
                    all,+39\n\
                    all,+39,0.02,2027-01-01T00:00:00.5Z\n";
        let wrong = read_text(text).unwrap_err();
        assert!(wrong.starts_with("12 lines are wrong"), "{wrong}");
        for part in [
            "line 3: `In Box` is no route",
            "line 4: `0039` is no number prefix",
            "line 5: `0,02` is no price",
            "line 6: `` is no price",
            "line 7: -1 can't be a price",
            "line 8: `01.01.2027` is no time",
            "line 9: it sets the price that line 2 sets",
            "line 10: `` is no route",
            "line 11: `` is no number prefix",
            "line 12: `=1+1` is no price",
            "line 13: `` is no price",
            "line 14: `2027-01-01T00:00:00.5Z` is no time",
        ] {
            assert!(wrong.contains(part), "{part:?} is missing: {wrong}");
        }
    }

    #[test]
    fn a_table_without_its_header_is_refused() {
        for (text, part) in [
            ("", "no column `route`"),
            ("all,+39,0.02,2027-01-01\n", "no column `route`"),
            (
                "route;prefix;price;effective_from\nall;+39;0.02;2027-01-01\n",
                "divided by commas",
            ),
            ("route,prefix,price\nall,+39,0.02\n", "no column `effective_from`"),
            ("route,prefix,price,effective_from,Price\n", "the column `price` twice"),
        ] {
            let wrong = read_text(text).unwrap_err();
            assert!(wrong.contains(part), "{text:?}: {wrong}");
        }
    }

    #[test]
    fn text_in_another_encoding_is_refused() {
        let wrong = parse(b"route,prefix,price,effective_from\nall,+39,0.02\xff,2027-01-01\n").unwrap_err();
        assert!(wrong.contains("line 2") && wrong.contains("UTF-8"), "{wrong}");
    }
}
