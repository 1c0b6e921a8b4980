//! Several nodes that write one account.

use super::*;

/// Batches that all nodes have committed.
async fn batches(client: &tokio_postgres::Client) -> i64 {
    let sql = "SELECT coalesce(sum(number), 0)::bigint FROM batch_marker";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Waits until somebody waits for a row that somebody else has locked.
pub(super) async fn somebody_waits(client: &tokio_postgres::Client) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    in_time("a batch that waits", async {
        while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(super) fn send_command(number: u64, idempotency: Option<Idempotency>) -> Command {
    let send = Send {
        email: None,
        locale: None,
        phone: PHONE,
        request: None,
        sender: None,
        code: SendCode::Supplied(Code::parse("4711").unwrap()),
        callback_url: None,
        payload: None,
        ttl: Ttl::default(),
        id_entropy: number,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    };
    Command {
        idempotency,
        ..command(Action::Send(Box::new(send)))
    }
}

#[tokio::test]
async fn what_comes_while_a_batch_waits_for_its_account_goes_with_it() {
    let Some(url) = database("joins") else { return };
    let node = node(&url);
    let account = node.account().await;
    node.send(account, 1).await;
    let (holder, client) = (onlooker(&url).await, onlooker(&url).await);
    // As another node does while it writes the account.
    holder
        .batch_execute("BEGIN; SELECT 1 FROM account FOR UPDATE")
        .await
        .unwrap();
    let before = batches(&client).await;
    let mut sends = tokio::task::JoinSet::new();
    let mut submit = |number, idempotency| {
        let store = Arc::clone(&node.store);
        sends.spawn(async move { store.submit(account, send_command(number, idempotency)).await });
    };
    submit(2, None);
    somebody_waits(&client).await;
    for number in 3..20 {
        submit(number, None);
    }
    // Its first answer is looked up in the books, and so it waits for a batch that looks.
    let idempotency = IdempotencyKey::new("once").map(|key| Idempotency {
        key,
        fingerprint: [0; 32],
    });
    submit(20, idempotency);
    submit(21, None);
    in_time("queued", async {
        while node.store.load().queued < 19 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    holder.batch_execute("COMMIT").await.unwrap();
    while let Some(answer) = in_time("answers", sends.join_next()).await {
        answer.unwrap().unwrap().unwrap();
    }
    assert_eq!(batches(&client).await - before, 2);
    let profile = node.store.account(account.id).await.unwrap().unwrap();
    assert_eq!(profile.entries, 22, "a purchase and a charge for each send");
    node.store.close().await.unwrap();
}
