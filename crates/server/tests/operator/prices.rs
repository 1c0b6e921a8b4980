//! The price list through the operator's API: set, taken away, announced ahead, imported as a whole, and its history.

use reqwest::Method;
use serde_json::{Value, json};

use crate::House;

/// The prices that hold at a time, or now, as `route prefix price`.
async fn in_force(house: &House, query: &str) -> Vec<String> {
    let answer = house.get(&format!("/prices{query}")).await.json();
    let text = |row: &Value| {
        let (route, prefix) = (row["route"].as_str().unwrap(), row["prefix"].as_str().unwrap());
        format!("{route} {prefix} {}", row["price"])
    };
    answer["prices"].as_array().unwrap().iter().map(text).collect()
}

#[tokio::test]
async fn a_price_is_set_shown_and_taken_away() {
    let house = House::build().await;
    assert_eq!(
        house.get("/prices").await.body,
        r#"{"prices":[{"route":"all","prefix":"default","price":0.01}]}"#
    );
    let set = r#"{"prefix":"39","price":"0.000100","effective_from":1790000000}"#;
    assert_eq!(
        house.put("/prices", set).await.body,
        r#"{"route":"all","prefix":"+39","price":0.0001,"effective_from":1790000000}"#
    );
    house.put("/prices", r#"{"prefix":"default","price":0}"#).await.json();
    let own = r#"{"route":"inbox","prefix":"+39","price":3}"#;
    house.put("/prices", own).await.json();
    assert_eq!(
        in_force(&house, "").await,
        ["all default 0", "all +39 0.0001", "inbox +39 3"]
    );
    assert_eq!(
        in_force(&house, "?at=1790000000").await,
        ["all default 0.01", "all +39 0.0001"]
    );
    assert_eq!(in_force(&house, "?at=1789999999").await, ["all default 0.01"]);

    let delete = async |query: &str| house.ask(Method::DELETE, &format!("/prices?{query}"), None).await;
    let gone = delete("prefix=%2B39").await.json();
    assert!(gone.get("price").is_none(), "{gone}");
    assert_eq!(in_force(&house, "").await, ["all default 0", "inbox +39 3"]);
    delete("prefix=%2B39").await.refused_with(404, &["+39", "price list"]);
    delete("prefix=%2B39&route=inbox").await.json();
    delete("prefix=default").await.json();
    assert_eq!(in_force(&house, "").await, ["all default 0.01"]);
    delete("route=all").await.refused_with(400, &["prefix"]);
    house.end().await;
}

#[tokio::test]
async fn every_row_that_was_ever_set_stays_in_the_history() {
    let house = House::build().await;
    for price in ["0.02", "0.03", "0.04"] {
        let body = format!(r#"{{"prefix":"+39","price":{price},"effective_from":1790000000}}"#);
        house.put("/prices", &body).await.json();
    }
    assert_eq!(in_force(&house, "").await, ["all default 0.01", "all +39 0.04"]);
    let first = house.get("/prices/history?limit=2").await.json();
    let prices: Vec<&Value> = first["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["price"])
        .collect();
    assert_eq!(prices, [&json!(0.02), &json!(0.03)]);
    assert_eq!(first["rows"][0]["set_by"], "operator");
    assert!(first["rows"][0]["set_at"].is_i64());
    let rest = house
        .get(&format!("/prices/history?after={}", first["next"]))
        .await
        .json();
    assert_eq!(rest["rows"][0]["price"], json!(0.04));
    assert!(rest.get("next").is_none(), "{rest}");
    for (query, word) in [("after=x", "after"), ("limit=0", "limit"), ("limit=10001", "limit")] {
        let path = format!("/prices/history?{query}");
        house.get(&path).await.refused_with(400, &[word]);
    }
    house.end().await;
}

#[tokio::test]
async fn a_table_is_imported_as_a_whole_or_not_at_all() {
    let house = House::build().await;
    let rows: Vec<Value> = (0..2_000)
        .map(|n| json!({ "prefix": format!("39{n}"), "price": "0.02", "effective_from": 1_790_000_000 }))
        .collect();
    let table = |dry_run: bool| json!({ "rows": rows, "dry_run": dry_run }).to_string();
    let told = |added: u32, already_there: u32, dry_run: bool| json!({ "added": added, "already_there": already_there, "dry_run": dry_run });
    let import = async |body: String| house.post("/prices/import", &body).await;
    assert!(table(true).len() > 64 * 1024, "larger than other bodies may be");
    assert_eq!(import(table(true)).await.json(), told(2_000, 0, true));
    assert_eq!(in_force(&house, "").await.len(), 1);
    assert_eq!(import(table(false)).await.json(), told(2_000, 0, false));
    assert_eq!(import(table(false)).await.json(), told(0, 2_000, false));
    assert_eq!(in_force(&house, "").await.len(), 2_001);

    for (bad, words) in [
        (json!({ "prefix": "+7", "price": -1 }), ["row 2", "-1"]),
        (json!({ "prefix": "+7x", "price": 1 }), ["row 2", "+7x"]),
        (
            json!({ "prefix": "+7", "price": 1, "route": "In Box" }),
            ["row 2", "In Box"],
        ),
        (
            json!({ "prefix": "+7", "price": 1, "effective_from": -1 }),
            ["row 2", "effective_from"],
        ),
        (json!({ "prefix": "+7" }), ["row 2", "removed"]),
        (
            json!({ "prefix": "+7", "price": 1, "removed": true }),
            ["row 2", "removed"],
        ),
    ] {
        let body = json!({ "rows": [{ "prefix": "+8", "price": 1 }, bad] }).to_string();
        import(body).await.refused_with(400, &words);
    }
    assert_eq!(
        in_force(&house, "").await.len(),
        2_001,
        "nothing of a bad table is kept"
    );
    house.end().await;
}

#[tokio::test]
async fn the_end_of_a_price_may_stand_before_its_beginning_in_a_table() {
    let house = House::build().await;
    let body = json!({ "rows": [
        { "prefix": "+39", "removed": true, "effective_from": 1_790_000_200 },
        { "prefix": "+39", "price": 2, "effective_from": 1_790_000_100 },
    ]});
    assert_eq!(house.post("/prices/import", &body.to_string()).await.json()["added"], 2);
    for (at, count) in [
        (1_790_000_099, 1),
        (1_790_000_100, 2),
        (1_790_000_199, 2),
        (1_790_000_200, 1),
    ] {
        assert_eq!(in_force(&house, &format!("?at={at}")).await.len(), count, "{at}");
    }
    house.end().await;
}
