//! An account's senders: registered, given a look, and asked to be verified; pictures are what they say they are.

use countersign_core::SenderUsername;
use countersign_server::clock;
use countersign_store::{Actor, PictureChange, SenderLook, Verification};

use crate::support::Server;

const LOOK: [(&str, &str); 4] = [
    ("display_name", "Acme Shop"),
    ("colour", ""),
    ("own_colour", "#3A6FD8"),
    ("support_url", "https://acme.example/help"),
];

fn png(side: u32, length: usize) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    file.extend(side.to_be_bytes());
    file.extend(side.to_be_bytes());
    file.resize(length.max(file.len() + 5), 7);
    file
}

fn with_name(name: &'static str) -> Vec<(&'static str, &'static str)> {
    [("username", name)].into_iter().chain(LOOK).collect()
}

#[tokio::test]
async fn a_sender_is_registered_with_its_look_and_asks_for_the_mark() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let page = owner
        .upload("/account/senders", &with_name("Acme_Shop"), Some(&png(64, 0)))
        .await;
    assert_eq!(page.location(), "/account/senders/acme_shop?done=registered");
    let page = owner.get("/account/senders/acme_shop").await;
    for text in [
        "Acme Shop",
        "#3a6fd8",
        "https://acme.example/help",
        "/senders/acme_shop/picture?v=",
        "Not verified",
    ] {
        assert!(page.has(text), "{text} is missing");
    }
    let page = owner
        .post("/account/senders/acme_shop/request", &[("note", "ours")])
        .await;
    assert_eq!(page.location(), "/account/senders/acme_shop?done=requested");
    assert!(owner.get("/account/senders").await.has("Requested"));
    // Another account neither sees it nor takes its name.
    let other = server.other().await;
    assert_eq!(other.get("/account/senders/acme_shop").await.status, 404);
    let page = other.upload("/account/senders", &with_name("acme_shop"), None).await;
    assert!(page.status == 422 && page.has("This username is taken"));
}

#[tokio::test]
async fn a_verified_senders_name_cant_change_without_a_new_verification() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let name = SenderUsername::parse("acme_shop").unwrap();
    owner.upload("/account/senders", &with_name("acme_shop"), None).await;
    let verified = async || {
        let sender = server.store.sender_detail(&name).await.unwrap().unwrap();
        matches!(sender.verification, Verification::Verified { .. })
    };
    server
        .store
        .verify_sender(name.clone(), clock::now(), Actor::Operator)
        .await
        .unwrap();
    let mut look = LOOK;
    look[2].1 = "#c0492f";
    owner.upload("/account/senders/acme_shop", &look, None).await;
    assert!(verified().await, "a colour is free");
    let delete = owner.post("/account/senders/acme_shop/delete", &[]).await;
    assert_eq!(delete.status, 404, "a verified sender stays");
    look[0].1 = "The Bank";
    owner.upload("/account/senders/acme_shop", &look, None).await;
    assert!(!verified().await);
    let delete = owner.post("/account/senders/acme_shop/delete", &[]).await;
    assert_eq!(delete.location(), "/account/senders?done=deleted");
}

#[tokio::test]
async fn a_picture_that_was_made_to_have_the_verified_ones_hash_does_not_take_its_place() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let name = SenderUsername::parse("acme_shop").unwrap();
    owner
        .upload("/account/senders", &with_name("acme_shop"), Some(&png(64, 0)))
        .await;
    let verify = server.store.verify_sender(name.clone(), clock::now(), Actor::Operator);
    verify.await.unwrap();
    let verified = server.store.sender_picture(&name).await.unwrap().unwrap();
    let mut forged = verified.clone();
    forged.bytes.push(1);
    let look = server.store.sender_detail(&name).await.unwrap().unwrap().look.clone();
    let look = SenderLook {
        colour: "#c0492f".to_owned(),
        ..look
    };
    let change = PictureChange::Set(forged);
    server
        .store
        .set_sender_look(owner.account, name.clone(), look, change, clock::now(), Actor::Owner)
        .await
        .unwrap();
    assert_eq!(server.store.sender_picture(&name).await.unwrap(), Some(verified));
}

#[tokio::test]
async fn a_picture_that_is_none_or_too_large_is_refused_and_what_was_typed_stays() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    for (file, said) in [
        (svg.to_vec(), "no PNG, JPEG or WebP"),
        (b"GIF89a".to_vec(), "no PNG, JPEG or WebP"),
        (png(64, 32 * 1024 + 1), "33 KiB"),
        (png(513, 0), "at most 512"),
    ] {
        let page = owner
            .upload("/account/senders", &with_name("acme_shop"), Some(&file))
            .await;
        assert_eq!(page.status, 422);
        assert!(page.has(said) && page.has("value=\"Acme Shop\""), "{said} is missing");
    }
    assert!(owner.get("/account/senders").await.has("No sender yet"));
}

#[tokio::test]
async fn a_picture_is_served_as_itself_and_as_nothing_else() {
    let server = Server::start().await;
    let owner = server.owner().await;
    owner
        .upload("/account/senders", &with_name("acme_shop"), Some(&png(64, 0)))
        .await;
    let page = owner.get("/senders/acme_shop/picture").await;
    assert_eq!(page.status, 200);
    for header in [
        "content-type: image/png",
        "x-content-type-options: nosniff",
        "sandbox",
        "etag: \"",
    ] {
        assert!(page.head.contains(header), "{header} is missing: {}", page.head);
    }
    let none = owner.get("/senders/other_shop/picture").await;
    assert_eq!(none.status, 404);
    assert!(
        none.head.contains("content-security-policy: default-src 'none'"),
        "{}",
        none.head
    );
}

#[tokio::test]
async fn a_form_without_the_sessions_token_changes_nothing() {
    let server = Server::start().await;
    let owner = server.owner().await;
    owner.upload("/account/senders", &with_name("acme_shop"), None).await;
    for path in ["", "/acme_shop", "/acme_shop/request", "/acme_shop/delete"] {
        let page = owner
            .post_with(&format!("/account/senders{path}"), "not-the-token", &LOOK)
            .await;
        assert_eq!(page.status, 403, "{path}");
    }
    assert!(owner.get("/account/senders").await.has("acme_shop"));
}
