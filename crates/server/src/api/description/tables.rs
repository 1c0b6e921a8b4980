//! The tables of `docs/api.md`: written into it from the description, and compared with it by a test, so that the page that is
//! read where code is hosted can't say anything else than `/openapi.json`.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::{Described, METHODS};

/// What stands between the marks of a method: its parameters, its errors, an example.
fn section(method: &Described) -> String {
    let mut text = String::from("\n| parameter | | |\n| --- | --- | --- |\n");
    for given in method.parameters {
        let need = if given.is_required { "required" } else { "optional" };
        let _ = writeln!(text, "| `{}` | {need} | {} |", given.parameter.name(), given.about);
    }
    let names: Vec<String> = method
        .errors
        .iter()
        .map(|error| match error {
            countersign_core::ApiError::FloodWait { .. } => "`FLOOD_WAIT_n`".to_owned(),
            error => format!("`{}`", error.wire_name()),
        })
        .collect();
    let _ = writeln!(
        text,
        "\n```json tab=\"Request\"\n{}\n```\n\n```json tab=\"Answer\"\n{}\n```\n\nErrors of its own: {}. Those of every call, and what to \
         do about each: [Errors](errors.md).\n",
        lines(
            &method.example(),
            method.parameters.iter().map(|given| given.parameter.name())
        ),
        answer(&method.answer_example()),
        names.join(", ")
    );
    text
}

/// The fields of an object in the order in which people read them, one on a line.
fn lines<'a>(object: &Value, order: impl Iterator<Item = &'a str>) -> String {
    let fields: Vec<String> = order
        .filter_map(|name| Some(format!("  \"{name}\": {}", spaced(object.get(name)?))))
        .collect();
    format!("{{\n{}\n}}", fields.join(",\n"))
}

/// A value on one line.
fn spaced(value: &Value) -> String {
    let Some(object) = value.as_object() else {
        return value.to_string();
    };
    let order = ["status", "updated_at", "code_entered"];
    let fields: Vec<String> = order
        .iter()
        .filter_map(|name| Some(format!("\"{name}\": {}", object.get(*name)?)))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

fn answer(answer: &Value) -> String {
    let result = &answer["result"];
    if !result.is_object() {
        return r#"{"ok": true, "result": true}"#.to_owned();
    }
    let order = [
        "request_id",
        "phone_number",
        "request_cost",
        "remaining_balance",
        "delivery_status",
        "verification_status",
        "payload",
    ];
    format!("{{\"ok\": true, \"result\": {}}}", lines(result, order.into_iter()))
}

/// The page with every section as the code has it.
fn written(page: &str) -> String {
    let mut page = page.to_owned();
    for method in &METHODS {
        let (start, end) = (
            format!("<!-- made from the code: {} -->\n", method.name),
            "<!-- end -->",
        );
        let from = page
            .find(&start)
            .unwrap_or_else(|| panic!("docs/api.md has no mark for {}", method.name))
            + start.len();
        let to = from + page[from..].find(end).unwrap();
        page.replace_range(from..to, &section(method));
    }
    page
}

/// `COUNTERSIGN_WRITE_DOCS=1` writes them.
#[test]
fn the_tables_of_the_reference_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let written = written(&page);
    if std::env::var_os("COUNTERSIGN_WRITE_DOCS").is_some() {
        std::fs::write(&path, written).unwrap();
    } else {
        assert!(
            page == written,
            "docs/api.md is not what the code says: run this test with COUNTERSIGN_WRITE_DOCS=1"
        );
    }
}
