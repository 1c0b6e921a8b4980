//! Names that can't be looked up: whose they are, they delay; nobody else.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use countersign_core::{AccountId, ApiToken, CallbackUrl, Timestamp};
use countersign_server::workers::{Attempt, AttemptFailure, Network, Postman, ReportSettings};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use tokio::net::TcpStream;

use crate::sink::Sink;
use crate::support::quick;

/// Names that begin with `hung` never get an answer; all others lead to this host. Counts what it was asked.
#[derive(Default)]
struct Hanging {
    asked: Mutex<HashMap<String, usize>>,
}

impl Hanging {
    fn asked(&self) -> usize {
        self.asked.lock().unwrap().values().sum()
    }
}

impl Network for Hanging {
    fn look_up<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        *self.asked.lock().unwrap().entry(name.to_owned()).or_default() += 1;
        if name.starts_with("hung") {
            return std::future::pending().boxed();
        }
        std::future::ready(Ok(vec![IpAddr::from([127, 0, 0, 1])])).boxed()
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        TcpStream::connect(address).boxed()
    }
}

fn stage(attempt_timeout: Duration) -> (Arc<Hanging>, Postman) {
    let network = Arc::new(Hanging::default());
    let settings = ReportSettings {
        attempt_timeout,
        ..quick()
    };
    let postman = Postman::on(&settings, Arc::clone(&network) as Arc<dyn Network>).unwrap();
    (network, postman)
}

async fn attempt(postman: &Postman, account: i64, host: &str, port: u16) -> Attempt {
    let url = CallbackUrl::from_stored(format!("http://{host}:{port}/"));
    let token = ApiToken::new(AccountId::new(account).unwrap(), [3; 32]);
    let now = Timestamp::from_millis(1_800_000_000_000);
    postman.send(&url, Bytes::from_static(b"{}"), &token, now).await
}

#[tokio::test]
async fn names_of_one_account_that_hang_delay_no_report_of_another() {
    let (network, postman) = stage(Duration::from_millis(300));
    let sink = Sink::ok().await;
    let port = sink.address().port();
    // The second round comes after the first was given up, yet its look-ups still hang.
    for round in 0..2 {
        let hosts: Vec<String> = (0..600).map(|host| format!("hung{round}-{host}.example")).collect();
        let hung = join_all(hosts.iter().map(|host| attempt(&postman, 1, host, port)));
        let other = async {
            tokio::task::yield_now().await;
            attempt(&postman, 2, &format!("alive{round}.example"), port).await
        };
        let (hung, other) = tokio::join!(hung, other);
        assert_eq!(other.failure, None);
        let is_late = |attempt: &Attempt| matches!(attempt.failure, Some(AttemptFailure::Timeout(_)));
        assert!(hung.iter().all(is_late));
    }
    assert!(network.asked() <= 8 + 2, "{} look-ups", network.asked());
    assert_eq!(sink.count(), 2);
}

#[tokio::test]
async fn attempts_to_one_name_share_its_look_up_and_leave_room_for_other_names() {
    let (network, postman) = stage(Duration::from_millis(300));
    let sink = Sink::ok().await;
    let port = sink.address().port();
    let hung = join_all((0..100).map(|_| attempt(&postman, 1, "hung.example", port)));
    let (_, other) = tokio::join!(hung, attempt(&postman, 1, "alive.example", port));
    assert_eq!(other.failure, None);
    assert_eq!(network.asked(), 2);
}
