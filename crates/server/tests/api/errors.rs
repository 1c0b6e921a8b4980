//! Every line of the contract's error table.

use countersign_core::{Limit, Rules, SenderUsername};
use countersign_server::Mode;
use countersign_store::Actor;
use serde_json::{Value, json};

use crate::support::{OWNER, PHONE, Server, Setup, now};

const SEND: &str = "sendVerificationMessage";

/// What a send to a fine number answers with these further parameters.
async fn send_error(server: &Server, further: Value) -> String {
    let mut parameters = json!({"phone_number": PHONE});
    parameters
        .as_object_mut()
        .unwrap()
        .extend(further.as_object().unwrap().clone());
    server.call(SEND, parameters).await.error()
}

#[tokio::test]
async fn unknown_methods() {
    let server = Server::start().await;
    for path in [
        "/",
        "/sendMessage",
        "/sendVerificationMessage/x",
        "/healthz/x",
        "/sandbox",
        "/sandbox/clocks",
    ] {
        assert_eq!(
            server.send("POST", path, &[], b"").await.error(),
            "UNKNOWN_METHOD",
            "{path}"
        );
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let reply = server.send(method, "/checkSendAbility", &[], b"").await;
        assert_eq!(reply.error(), "UNKNOWN_METHOD", "{method}");
    }
}

#[tokio::test]
async fn tokens_that_are_missing_wrong_rotated_or_closed() {
    let server = Server::start().await;
    let parameters = json!({"phone_number": PHONE});
    assert_eq!(
        server.call_with(&[], SEND, parameters.clone()).await.error(),
        "ACCESS_TOKEN_REQUIRED"
    );
    let basic = [("authorization", "Basic dTpw")];
    assert_eq!(
        server.call_with(&basic, SEND, parameters.clone()).await.error(),
        "ACCESS_TOKEN_REQUIRED"
    );
    assert_eq!(
        server.call_as("nonsense", SEND, parameters.clone()).await.error(),
        "ACCESS_TOKEN_INVALID"
    );

    // Well formed, but of nobody.
    let unknown = countersign_core::ApiToken::new(server.account.key.id, [99; 32]);
    let reply = server.call_as(unknown.as_str(), SEND, parameters.clone()).await;
    assert_eq!(reply.error(), "ACCESS_TOKEN_INVALID");

    let account = server.account(2, "+393333333334", "1").await;
    server.call_as(&account.token, SEND, parameters.clone()).await.result();
    let rotated = countersign_core::ApiToken::new(account.key.id, [42; 32]);
    server
        .store
        .rotate_token(account.key, rotated.clone(), Actor::Operator)
        .await
        .unwrap();
    let reply = server.call_as(&account.token, SEND, parameters.clone()).await;
    assert_eq!(reply.error(), "ACCESS_TOKEN_INVALID");
    server
        .call_as(rotated.as_str(), SEND, parameters.clone())
        .await
        .result();
    server
        .store
        .close_account(account.key, now(), Actor::Operator)
        .await
        .unwrap();
    let reply = server.call_as(rotated.as_str(), SEND, parameters).await;
    assert_eq!(reply.error(), "ACCESS_TOKEN_INVALID");
}

#[tokio::test]
async fn addresses_outside_the_allow_list() {
    let server = Server::start_with(Setup {
        trusted_proxies: vec!["127.0.0.0/8"],
        ..Setup::default()
    })
    .await;
    let parameters = json!({"phone_number": PHONE});
    let bearer = format!("Bearer {}", server.account.token);
    let from = |address| [("authorization", bearer.as_str()), ("x-forwarded-for", address)];
    server
        .call_with(&from("203.0.113.9"), SEND, parameters.clone())
        .await
        .result();

    let allow_list = vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    server
        .store
        .set_allow_list(server.account.key, allow_list, Actor::Operator)
        .await
        .unwrap();
    for allowed in ["192.0.2.1", "2001:db8::7", "::ffff:192.0.2.1", "203.0.113.9, 192.0.2.1"] {
        server
            .call_with(&from(allowed), SEND, parameters.clone())
            .await
            .result();
    }
    for refused in ["203.0.113.9", "192.0.2.1, 203.0.113.9", "::1", "nonsense"] {
        let reply = server.call_with(&from(refused), SEND, parameters.clone()).await;
        assert_eq!(reply.error(), "IP_NOT_ALLOWED", "{refused}");
    }
    // Without a proxy the connection's own address counts.
    assert_eq!(server.call(SEND, parameters).await.error(), "IP_NOT_ALLOWED");
}

#[tokio::test]
async fn a_foreign_forwarded_header_is_not_believed() {
    let server = Server::start().await;
    server
        .store
        .set_allow_list(
            server.account.key,
            vec!["192.0.2.0/24".parse().unwrap()],
            Actor::Operator,
        )
        .await
        .unwrap();
    let bearer = format!("Bearer {}", server.account.token);
    let headers = [("authorization", bearer.as_str()), ("x-forwarded-for", "192.0.2.1")];
    let reply = server.call_with(&headers, SEND, json!({"phone_number": PHONE})).await;
    assert_eq!(reply.error(), "IP_NOT_ALLOWED");
    server
        .store
        .set_allow_list(
            server.account.key,
            vec!["127.0.0.1/32".parse().unwrap()],
            Actor::Operator,
        )
        .await
        .unwrap();
    server
        .call_with(&headers, SEND, json!({"phone_number": PHONE}))
        .await
        .result();
}

#[tokio::test]
async fn bodies_that_are_not_what_they_claim_to_be() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.account.token);
    let cases: &[(&str, &[u8])] = &[
        ("application/json", b"{\"phone_number\":\"+391234567890\""),
        ("application/json", b"{\"phone_number\":\"+391234567890\"} x"),
        ("application/json", b"[]"),
        ("application/json", b"\"text\""),
        ("application/json", b"12"),
        ("application/json", b"phone_number=%2B391234567890"),
        ("application/json", b"{\"phone_number\":\"\xff\"}"),
        (
            "application/json",
            b"{\"unknown\":\"\xff\",\"phone_number\":\"+391234567890\"}",
        ),
        (
            "application/json",
            b"{\"payload\":\"\\ud800\",\"phone_number\":\"+391234567890\"}",
        ),
        ("application/json; charset=utf-16", b"{\0\"\0x\0\"\0:\x001\0}\0"),
        (
            "application/x-www-form-urlencoded",
            b"{\"phone_number\":\"+391234567890\"}",
        ),
        (
            "application/x-www-form-urlencoded",
            b"payload=%ff&phone_number=391234567890",
        ),
        (
            "application/x-www-form-urlencoded",
            b"payload=\xff&phone_number=391234567890",
        ),
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"no boundary at all"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\ncontent-disposition: form-data; name=\"code\"\r\n\r\n12",
        ),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\ncontent-disposition: form-data; name=\"payload\"\r\n\r\n\xff\r\n--x--\r\n",
        ),
        ("application/xml", b"<phone_number>+391234567890</phone_number>"),
        ("image/png", b"\x89PNG"),
        ("text/plain", b"\xff"),
    ];
    for (content_type, body) in cases {
        let headers = [("authorization", bearer.as_str()), ("content-type", content_type)];
        let reply = server.send("POST", "/sendVerificationMessage", &headers, body).await;
        assert_eq!(
            reply.error(),
            "BAD_REQUEST",
            "{content_type}: {:?}",
            String::from_utf8_lossy(body)
        );
    }
    let query = "/sendVerificationMessage?phone_number=391234567890&payload=%ff";
    let reply = server.send("GET", query, &[("authorization", &bearer)], b"").await;
    assert_eq!(reply.error(), "BAD_REQUEST");
    assert_eq!(server.balance().await, "10");
}

#[tokio::test]
async fn phone_numbers() {
    let server = Server::start().await;
    for method in [SEND, "checkSendAbility"] {
        assert_eq!(server.call(method, json!({})).await.error(), "PHONE_NUMBER_INVALID");
        let wrong = [
            json!(null),
            json!(""),
            json!("+"),
            json!("abc"),
            json!("+1650253000"),
            json!("+99912345678"),
            json!("+39 1234567890"),
            json!(" 391234567890"),
            json!(39.5),
            json!(-5),
            json!(true),
            json!(["+391234567890"]),
            json!({"a": 1}),
        ];
        for phone_number in wrong {
            let reply = server.call(method, json!({"phone_number": phone_number})).await;
            assert_eq!(reply.error(), "PHONE_NUMBER_INVALID", "{phone_number}");
        }
    }
}

#[tokio::test]
async fn request_ids() {
    let server = Server::start().await;
    for method in ["checkVerificationStatus", "revokeVerificationMessage"] {
        for missing in [json!({}), json!({"request_id": ""}), json!({"request_id": null})] {
            assert_eq!(server.call(method, missing).await.error(), "REQUEST_ID_REQUIRED");
        }
        for unknown in [
            json!("x"),
            json!("0000000000000000000"),
            json!("0NwqKfPBZ1PoHfhMMTj"),
            json!(5),
            json!([1]),
        ] {
            let reply = server.call(method, json!({"request_id": unknown})).await;
            assert_eq!(reply.error(), "REQUEST_ID_INVALID", "{method} {unknown}");
        }
    }
    // Another account's.
    let id = server.sent(json!({"phone_number": PHONE})).await;
    let other = server.account(2, "+393333333334", "1").await;
    for method in ["checkVerificationStatus", "revokeVerificationMessage"] {
        let reply = server.call_as(&other.token, method, json!({"request_id": id})).await;
        assert_eq!(reply.error(), "REQUEST_ID_INVALID");
    }
    // A send, again; then an ability check of another number, once used, and too old.
    assert_eq!(
        send_error(&server, json!({"request_id": id})).await,
        "REQUEST_ID_INVALID"
    );
    let check = server
        .call("checkSendAbility", json!({"phone_number": "+19999999999"}))
        .await
        .result();
    let id = &check["request_id"];
    assert_eq!(
        send_error(&server, json!({"request_id": id})).await,
        "REQUEST_ID_INVALID"
    );
    server
        .call(SEND, json!({"phone_number": "+19999999999", "request_id": id}))
        .await
        .result();
    let again = server
        .call(SEND, json!({"phone_number": "+19999999999", "request_id": id}))
        .await;
    assert_eq!(again.error(), "REQUEST_ID_INVALID");
    let check = server
        .call("checkSendAbility", json!({"phone_number": PHONE}))
        .await
        .result();
    server
        .call("sandbox/clock", json!({"advance_seconds": 3601}))
        .await
        .result();
    let too_old = send_error(&server, json!({"request_id": check["request_id"]})).await;
    assert_eq!(too_old, "REQUEST_ID_INVALID");
}

#[tokio::test]
async fn a_code_on_a_mere_ability_check_and_its_revocation() {
    let server = Server::start().await;
    let check = server
        .call("checkSendAbility", json!({"phone_number": PHONE}))
        .await
        .result();
    let id = &check["request_id"];
    let judged = server
        .call("checkVerificationStatus", json!({"request_id": id, "code": "1234"}))
        .await;
    assert_eq!(judged.error(), "REQUEST_ID_INVALID");
    let revoked = server
        .call("revokeVerificationMessage", json!({"request_id": id}))
        .await;
    assert_eq!(revoked.error(), "REQUEST_ID_INVALID");
}

#[tokio::test]
async fn codes_and_their_lengths() {
    let server = Server::start().await;
    let codes = [
        json!("123"),
        json!("123456789"),
        json!("12a4"),
        json!("12 34"),
        json!("١٢٣٤"),
        json!(123),
        json!(-1234),
    ];
    for code in codes.into_iter().chain([json!(12.34), json!(false), json!(["1234"])]) {
        assert_eq!(
            send_error(&server, json!({"code": code})).await,
            "CODE_INVALID",
            "{code}"
        );
    }
    for length in [
        json!(3),
        json!(9),
        json!("x"),
        json!(4.5),
        json!("4.0"),
        json!(-4),
        json!(true),
        json!("99999999999999999999"),
    ] {
        let error = send_error(&server, json!({"code_length": length})).await;
        assert_eq!(error, "CODE_LENGTH_INVALID", "{length}");
    }
    // With a code its length is ignored, whatever it says.
    server
        .sent(json!({"phone_number": PHONE, "code": "1234", "code_length": "x"}))
        .await;
    // An entered code may be any text of at most 64 bytes.
    let id = server.sent(json!({"phone_number": PHONE, "code": "1234"})).await;
    for (code, fits) in [("x".repeat(64), true), ("x".repeat(65), false), ("é".repeat(33), false)] {
        let reply = server
            .call("checkVerificationStatus", json!({"request_id": id, "code": code}))
            .await;
        if fits {
            assert_eq!(reply.result()["verification_status"]["code_entered"], code);
        } else {
            assert_eq!(reply.error(), "CODE_INVALID");
        }
    }
    let reply = server
        .call("checkVerificationStatus", json!({"request_id": id, "code": {"x": 1}}))
        .await;
    assert_eq!(reply.error(), "CODE_INVALID");
}

#[tokio::test]
async fn lifetimes_payloads_and_callbacks() {
    let server = Server::start().await;
    for ttl in [json!(29), json!(3601), json!(0), json!("x"), json!(60.5), json!([60])] {
        assert_eq!(send_error(&server, json!({"ttl": ttl})).await, "TTL_INVALID", "{ttl}");
    }
    for payload in [
        json!("x".repeat(129)),
        json!("é".repeat(65)),
        json!(true),
        json!({"a": 1}),
    ] {
        assert_eq!(
            send_error(&server, json!({"payload": payload})).await,
            "PAYLOAD_INVALID",
            "{payload}"
        );
    }
    let long = format!("https://example.com/{}", "x".repeat(237));
    let urls = [
        json!("example.com"),
        json!("ftp://example.com/"),
        json!("https://"),
        json!(long),
        json!(7),
        json!(true),
    ];
    for url in urls {
        let error = send_error(&server, json!({"callback_url": url})).await;
        assert_eq!(error, "CALLBACK_URL_INVALID", "{url}");
    }
    // At the bounds all is well, plain http in the sandbox too.
    for ttl in [30, 3600] {
        server.sent(json!({"phone_number": PHONE, "ttl": ttl})).await;
    }
    let url = &long[..256];
    server
        .sent(json!({"phone_number": PHONE, "payload": "x".repeat(128), "callback_url": url, "ttl": 30}))
        .await;
    server
        .sent(json!({"phone_number": PHONE, "callback_url": "http://127.0.0.1:9/"}))
        .await;
}

#[tokio::test]
async fn senders() {
    let server = Server::start().await;
    let other = server.account(2, "+393333333334", "1").await;
    let name = |text| SenderUsername::parse(text).unwrap();
    server
        .store
        .add_sender(server.account.key, name("acme_shop"), now(), Actor::Operator)
        .await
        .unwrap();
    server
        .store
        .add_sender(other.key, name("other_shop"), now(), Actor::Operator)
        .await
        .unwrap();
    server
        .store
        .verify_sender(name("other_shop"), now(), Actor::Operator)
        .await
        .unwrap();
    for (username, error) in [
        (json!("a b"), "SENDER_USERNAME_INVALID"),
        (json!("@"), "SENDER_USERNAME_INVALID"),
        (json!(5), "SENDER_USERNAME_INVALID"),
        (json!([]), "SENDER_USERNAME_INVALID"),
        (json!("nobodys_shop"), "SENDER_USERNAME_INVALID"),
        (json!("other_shop"), "SENDER_NOT_OWNED"),
        (json!("acme_shop"), "SENDER_NOT_VERIFIED"),
    ] {
        assert_eq!(
            send_error(&server, json!({"sender_username": username})).await,
            error,
            "{username}"
        );
    }
    // To the owner's own number it need not be verified.
    server
        .sent(json!({"phone_number": OWNER, "sender_username": "acme_shop"}))
        .await;
    server
        .store
        .verify_sender(name("acme_shop"), now(), Actor::Operator)
        .await
        .unwrap();
    for username in ["acme_shop", "@acme_shop", "@Acme_Shop"] {
        server
            .sent(json!({"phone_number": PHONE, "sender_username": username}))
            .await;
    }
}

#[tokio::test]
async fn floods() {
    let limit = |count| {
        Some(Limit {
            count,
            period_ms: 3_600_000,
        })
    };
    let server = Server::start_with(Setup {
        rules: Rules {
            number_limit: limit(2),
            free_sends_per_day: Some(1),
            ..Rules::default()
        },
        ..Setup::default()
    })
    .await;
    server.sent(json!({"phone_number": PHONE})).await;
    server
        .call("checkSendAbility", json!({"phone_number": PHONE}))
        .await
        .result();
    for method in [SEND, "checkSendAbility"] {
        let error = server.call(method, json!({"phone_number": PHONE})).await.error();
        let seconds: u32 = error.strip_prefix("FLOOD_WAIT_").unwrap().parse().unwrap();
        assert!((1..=1800).contains(&seconds), "{error}");
    }
    server.sent(json!({"phone_number": "+19999999999"})).await;
    server.sent(json!({"phone_number": OWNER})).await;
    let error = server.call(SEND, json!({"phone_number": OWNER})).await.error();
    assert!(error.starts_with("FLOOD_WAIT_"), "{error}");
}

#[tokio::test]
async fn a_balance_that_is_not_enough() {
    let server = Server::start().await;
    let poor = server.account(2, "+393333333334", "0.01").await;
    let charged = server
        .call_as(&poor.token, SEND, json!({"phone_number": PHONE}))
        .await
        .result();
    assert_eq!(charged["remaining_balance"], 0);
    for method in [SEND, "checkSendAbility"] {
        let reply = server
            .call_as(&poor.token, method, json!({"phone_number": PHONE}))
            .await;
        assert_eq!(reply.error(), "BALANCE_NOT_ENOUGH");
    }
}

#[tokio::test]
async fn numbers_that_no_leg_reaches() {
    let server = Server::start_with(Setup {
        mode: Mode::Production,
        inbox: false,
        ..Setup::default()
    })
    .await;
    for method in [SEND, "checkSendAbility"] {
        let reply = server.call(method, json!({"phone_number": PHONE})).await;
        assert_eq!(reply.error(), "PHONE_NUMBER_NOT_FOUND");
    }
    assert_eq!(server.balance().await, "10");
}

#[tokio::test]
async fn production_knows_neither_sandbox_numbers_nor_the_clock_nor_plain_http() {
    let server = Server::start_with(Setup {
        mode: Mode::Production,
        ..Setup::default()
    })
    .await;
    assert_eq!(
        server
            .call("checkSendAbility", json!({"phone_number": "+9996610001"}))
            .await
            .error(),
        "PHONE_NUMBER_INVALID"
    );
    assert_eq!(
        server
            .call("sandbox/clock", json!({"advance_seconds": 1}))
            .await
            .error(),
        "UNKNOWN_METHOD"
    );
    assert_eq!(
        send_error(&server, json!({"callback_url": "http://example.com/"})).await,
        "CALLBACK_URL_INVALID"
    );
    server
        .sent(json!({"phone_number": PHONE, "callback_url": "https://example.com/"}))
        .await;
}
