//! What the doctor says of a PostgreSQL database: whether nodes can work on it, and what may hurt later. SQLite's file has nothing to be
//! asked. The questions are the store's.

use countersign_channels::Finding;
use countersign_store::{Database, DatabaseFacts};

use crate::clock;

/// Times of requests are a node's, and times that decide who lives are the database's: more apart than this is worth a word.
const CLOCKS_APART_MS: u64 = 1_000;

/// Looks at the database; nothing is found of SQLite's.
pub(super) async fn examine(database: Database) -> Vec<Finding> {
    let Database::Postgres(settings) = database else {
        return Vec::new();
    };
    let place = settings.place();
    // It waits for answers, on a thread that may.
    match tokio::task::spawn_blocking(move || settings.facts(clock::now)).await {
        Ok(Ok(facts)) => findings(&facts),
        Ok(Err(error)) => vec![unreachable(&error.to_string())],
        Err(_) => vec![unreachable(&format!("{place} could not be asked"))],
    }
}

fn unreachable(why: &str) -> Finding {
    Finding::broken(
        why,
        "the server doesn’t start before: start the database, or mend database.url",
    )
}

fn findings(facts: &DatabaseFacts) -> Vec<Finding> {
    let mut findings = vec![Finding::well(format!(
        "{} answers: PostgreSQL {}, to the role {}",
        facts.place, facts.server, facts.role
    ))];
    findings.extend(of_the_server(facts));
    findings.push(of_the_schema(facts));
    findings.push(of_the_role(facts));
    if !facts.unsafe_settings.is_empty() {
        findings.push(Finding::warning(
            format!(
                "a crash may lose what was acknowledged: {}",
                facts.unsafe_settings.join(", ")
            ),
            "set it to on; a pooler between must pass on what a connection asks for",
        ));
    }
    if facts.clock_ahead_ms.unsigned_abs() > CLOCKS_APART_MS {
        let way = if facts.clock_ahead_ms > 0 { "ahead of" } else { "behind" };
        findings.push(Finding::warning(
            format!(
                "its clock is {} ms {way} this machine’s",
                facts.clock_ahead_ms.unsigned_abs()
            ),
            "keep both by NTP",
        ));
    }
    findings.push(of_the_connections(facts));
    findings
}

fn of_the_server(facts: &DatabaseFacts) -> Option<Finding> {
    if facts.is_too_old {
        return Some(Finding::broken(
            format!("PostgreSQL {} lacks what the books need", facts.server),
            "upgrade it: docs/postgresql.md names the oldest that will do",
        ));
    }
    if facts.encoding != "UTF8" {
        return Some(Finding::broken(
            format!(
                "its encoding is {}, and texts in all languages need UTF8",
                facts.encoding
            ),
            "make another database with CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'",
        ));
    }
    facts.is_standby.then(|| {
        Finding::broken(
            "this server of it is a standby, which takes no writes",
            "name the primary in database.url, or all servers, separated by commas",
        )
    })
}

fn of_the_schema(facts: &DatabaseFacts) -> Finding {
    let (schema, known) = (facts.schema, facts.known_schema);
    if facts.is_half_copied {
        return Finding::broken(
            "a copy of books into it isn’t finished",
            "run `countersign database copy` again: it goes on where it stopped",
        );
    }
    if schema == 0 {
        return Finding::well("it has no books yet: the first node makes them");
    }
    if known < facts.oldest_program {
        return Finding::broken(
            format!("its schema is {schema}, and this program knows {known} only"),
            "start a newer Countersign",
        );
    }
    if schema > known {
        return Finding::warning(
            format!("its schema is {schema}: newer programs serve on it, and this one, which knows {known}, still may"),
            "upgrade this node, too",
        );
    }
    if schema < known {
        return Finding::warning(
            format!("its schema is {schema}, and this program’s is {known}"),
            "the next start brings it up to date, or `countersign database migrate`; look at docs/postgresql.md first where older \
             nodes serve",
        );
    }
    Finding::well(format!("its schema, {schema}, is up to date"))
}

fn of_the_role(facts: &DatabaseFacts) -> Finding {
    let role = &facts.role;
    if !facts.forbidden.is_empty() {
        return Finding::broken(
            format!("the role {role} may not {}", facts.forbidden.join(", nor ")),
            "grant it that, or connect as the role that owns the database",
        );
    }
    if facts.is_superuser {
        return Finding::warning(
            format!("the role {role} is a superuser: that the ledger is never edited doesn’t bind it"),
            "connect as a role that isn’t one",
        );
    }
    Finding::well("the role may read, write and make tables")
}

fn of_the_connections(facts: &DatabaseFacts) -> Finding {
    let (nodes, each, allowed) = (facts.live_nodes, facts.connections_of_a_node, facts.connections_allowed);
    let live = match nodes {
        0 => "no node lives".to_owned(),
        1 => "1 node lives".to_owned(),
        nodes => format!("{nodes} nodes live"),
    };
    let found = format!("{live}; each opens {each} connections with these settings, and {allowed} are permitted");
    // This node may be one more, and in an upgrade there is one more for a while.
    let needed = nodes.saturating_add(1).saturating_mul(each);
    let remedy = "raise max_connections, or lower database.lanes and database.readers";
    if each > allowed {
        Finding::broken(found, remedy)
    } else if needed > allowed {
        Finding::warning(format!("{found}: too few for another node"), remedy)
    } else {
        Finding::well(found)
    }
}

#[cfg(test)]
mod tests {
    use countersign_channels::Verdict;

    use super::*;

    fn facts() -> DatabaseFacts {
        DatabaseFacts {
            place: "db/books".into(),
            server: "17.2".into(),
            is_too_old: false,
            encoding: "UTF8".into(),
            is_standby: false,
            role: "countersign".into(),
            is_superuser: false,
            schema: 2,
            known_schema: 2,
            oldest_program: 1,
            is_half_copied: false,
            forbidden: Vec::new(),
            unsafe_settings: Vec::new(),
            clock_ahead_ms: -1_000,
            live_nodes: 3,
            connections_of_a_node: 10,
            connections_allowed: 40,
        }
    }

    /// What is found besides what is well.
    fn wrong(change: impl FnOnce(&mut DatabaseFacts)) -> Vec<(Verdict, String)> {
        let mut facts = facts();
        change(&mut facts);
        let findings = findings(&facts).into_iter();
        findings
            .filter(|finding| finding.verdict != Verdict::Well)
            .map(|finding| {
                assert!(!finding.remedy.is_empty(), "{finding:?}");
                (finding.verdict, finding.found)
            })
            .collect()
    }

    #[test]
    fn what_keeps_nodes_from_working_is_told_apart_from_what_may_hurt_later() {
        assert_eq!(wrong(|_| ()), []);
        let one = |change: fn(&mut DatabaseFacts)| {
            let found = wrong(change);
            assert_eq!(found.len(), 1, "{found:?}");
            found.into_iter().next().unwrap()
        };
        for change in [
            (|facts| facts.is_too_old = true) as fn(&mut DatabaseFacts),
            |facts| facts.encoding = "SQL_ASCII".into(),
            |facts| facts.is_standby = true,
            |facts| facts.is_half_copied = true,
            |facts| (facts.schema, facts.oldest_program) = (4, 3),
            |facts| facts.forbidden = vec!["make tables".into()],
            |facts| facts.connections_allowed = 9,
        ] {
            let (verdict, found) = one(change);
            assert_eq!(verdict, Verdict::Broken, "{found}");
        }
        for (change, words) in [
            ((|facts| facts.schema = 3) as fn(&mut DatabaseFacts), "still may"),
            (|facts| facts.known_schema = 3, "this program’s is 3"),
            (|facts| facts.is_superuser = true, "superuser"),
            (
                |facts| facts.unsafe_settings = vec!["fsync = off".into()],
                "fsync = off",
            ),
            (|facts| facts.clock_ahead_ms = -1_001, "1001 ms behind"),
            (|facts| facts.clock_ahead_ms = 5_000, "5000 ms ahead"),
            (|facts| facts.live_nodes = 4, "4 nodes live; each opens 10 connections"),
        ] {
            let (verdict, found) = one(change);
            assert!(verdict == Verdict::Warning && found.contains(words), "{found}");
        }
    }
}
