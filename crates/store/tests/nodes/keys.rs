//! The change of the master key where several nodes serve.

use super::*;

fn key(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; 32])
}

/// Asks for the change until the nodes' words have reached the database.
async fn begun(node: &Node) {
    loop {
        match node.store.begin_key_rotation(now(), Actor::Operator).await {
            Ok(()) => return,
            Err(StoreError::NodesWithoutKey(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_changes_once_every_node_knows_the_new_one() {
    let Some(url) = database("keys") else { return };
    let (a, b) = (node(&url), node(&url));
    let account = a.account().await;
    let first = a.send(account, 1).await;

    a.store.learn_master_key(key(2)).await.unwrap();
    let refused = a.store.begin_key_rotation(now(), Actor::Operator).await;
    assert!(matches!(refused, Err(StoreError::NodesWithoutKey(_))), "{refused:?}");
    b.store.learn_master_key(key(2)).await.unwrap();
    in_time("begin", begun(&a)).await;

    let (progress, mut number) = (KeyProgress::default(), 10);
    let at = now();
    let mut rotating = a.store.rotate_keys(&progress, at);
    let rotated = loop {
        tokio::select! {
            biased;
            rotated = &mut rotating => break rotated.unwrap(),
            // Both nodes serve meanwhile, and read what the other wrote.
            sent = b.send(account, number) => {
                let read = a.store.request(account, sent.id).await.unwrap().unwrap();
                assert!(read.message.is_some());
                number += 1;
            }
        }
    };
    drop(rotating);
    assert_eq!((rotated.key, rotated.unreadable), (key(2).fingerprint().unwrap(), 0));
    in_time("the other node", async {
        while b.store.key_standing().unwrap().rotating {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(b.store.key_standing().unwrap().present, rotated.key);
    let last = b.send(account, 2).await;
    for request in [first, last] {
        for node in [&a, &b] {
            let read = node.store.request(account, request.id).await.unwrap().unwrap();
            assert!(read.message.is_some());
        }
    }
    assert!(
        b.store
            .authenticate(&ApiToken::new(account.id, [9; 32]))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_the_change_does_nothing_until_it_has_the_new_key() {
    let Some(url) = database("missed") else { return };
    let (a, b) = (node(&url), node(&url));
    let account = a.account().await;
    b.store.crash();
    // It counts as dead soon, and the change needn't wait for it any longer.
    a.store.learn_master_key(key(2)).await.unwrap();
    in_time("begin", begun(&a)).await;
    let rotated = in_time("the change", a.store.rotate_keys(&KeyProgress::default(), now())).await;
    assert!(rotated.is_ok(), "{rotated:?}");
    a.send(account, 1).await;
    let settings = PostgresSettings::new(url.clone());
    let refused = PostgresStore::open(&settings, &key(1), Rules::default()).err();
    assert!(matches!(refused, Some(StoreError::WrongMasterKey)), "{refused:?}");
}
