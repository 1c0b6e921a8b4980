//! Where reports may not go: every special range, in every form, through the real sending path on a network of the test's own,
//! which says what names lead to and notes each connection.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use countersign_core::{AccountId, ApiToken, CallbackUrl, Timestamp};
use countersign_server::workers::{AttemptFailure, Network, Postman, ReportSettings};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::net::TcpStream;

use crate::sink::{Reply, Sink};
use crate::support::quick;

/// Names lead where the test says, answer by answer; every connection is noted and goes to the sink instead.
struct Staged {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    connected: Mutex<Vec<SocketAddr>>,
    /// Addresses that nobody listens on.
    dead: Vec<IpAddr>,
    sink: SocketAddr,
}

impl Network for Staged {
    fn look_up<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        assert_eq!(name, "receiver.example");
        let answer = self.answers.lock().unwrap().pop_front();
        std::future::ready(answer.ok_or_else(|| io::Error::other("no such name"))).boxed()
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.connected.lock().unwrap().push(address);
        if self.dead.contains(&address.ip()) {
            return std::future::ready(Err(io::Error::from(io::ErrorKind::ConnectionRefused))).boxed();
        }
        TcpStream::connect(self.sink).boxed()
    }
}

struct Stage {
    network: Arc<Staged>,
    postman: Postman,
    sink: Sink,
}

impl Stage {
    /// What the name leads to, question by question, where private addresses are refused.
    async fn new(answers: &[&[&str]], dead: &[&str]) -> Self {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        // Each report has a connection of its own, so that each looks its name up.
        let sink = Sink::answering([Reply::Farewell]).await;
        let network = Arc::new(Staged {
            answers: Mutex::new(answers.iter().map(|answer| parse(answer)).collect()),
            connected: Mutex::default(),
            dead: parse(dead),
            sink: sink.address(),
        });
        let settings = ReportSettings {
            allow_private_addresses: false,
            allow_loopback: false,
            ..quick()
        };
        let postman = Postman::on(&settings, Arc::clone(&network) as Arc<dyn Network>).unwrap();
        Self { network, postman, sink }
    }

    async fn attempt(&self, url: &str) -> Result<(), AttemptFailure> {
        let url = CallbackUrl::from_stored(url.to_owned());
        let token = ApiToken::new(AccountId::new(7).unwrap(), [3; 32]);
        let now = Timestamp::from_millis(1_800_000_000_000);
        let attempt = self.postman.send(&url, Bytes::from_static(b"{}"), &token, now).await;
        attempt.failure.map_or(Ok(()), Err)
    }

    async fn refuses(&self, url: &str) {
        let refusal = self.attempt(url).await;
        let told = refusal.map_err(|failure| failure.to_string());
        let forbidden =
            "no connection: its address is private or local, which callbacks.allow_private_addresses would permit";
        assert_eq!(told, Err(forbidden.to_owned()), "{url}");
    }

    fn connected(&self) -> Vec<String> {
        let mut connected = self.network.connected.lock().unwrap();
        connected.drain(..).map(|address| address.to_string()).collect()
    }
}

/// One address at least of each range that reports may not go to, IPv4 first.
const FORBIDDEN: [(&str, &[&str]); 26] = [
    ("this network", &["0.0.0.0", "0.255.255.255"]),
    ("private", &["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"]),
    (
        "carrier-grade NAT",
        &["100.64.0.1", "100.100.100.200", "100.127.255.255"],
    ),
    ("loopback", &["127.0.0.1", "127.255.255.254"]),
    (
        "link-local and cloud metadata",
        &["169.254.0.1", "169.254.169.254", "169.254.170.2"],
    ),
    ("cloud metadata on a public address", &["168.63.129.16"]),
    ("protocol assignments", &["192.0.0.1", "192.0.0.192"]),
    ("documentation", &["192.0.2.1", "198.51.100.1", "203.0.113.1"]),
    ("6to4 relays", &["192.88.99.1"]),
    ("benchmarks", &["198.18.0.1", "198.19.255.255"]),
    ("multicast", &["224.0.0.1", "239.255.255.255"]),
    ("reserved and broadcast", &["240.0.0.1", "255.255.255.255"]),
    ("unspecified and loopback, IPv6", &["::", "::1"]),
    ("IPv4-compatible", &["::10.0.0.1", "::127.0.0.1"]),
    (
        "mapped",
        &[
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:100.64.0.1",
        ],
    ),
    ("NAT64", &["64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"]),
    ("NAT64 of one's own", &["64:ff9b:1::1"]),
    ("6to4", &["2002:a00:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1"]),
    ("Teredo", &["2001::1", "2001:0:7f00:1::"]),
    ("protocol assignments, IPv6", &["2001:20::1", "2001:1ff::1"]),
    ("documentation, IPv6", &["2001:db8::1", "3fff::1"]),
    ("discard", &["100::1"]),
    ("segment routing", &["5f00::1"]),
    (
        "unique local and cloud metadata",
        &["fc00::1", "fd00:ec2::254", "fdff::1"],
    ),
    ("link-local and site-local, IPv6", &["fe80::1", "febf::1", "fec0::1"]),
    ("multicast, IPv6", &["ff02::1", "ff0e::1"]),
];

#[tokio::test]
async fn no_special_range_is_called_by_its_address() {
    let stage = Stage::new(&[], &[]).await;
    for (range, addresses) in FORBIDDEN {
        for address in addresses {
            let host = if address.contains(':') {
                format!("[{address}]")
            } else {
                (*address).to_owned()
            };
            stage.refuses(&format!("https://{host}:8443/{}", range.len())).await;
            stage.refuses(&format!("http://{host}/")).await;
        }
    }
    assert!(stage.connected().is_empty());
}

#[tokio::test]
async fn no_special_range_is_called_by_a_name_that_leads_to_it() {
    let answers: Vec<&[&str]> = FORBIDDEN.iter().map(|(_, addresses)| *addresses).collect();
    let stage = Stage::new(&answers, &[]).await;
    for _ in FORBIDDEN {
        stage.refuses("https://receiver.example/").await;
    }
    assert!(stage.connected().is_empty());
}

#[tokio::test]
async fn an_address_is_judged_however_it_is_written() {
    let stage = Stage::new(&[], &[]).await;
    for host in [
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "127.1",
        "①②⑦.0.0.1",
        "[::FFFF:7F00:1]",
        "127.0.0.1.",
    ] {
        stage.refuses(&format!("http://{host}/")).await;
    }
    assert!(stage.connected().is_empty());
}

#[tokio::test]
async fn a_name_that_is_public_first_and_private_later_is_refused_at_the_second_report() {
    let stage = Stage::new(&[&["93.184.215.14"], &["10.0.0.1"], &["127.0.0.1"]], &[]).await;
    stage.attempt("http://receiver.example:8080/").await.unwrap();
    assert_eq!(
        stage.connected(),
        ["93.184.215.14:8080"],
        "the very address that was judged"
    );
    stage.refuses("http://receiver.example:8080/").await;
    stage.refuses("http://receiver.example:8080/").await;
    assert!(stage.connected().is_empty());
    assert_eq!(stage.sink.count(), 1);
}

#[tokio::test]
async fn of_a_mixed_answer_only_the_public_addresses_are_called_and_the_name_is_asked_for_once() {
    let mixed: &[&str] = &[
        "127.0.0.1",
        "2606:4700::1111",
        "10.0.0.1",
        "1.1.1.1",
        "::ffff:192.168.0.1",
    ];
    let stage = Stage::new(&[mixed], &["2606:4700::1111"]).await;
    stage.attempt("http://receiver.example/").await.unwrap();
    assert_eq!(stage.connected(), ["[2606:4700::1111]:80", "1.1.1.1:80"]);
    let again = stage.attempt("http://receiver.example/").await;
    assert_eq!(
        again,
        Err(AttemptFailure::Connect("no such name".into())),
        "nothing of the answer is kept"
    );
}

#[tokio::test]
async fn public_addresses_are_called_in_any_form() {
    let stage = Stage::new(&[], &[]).await;
    for host in [
        "1.1.1.1",
        "100.63.255.255",
        "172.32.0.1",
        "[2606:4700::1111]",
        "[::ffff:1.1.1.1]",
        "[2002:101:101::1]",
    ] {
        stage.attempt(&format!("http://{host}/")).await.unwrap();
    }
    assert_eq!(stage.connected().len(), 6);
}

#[tokio::test]
async fn in_production_no_report_goes_to_this_machine() {
    let settings = ReportSettings {
        allow_private_addresses: false,
        allow_loopback: false,
        ..quick()
    };
    let strict = Postman::new(&settings).unwrap();
    let sink = Sink::ok().await;
    let token = ApiToken::new(AccountId::new(7).unwrap(), [3; 32]);
    // An address, the same one in other clothes, and a name that leads to it.
    for host in [
        "127.0.0.1",
        "0x7f000001",
        "[::ffff:127.0.0.1]",
        "localhost",
        "LOCALHOST",
    ] {
        let url = CallbackUrl::from_stored(format!("http://{host}:{}/", sink.address().port()));
        let attempt = strict
            .send(&url, Bytes::from_static(b"{}"), &token, Timestamp::default())
            .await;
        let told = attempt.failure.unwrap().to_string();
        assert!(told.contains("private or local"), "{host}: {told}");
    }
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn the_sandbox_calls_its_own_machine_and_no_private_network() {
    let addresses = ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "224.0.0.1"];
    let answers: Vec<&[&str]> = addresses.iter().map(std::slice::from_ref).collect();
    let mut stage = Stage::new(&answers, &[]).await;
    let settings = ReportSettings {
        allow_private_addresses: false,
        allow_loopback: true,
        ..quick()
    };
    stage.postman = Postman::on(&settings, Arc::clone(&stage.network) as Arc<dyn Network>).unwrap();
    for address in addresses {
        let allowed = stage.attempt("http://receiver.example/").await.is_ok();
        assert_eq!(allowed, ["127.0.0.1", "::1"].contains(&address), "{address}");
    }
}
