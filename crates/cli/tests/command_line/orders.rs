//! Orders of credit: made by an owner through the API, decided by the operator's commands.

use countersign_core::Credits;
use serde_json::Value;

use crate::support::Sandbox;

/// Orders credit with the sandbox account's token; answers the reference.
fn ordered(sandbox: &Sandbox, amount: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = runtime.block_on(async {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap();
        let request = client
            .post(format!("{}/account/v1/orders", sandbox.url()))
            .bearer_auth(sandbox.token())
            .body(format!(r#"{{"amount":{amount}}}"#));
        request.send().await.unwrap().text().await.unwrap()
    });
    let order: Value = serde_json::from_str(&text).unwrap();
    assert!(
        order["instructions"]
            .as_str()
            .unwrap()
            .contains(order["reference"].as_str().unwrap()),
        "{order}"
    );
    order["reference"].as_str().unwrap().to_owned()
}

#[test]
fn an_order_is_listed_confirmed_once_and_then_decided() {
    let sandbox = Sandbox::start();
    let before = sandbox.json(&["account", "show", "+9996600000"])["balance"].clone();
    let reference = ordered(&sandbox, "25.5");
    let open = sandbox.json(&["order", "list"]);
    assert_eq!(
        (open.as_array().unwrap().len(), &open[0]["reference"]),
        (1, &Value::from(reference.clone()))
    );
    let people = sandbox.run(["order", "list"]);
    assert!(
        people.stdout.contains(&reference) && people.stdout.contains("open"),
        "{people:?}"
    );
    let confirm = ["order", "confirm", &reference.to_lowercase(), "--note", "seen"];
    let confirmed = sandbox.json(&confirm);
    assert_eq!(
        (&confirmed["state"], &confirmed["note"]),
        (&Value::from("confirmed"), &Value::from("seen"))
    );
    assert_eq!(sandbox.json(&confirm), confirmed);
    let after = sandbox.json(&["account", "show", "+9996600000"])["balance"].clone();
    let amount = |value: &Value| Credits::parse(&value.to_string()).unwrap();
    assert_eq!(amount(&after) - amount(&before), Credits::parse("25.5").unwrap());
    sandbox
        .run(["order", "cancel", &reference])
        .failed_with(&["confirmed before"]);
    assert!(sandbox.json(&["order", "list"]).as_array().unwrap().is_empty());
    assert_eq!(sandbox.json(&["order", "list", "--all"]).as_array().unwrap().len(), 1);
}

#[test]
fn an_order_is_cancelled_with_a_reason_and_a_mistyped_reference_is_found() {
    let sandbox = Sandbox::start();
    let reference = ordered(&sandbox, "5");
    let cancelled = sandbox.json(&["order", "cancel", &reference, "--note", "not paid"]);
    assert_eq!(
        (&cancelled["state"], &cancelled["decided_by"]),
        (&Value::from("cancelled"), &Value::from("operator"))
    );
    sandbox
        .run(["order", "confirm", &reference])
        .failed_with(&["cancelled before"]);
    let mistyped = sandbox.run(["order", "confirm", "CS-2222-2223"]);
    assert_eq!(mistyped.exit, 2, "{mistyped:?}");
    assert!(mistyped.stderr.contains("a character of it is wrong"), "{mistyped:?}");
    sandbox
        .run(["order", "confirm", "CS-2222-2222"])
        .failed_with(&["no such order"]);
}
