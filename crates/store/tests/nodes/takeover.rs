//! In which order a dead node's work is claimed, as a trigger saw it.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign_core::*;

use crate::{database, in_time, node, nodes_known, onlooker};

/// What each account's bucket has, by the requests' last digit.
const WAITS_FOR_ITS_EXPIRY: u64 = 0;
const UNSENT: u64 = 1;
const DUE_SOON: u64 = 2;
const HAS_A_REPORT: u64 = 3;

/// Writes down which rows got another owner.
const WITNESS: &str = "
    CREATE TABLE claimed (place bigserial PRIMARY KEY, what text NOT NULL);
    CREATE FUNCTION note_claim() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO claimed (what) VALUES (TG_ARGV[0] || ' ' || NEW.random);
            RETURN NULL;
        END
    $$;
    CREATE TRIGGER claim AFTER UPDATE OF owner ON request FOR EACH ROW
        WHEN (OLD.owner <> NEW.owner) EXECUTE FUNCTION note_claim('request');
    CREATE TRIGGER claim AFTER UPDATE OF owner ON report FOR EACH ROW
        WHEN (OLD.owner <> NEW.owner) EXECUTE FUNCTION note_claim('report');";

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_wait_is_claimed_first_in_every_bucket() {
    let Some(url) = database("order") else { return };
    let (first, _second) = (node(&url), node(&url));
    let onlooker = onlooker(&url).await;
    let mut urgent = BTreeSet::new();
    for bucket in [3_u8, 90, 250] {
        let account = first.account_in(bucket).await;
        let number = |what: u64| 10 * u64::from(bucket) + what;
        for what in [WAITS_FOR_ITS_EXPIRY, UNSENT, DUE_SOON] {
            first.send(account, number(what)).await;
        }
        let reported = first.send(account, number(HAS_A_REPORT)).await;
        first.ask(account, Action::news(reported.id, News::Delivered)).await;
        urgent.insert(format!("request {}", number(UNSENT)));
        urgent.insert(format!("request {}", number(DUE_SOON)));
        urgent.insert(format!("report {}", number(HAS_A_REPORT)));
    }
    onlooker
        .batch_execute(
            "UPDATE request SET accepted = 1 WHERE random % 10 <> 1;
             UPDATE request SET wake_at = (extract(epoch FROM now()) * 1000)::bigint + 50000 WHERE random % 10 = 2;",
        )
        .await
        .unwrap();
    onlooker.batch_execute(WITNESS).await.unwrap();
    first.store.crash();
    in_time("the dead node is forgotten", async {
        while nodes_known(&onlooker).await > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let claimed = onlooker.query("SELECT what FROM claimed ORDER BY place", &[]).await;
    let claimed: Vec<String> = claimed.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(claimed.len() > urgent.len(), "{claimed:?}");
    let before: BTreeSet<String> = claimed.iter().take(urgent.len()).cloned().collect();
    assert_eq!(before, urgent, "{claimed:?}");
}
