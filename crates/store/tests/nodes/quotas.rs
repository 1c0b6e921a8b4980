//! Two nodes that share quotas: together they let pass at most a chunk each beyond the limit, and ask the books once in a chunk.

use super::*;

const LIMIT: Limit = Limit {
    count: 500,
    period_ms: 3_600_000,
};

/// A node's share of one key, settled as the server does it.
async fn send(node: &Node, share: &mut Share, quota: Quota, asked: &mut u32, at: Timestamp) -> bool {
    loop {
        match share.take(quota, at) {
            Asked::Passed => return true,
            Asked::Refused(seconds) => {
                assert!(seconds > 0);
                return false;
            }
            Asked::MustSettle => {
                let taken = share.settle().unwrap();
                let taken = QuotaTaken {
                    key: "number 391234567890".into(),
                    limit: quota.limit(),
                    taken,
                };
                *asked += 1;
                share.settled(node.store.settle_quotas(vec![taken]).await.unwrap()[0]);
            }
        }
    }
}

async fn rows(url: &str) -> i64 {
    let counted = onlooker(url)
        .await
        .query_one("SELECT count(*) FROM quota_counter", &[])
        .await;
    counted.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_let_pass_at_most_a_chunk_each_beyond_a_quota() {
    let Some(url) = database("quotas") else { return };
    let (first, second) = (node(&url), node(&url));
    let quota = Quota::new(LIMIT);
    let at = now();
    let burst = async |node: &Node| {
        let (mut share, mut passed, mut asked) = (Share::default(), 0_i64, 0);
        while send(node, &mut share, quota, &mut asked, at).await {
            passed += 1;
        }
        (passed, asked)
    };
    let ((one, asked_by_one), (other, asked_by_other)) = tokio::join!(burst(&first), burst(&second));
    let passed = one + other;
    let most = i64::from(LIMIT.count) + 2 * quota.chunk();
    assert!((i64::from(LIMIT.count)..=most).contains(&passed), "{passed} passed");
    // Once in a chunk, and not for each send.
    let asked = i64::from(asked_by_one + asked_by_other);
    assert!(asked <= most / quota.chunk(), "{asked} questions");
    assert_eq!(rows(&url).await, 1);
    // A node that begins anew hears of it with its first chunk.
    let (late, _) = burst(&node(&url)).await;
    assert!(late <= quota.chunk(), "{late} passed on a third node");

    assert_eq!(first.store.forget_spent_quotas(at).await.unwrap(), 0);
    let over = at.plus_millis(2 * LIMIT.period_ms);
    assert_eq!(first.store.forget_spent_quotas(over).await.unwrap(), 1);
    assert_eq!(rows(&url).await, 0);
}
