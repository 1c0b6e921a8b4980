//! Turns the books' SQL, as it is written for SQLite, into PostgreSQL's. Only what the books' statements use is known: parameters
//! (`?1`), the hint of an index, a bound that may be NULL (`IS ?1`), and a limit that is none.

/// The same statement for PostgreSQL.
pub(crate) fn for_postgres(sql: &str) -> String {
    let mut rest = sql;
    let mut out = String::with_capacity(sql.len() + 16);
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let end = rest[1..].find('\'').map_or(rest.len(), |end| end + 2);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else if first == '?' {
            out.push('$');
            rest = &rest[1..];
        } else if let Some(after) = rest.strip_prefix("INDEXED BY ") {
            // The planner of PostgreSQL takes no hints.
            rest = after
                .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_')
                .trim_start();
        } else if let Some(after) = rest.strip_prefix("IS NOT ?") {
            out.push_str("IS DISTINCT FROM $");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("IS ?") {
            out.push_str("IS NOT DISTINCT FROM $");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("LIMIT -1") {
            out.push_str("LIMIT ALL");
            rest = after;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::for_postgres;

    #[test]
    fn a_statement_reads_the_same_on_both() {
        assert_eq!(
            for_postgres(
                "SELECT a FROM t INDEXED BY t_open WHERE bucket IS ?1 AND b IS NOT ?2 AND c = '?3' AND d IS NOT NULL \
                 LIMIT -1 OFFSET ?10"
            ),
            "SELECT a FROM t WHERE bucket IS NOT DISTINCT FROM $1 AND b IS DISTINCT FROM $2 AND c = '?3' \
             AND d IS NOT NULL LIMIT ALL OFFSET $10"
        );
    }
}
