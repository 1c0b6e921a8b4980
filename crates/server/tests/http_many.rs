//! Ten thousand idle connections: the next caller is served beside them, and when they have gone nothing of them is left.
//! Their other ends live in a process of their own, since both ends together would exceed a usual limit on open files.
//!
//! This file has one real test, so that nobody else opens files in its process while it counts them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign_server::Mode;
use countersign_server::http::allow_open_files;
use countersign_server::settings::Settings;
use countersign_server::start::{RunningServer, start};

/// Ten thousand; fewer only where the system's limit on open files forbids it.
const WANTED: usize = 10_000;
/// With fewer than this the test would show nothing.
const LEAST: usize = 1_000;
const SERVER: &str = "COUNTERSIGN_TEST_SERVER";
const CONNECTIONS: &str = "COUNTERSIGN_TEST_CONNECTIONS";
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n";
const PATIENCE: Duration = Duration::from_mins(1);

/// The callers' process: it holds connections until its standard input ends.
#[test]
fn holds_connections() {
    let variable = |name| std::env::var(name).unwrap();
    // A part of the test below, which runs it in a process of its own; by itself it has nothing to do.
    let Ok(server) = std::env::var(SERVER) else { return };
    let server: SocketAddr = server.parse().unwrap();
    let count: usize = variable(CONNECTIONS).parse().unwrap();
    assert_eq!(allow_open_files(count), count);
    let held: Vec<TcpStream> = (0..count)
        .map(|number| {
            let mut stream = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
            // One half rests after a request, the other has said nothing or broken off in the middle.
            match number % 4 {
                0 | 1 => {
                    stream.write_all(REQUEST).unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut begin = [0; ANSWER.len()];
                    stream.read_exact(&mut begin).unwrap();
                    assert_eq!(begin, ANSWER);
                }
                2 => stream.write_all(&REQUEST[..20]).unwrap(),
                _ => {}
            }
            stream
        })
        .collect();
    println!("\nholding {}", held.len());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_leave_room_for_the_next_caller_and_nothing_behind() {
    let count = allow_open_files(WANTED);
    assert!(
        count >= LEAST,
        "the hard limit on open files leaves room for {count} connections only"
    );
    if count < WANTED {
        println!("only {count} connections: the hard limit on open files leaves no room for {WANTED}");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::defaults(Mode::Sandbox);
    settings.data_dir = dir.path().to_owned();
    settings.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    // None of them may be closed for its silence before all are there.
    settings.server.request_timeout = PATIENCE;
    let server = start(settings).await.unwrap();
    assert!(is_served(server.api_address).await);
    has_connections(&server, 0).await;
    let files_before = open_files();

    let mut callers = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holds_connections", "--nocapture"])
        .env(SERVER, server.api_address.to_string())
        .env(CONNECTIONS, count.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(callers.stdout.take().unwrap()).lines();
    let holding = tokio::task::spawn_blocking(move || {
        let holding = output.any(|line| line.unwrap().starts_with("holding"));
        (holding, output)
    });
    // Its output is kept open: it must not fail for want of a place to print its end.
    let (holding, output) = tokio::time::timeout(PATIENCE, holding).await.unwrap().unwrap();
    assert!(holding, "the callers' process failed");
    has_connections(&server, count).await;
    assert!(
        is_served(server.api_address).await,
        "nobody was served beside {count} idle connections"
    );

    drop(callers.stdin.take());
    let status = tokio::task::spawn_blocking(move || callers.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(status.success());
    drop(output);
    has_connections(&server, 0).await;
    assert!(is_served(server.api_address).await);
    has_connections(&server, 0).await;
    let left = open_files();
    assert!(left <= files_before, "{left} open files, {files_before} before");
    server.shutdown().await.unwrap();
}

async fn is_served(server: SocketAddr) -> bool {
    let asking = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(REQUEST).unwrap();
        let mut begin = [0; ANSWER.len()];
        stream.read_exact(&mut begin).unwrap();
        begin == ANSWER
    });
    asking.await.unwrap()
}

async fn has_connections(server: &RunningServer, count: usize) {
    let waiting = async {
        while server.connections() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let arrived = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(
        arrived.is_ok(),
        "{} connections instead of {count}",
        server.connections()
    );
}

/// How many files this process has open, where the system tells.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
