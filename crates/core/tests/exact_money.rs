//! Money never passes a float: what is written on the wire reads back to the same micro-credits, by our own parser and by
//! clients whose JSON numbers are IEEE doubles (Python, JavaScript) and who round to micro-credits.

use std::path::{Path, PathBuf};

use countersign_core::{Credits, MICROS_PER_CREDIT, RequestStatus};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// A million credits: far more than an account holds.
const MOST_MICROS: i64 = 1_000_000_000_000;
/// Amounts drawn at random, besides all edges.
const RANDOM_AMOUNTS: u32 = 1_000_000;

#[test]
fn every_amount_on_the_wire_reads_back_to_the_same_micro_credits() {
    for micros in edges() {
        reads_back(micros).unwrap();
    }
    // Densely where most amounts are, and over the whole range.
    let amounts = prop_oneof![
        1 => -10 * MICROS_PER_CREDIT..=10 * MICROS_PER_CREDIT,
        1 => -MOST_MICROS..=MOST_MICROS,
        // Few digits, as prices have them.
        1 => (0u32..=6, -1_000_000i64..=1_000_000).prop_map(|(zeros, number)| number * 10_i64.pow(zeros)),
    ];
    let mut runner = TestRunner::new(Config {
        cases: RANDOM_AMOUNTS,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&amounts, |micros| reads_back(micros).map_err(TestCaseError::fail));
    outcome.unwrap();
}

#[test]
fn an_answer_and_a_report_carry_their_amounts_exactly() {
    for micros in edges() {
        let status = RequestStatus {
            request_id: "1".to_owned(),
            phone_number: "+391234567890".to_owned(),
            request_cost: Credits::from_micros(micros),
            is_refunded: false,
            remaining_balance: Some(Credits::from_micros(micros)),
            delivery_status: None,
            verification_status: None,
            payload: None,
        };
        let wire = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<RequestStatus>(&wire).unwrap(), status, "{wire}");
        let by_a_client: serde_json::Value = serde_json::from_str(&wire).unwrap();
        for field in ["request_cost", "remaining_balance"] {
            let double = by_a_client[field].as_f64().unwrap();
            assert_eq!(micros_of_a_double(double), micros, "{field} of {wire}");
        }
    }
}

#[test]
fn what_is_no_exact_amount_is_refused_and_never_rounded() {
    for text in [
        "0.0000001",
        "1e-2",
        "1E3",
        "0.1234567",
        "NaN",
        "Infinity",
        "\"0.01\"",
        "null",
        "true",
        "9223372036855",
    ] {
        assert!(serde_json::from_str::<Credits>(text).is_err(), "{text} passed");
    }
}

#[test]
fn no_float_stands_in_the_rules_or_the_books() {
    // How long a backup's step takes is measured in floats; no money is there.
    let measures_time = ["sqlite/backup.rs"];
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for sources in ["core/src", "store/src"] {
        sources_under(&crates.join(sources), &mut files);
    }
    assert!(files.len() > 30, "only {} sources were found", files.len());
    for file in files {
        let exempt = measures_time.iter().any(|exempt| file.ends_with(exempt));
        let text = std::fs::read_to_string(&file).unwrap();
        let is_float = |word: &&str| matches!(*word, "f32" | "f64");
        let float = text.lines().enumerate().find(|(_, line)| {
            // What OpenAPI calls the wire's numbers is no number of ours.
            let code = line
                .split("//")
                .next()
                .unwrap_or_default()
                .split("feature = \"openapi\"")
                .next()
                .unwrap_or_default();
            code.split(|letter: char| !letter.is_ascii_alphanumeric())
                .any(|word| is_float(&word))
        });
        if let (Some((line, text)), false) = (float, exempt) {
            panic!("{}:{}: a float: {text}", file.display(), line + 1);
        }
    }
}

#[cfg(test)]
fn sources_under(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources_under(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[cfg(test)]
fn reads_back(micros: i64) -> Result<(), String> {
    let wire = serde_json::to_string(&Credits::from_micros(micros)).map_err(|error| error.to_string())?;
    let ours: Credits = serde_json::from_str(&wire).map_err(|error| format!("{wire}: {error}"))?;
    if ours.micros() != micros {
        return Err(format!(
            "{micros} micro-credits went out as {wire} and came back as {}",
            ours.micros()
        ));
    }
    let double: f64 = serde_json::from_str(&wire).map_err(|error| format!("{wire}: {error}"))?;
    if micros_of_a_double(double) != micros {
        return Err(format!(
            "{micros} micro-credits went out as {wire}, which is {double:?} to a client"
        ));
    }
    // JavaScript and Python write a double with the fewest digits that tell it: the wire must have no more than those.
    let shortest: Credits = Credits::parse(&double.to_string()).map_err(|error| error.to_string())?;
    if shortest.micros() != micros {
        return Err(format!("{wire} written again from a double is {double}"));
    }
    Ok(())
}

/// As `Math.round(amount * 1e6)` and `round(amount * 1e6)` do.
#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "at most 10^12, which a double holds exactly"
)]
fn micros_of_a_double(amount: f64) -> i64 {
    (amount * 1e6).round() as i64
}

/// Around zero, around every power of ten and of two, and the ends of the range; each with its negative.
#[cfg(test)]
fn edges() -> Vec<i64> {
    let mut edges: Vec<i64> = (0..=12).map(|digits| 10_i64.pow(digits)).collect();
    edges.extend((0..40).map(|bits| 1_i64 << bits).filter(|&edge| edge <= MOST_MICROS));
    edges.extend([
        9_990_000,
        10_000,
        50_001,
        999_999,
        1_000_001,
        123_456_789_012,
        MOST_MICROS,
    ]);
    let near = |edge: i64| [edge - 1, edge, edge + 1];
    let both = |edge: i64| [edge, -edge];
    let edges: std::collections::BTreeSet<i64> = edges.into_iter().flat_map(near).flat_map(both).collect();
    edges.into_iter().filter(|edge| edge.abs() <= MOST_MICROS).collect()
}
