//! `audit` and the ledger's chain: heads that are told, noted in a file, and met again or missed; and the adjustments that
//! stand in the ledger with their reason.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;

use crate::support::{Place, Sandbox};

/// The owner of the sandbox's first account.
const OWNER: &str = "+9996600000";

/// The sandbox's books, once it has ended.
fn books(sandbox: &mut Sandbox) -> Connection {
    assert_eq!(sandbox.terminate().code(), Some(0));
    Connection::open(sandbox.place.path().join("countersign-data/countersign.db")).unwrap()
}

#[test]
fn heads_are_told_per_account_where_those_are_few() {
    let sandbox = Sandbox::start();
    sandbox.json(&["send", "+391234567890"]);
    let id = sandbox.json(&["account", "show", OWNER])["account_id"].clone();
    let report = sandbox.json(&["audit"]);
    let heads = report["heads"].as_array().unwrap();
    let [head] = &heads[..] else { panic!("{report}") };
    assert_eq!((&head["account_id"], &head["entries"]), (&id, &2.into()));
    let (own, all) = (head["head"].as_str().unwrap(), report["head"].as_str().unwrap());
    assert_eq!((own.len(), all.len()), (64, 64), "{report}");
    assert_ne!(own, all);
    let people = sandbox.run(["audit"]);
    let told = people.stdout.contains(&format!("Chain head      {all}\n")) && people.stdout.contains(own);
    assert!(told && people.stdout.contains("--write-heads FILE"), "{people:?}");
    assert_eq!(people.stderr, "");
    for number in 0..10 {
        let phone = format!("+3933312345{number:02}");
        sandbox.json(&[
            "account", "create", "--phone", &phone, "--name", "Acme", "--credit", "1",
        ]);
    }
    let many = sandbox.run(["audit"]).stdout;
    assert!(many.contains("Chain head") && !many.contains(own), "{many}");
    let report = sandbox.json(&["audit"]);
    assert_eq!(report["heads"].as_array().unwrap().len(), 11);
    assert_ne!(report["head"], all, "every account counts");
}

#[test]
fn noted_heads_are_met_by_a_ledger_that_went_on() {
    let sandbox = Sandbox::start();
    sandbox.json(&["send", "+391234567890"]);
    let written = sandbox.run(["audit", "--write-heads", "heads.csv"]);
    assert_eq!(written.exit, 0, "{written:?}");
    assert!(written.stdout.contains("audit --heads heads.csv"), "{written:?}");
    let file = sandbox.place.path().join("heads.csv");
    let head = sandbox.json(&["audit"])["heads"][0].clone();
    let expected = format!(
        "account_id,entries,head\n{},2,{}\n",
        head["account_id"].as_str().unwrap(),
        head["head"].as_str().unwrap()
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o755, 0o644);
    sandbox
        .run(["audit", "--write-heads", "heads.csv"])
        .failed_with(&["heads.csv", "already there", "left alone"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    sandbox
        .run(["audit", "--write-heads", "no/such/dir/heads.csv"])
        .failed_with(&["no/such/dir/heads.csv"]);

    sandbox.json(&["send", "+391234567891"]);
    let report = sandbox.json(&["audit", "--heads", "heads.csv", "--write-heads", "later.csv"]);
    assert_eq!((&report["noted_heads"], &report["entries"]), (&1.into(), &3.into()));
    let people = sandbox.run(["audit", "--heads", "later.csv"]).stdout;
    assert!(people.contains("Noted heads     1, all met"), "{people}");
}

#[test]
fn a_ledger_that_was_shortened_skilfully_is_found_by_its_noted_head_alone() {
    let mut sandbox = Sandbox::start();
    sandbox.json(&["send", "+391234567890"]);
    sandbox.json(&["audit", "--write-heads", "heads.csv"]);
    // Somebody with the file takes the charge out, and its request with it; all sums and hashes fit again.
    books(&mut sandbox)
        .execute_batch(
            "DROP TRIGGER ledger_entry_stays;
             UPDATE account SET entries = 1, head = (SELECT previous FROM ledger_entry WHERE number = 2),
               last_entry_at = (SELECT at FROM ledger_entry WHERE number = 1),
               balance = balance - (SELECT amount FROM ledger_entry WHERE number = 2),
               consumed = consumed + (SELECT amount FROM ledger_entry WHERE number = 2);
             DELETE FROM ledger_entry WHERE number = 2;
             DELETE FROM request; DELETE FROM timeline; DELETE FROM report;",
        )
        .unwrap();
    let place = &sandbox.place;
    assert_eq!(place.run(["audit", "--json"]).json()["entries"], 1);
    let found = place.run(["audit", "--heads", "heads.csv", "--write-heads", "new.csv", "--json"]);
    assert_eq!(found.exit, 1, "{found:?}");
    for words in [
        "2 entries were noted, and 1 stand in the ledger",
        "restore a backup",
        "No heads were written",
    ] {
        assert!(found.stderr.contains(words), "{words}: {found:?}");
    }
    let report: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(
        (&report["ok"], &report["head"], &report["noted_heads"]),
        (&false.into(), &().into(), &().into())
    );
    assert!(!place.path().join("new.csv").exists());
}

#[test]
fn an_entry_that_was_edited_breaks_the_chain() {
    let mut sandbox = Sandbox::start();
    for reason in ["one", "two"] {
        sandbox.json(&["account", "adjust", OWNER, "1", "--reason", reason]);
    }
    books(&mut sandbox)
        .execute_batch(
            "DROP TRIGGER ledger_entry_is_final; UPDATE ledger_entry SET reason = 'another' WHERE reason = 'one';",
        )
        .unwrap();
    let found = sandbox.place.run(["audit"]);
    assert_eq!(found.exit, 1, "{found:?}");
    assert!(
        found.stdout.contains("✗ a promise is broken") && !found.stdout.contains("Chain head"),
        "{found:?}"
    );
    assert!(
        found.stderr.contains("entry 3 carries") && found.stderr.contains("restore a backup"),
        "{found:?}"
    );
}

#[test]
fn a_line_of_noted_heads_that_makes_no_sense_is_named() {
    let sandbox = Sandbox::start();
    let hash = "ab".repeat(32);
    let check = |text: &str, words: &[&str]| {
        fs::write(sandbox.place.path().join("heads.csv"), text).unwrap();
        sandbox.run(["audit", "--heads", "heads.csv"]).failed_with(words);
    };
    for nothing in ["", "7,2,x\n", "account_id,head\n"] {
        check(
            nothing,
            &["heads.csv, line 1", "no file of noted heads", "--write-heads"],
        );
    }
    for (line, words) in [
        ("7,2".to_owned(), "2 columns instead of 3"),
        (format!("x,2,{hash}"), "`x` is no account's id"),
        (format!("0,2,{hash}"), "`0` is no account's id"),
        (format!("8,-2,{hash}"), "`-2` is no number of entries"),
        (format!("8,2,{}", &hash[1..]), "64 hexadecimal digits"),
        (format!("7,3,{hash}"), "the account 7 is noted a second time"),
    ] {
        let text = format!("account_id,entries,head\n7,2,{hash}\n{line}\n");
        check(&text, &["heads.csv, line 3", words, "nothing was checked"]);
    }
    sandbox
        .run(["audit", "--heads", "missing.csv"])
        .failed_with(&["missing.csv", "can't be read"]);
    let foreign = format!("account_id,entries,head\n7,2,{hash}\n");
    fs::write(sandbox.place.path().join("heads.csv"), foreign).unwrap();
    let gone = sandbox.run(["audit", "--heads", "heads.csv"]);
    assert_eq!(gone.exit, 1, "{gone:?}");
    assert!(
        gone.stderr
            .contains("account 7: its head was noted, and the account is gone"),
        "{gone:?}"
    );
}

#[test]
fn an_adjustment_stands_in_the_ledger_with_its_reason() {
    let mut sandbox = Sandbox::start();
    let before = sandbox.json(&["account", "show", OWNER])["balance"].as_i64().unwrap();
    let up = sandbox.json(&[
        "account",
        "adjust",
        OWNER,
        "1.5",
        "--reason",
        "a message that never left",
    ]);
    assert_eq!(up["balance"].to_string(), format!("{}.5", before + 1));
    let down = sandbox.json(&["account", "adjust", OWNER, "-0.5", "--reason", "credited twice"]);
    assert_eq!(down["balance"], before + 1);
    let adjust = |amount: &str, reason: &str| sandbox.run(["account", "adjust", OWNER, amount, "--reason", reason]);
    adjust("-5000000", "x").failed_with(&["can't be taken", "is available"]);
    adjust("0", "x").failed_with(&["by 0"]);
    adjust("1", " ").failed_with(&["the reason is missing"]);
    adjust("1", &"x".repeat(201)).failed_with(&["at most 200"]);
    let unsaid = sandbox.run(["account", "adjust", OWNER, "1"]);
    assert_eq!(unsaid.exit, 2, "{unsaid:?}");
    assert!(unsaid.stderr.contains("--reason"), "{unsaid:?}");
    assert_eq!(sandbox.json(&["audit"])["entries"], 3);
    let books = books(&mut sandbox);
    let mut entries = books
        .prepare("SELECT amount, reason FROM ledger_entry WHERE kind = 5 ORDER BY number")
        .unwrap();
    let entries: Vec<(i64, String)> = entries
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let expected = [(1_500_000, "a message that never left"), (-500_000, "credited twice")];
    assert_eq!(entries, expected.map(|(amount, reason)| (amount, reason.to_owned())));
}

#[test]
fn noted_heads_hold_in_a_restored_backup_that_is_younger() {
    let sandbox = Sandbox::start();
    sandbox.json(&["audit", "--write-heads", "heads.csv"]);
    sandbox.json(&["send", "+391234567890"]);
    sandbox.json(&["backup", "books.db"]);
    sandbox.json(&["key", "export", "master.key"]);
    sandbox.json(&["send", "+391234567891"]);
    sandbox.json(&["audit", "--write-heads", "younger.csv"]);
    let path = |name: &str| sandbox.place.path().join(name).display().to_string();
    let elsewhere = Place::new();
    elsewhere
        .run(["restore", &path("books.db"), "--key", &path("master.key"), "--json"])
        .json();
    let met = elsewhere.run(["audit", "--heads", &path("heads.csv"), "--json"]).json();
    assert_eq!((&met["noted_heads"], &met["entries"]), (&1.into(), &2.into()));
    // What the backup is too old for is told, too.
    let missed = elsewhere.run(["audit", "--heads", &path("younger.csv")]);
    assert_eq!(missed.exit, 1, "{missed:?}");
    assert!(
        missed.stderr.contains("3 entries were noted, and 2 stand"),
        "{missed:?}"
    );
}
