//! `countersign reports`, as an account's owner and as the operator.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Sandbox, run};

const DEADLINE: Duration = Duration::from_mins(1);
const OWNER: &str = "+9996600000";

/// A receiver of reports that answers in turn, and the last answer for ever; it tells of each request that it answered.
fn receiver(statuses: &'static [u16]) -> (String, Receiver<u16>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, answered) = mpsc::channel();
    std::thread::spawn(move || {
        let mut count = 0;
        // Ends with the test's process.
        while let Ok((mut stream, _)) = listener.accept() {
            let status = *statuses.get(count).or(statuses.last()).unwrap();
            count += 1;
            // A report's head and body come in one piece or two, and fit the buffer.
            let mut seen = Vec::new();
            let mut buffer = [0; 4096];
            while !seen.ends_with(b"}") {
                match stream.read(&mut buffer) {
                    Ok(read @ 1..) => seen.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\nconnection: close\r\n\r\nheard");
            if stream.write_all(answer.as_bytes()).is_ok() && sender.send(status).is_err() {
                return;
            }
        }
    });
    (url, answered)
}

/// Asks until an answer is as wanted: an attempt is noted in the books after its receiver has seen it.
fn until(mut ask: impl FnMut() -> Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "still {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lets all pending reports be lost, as the last retry does after a day.
fn lose_all(sandbox: &Sandbox) {
    let path = sandbox.place.path().join("countersign-data/countersign.db");
    let database = rusqlite::Connection::open(path).unwrap();
    database.busy_timeout(DEADLINE).unwrap();
    let lost = "UPDATE report SET state = 2, due_at = NULL, finished_at = made_at WHERE state = 0";
    assert!(database.execute(lost, []).unwrap() > 0);
}

fn refused_send(sandbox: &Sandbox, url: &str, answered: &Receiver<u16>) -> String {
    let sent = sandbox.json(&["send", "+9996610002", "--callback-url", url]);
    assert_eq!(answered.recv_timeout(DEADLINE).unwrap(), 500);
    let id = format!("{}-1", sent["request_id"].as_str().unwrap());
    until(
        || sandbox.json(&["reports", "show", &id]),
        |shown| shown["attempt_count"] == 1,
    );
    id
}

#[test]
fn reports_are_listed_shown_and_redelivered() {
    let sandbox = Sandbox::start();
    let empty = sandbox.run(["reports", "list"]);
    assert!(empty.stdout.contains("--callback-url"), "{empty:?}");
    let (url, answered) = receiver(&[500, 200]);
    let id = refused_send(&sandbox, &url, &answered);

    let list = sandbox.json(&["reports", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(
        (&list[0]["report_id"], &list[0]["state"]),
        (&id.clone().into(), &"pending".into())
    );
    let people = sandbox.run(["reports", "list"]);
    for shown in [&*id, "○ pending", "127.0.0.1:", "Attempts", "in "] {
        assert!(people.stdout.contains(shown), "{shown:?} is missing: {people:?}");
    }
    let detail = sandbox.run(["reports", "show", &id]);
    for shown in ["✗ answered 500 instead of 200", "\"delivered\"", "Body", &url] {
        assert!(detail.stdout.contains(shown), "{shown:?} is missing: {detail:?}");
    }
    sandbox
        .run(["reports", "redeliver", &id])
        .failed_with(&["isn't lost", "pending"]);

    lose_all(&sandbox);
    assert_eq!(
        sandbox.json(&["reports", "list", "--state", "lost"])[0]["report_id"],
        id
    );
    assert_eq!(sandbox.json(&["reports", "redeliver", &id])["state"], "pending");
    assert_eq!(answered.recv_timeout(DEADLINE).unwrap(), 200);
    let acknowledged = ["reports", "list", "--state", "acknowledged"];
    until(|| sandbox.json(&acknowledged), |list| list[0]["report_id"] == id);
    let none = sandbox.run(["reports", "list", "--state", "lost"]);
    assert_eq!(none.stdout, "No report is lost.\n");
}

#[test]
fn all_lost_reports_go_again_at_once() {
    let sandbox = Sandbox::start();
    let (url, answered) = receiver(&[500, 500, 200]);
    for _ in 0..2 {
        refused_send(&sandbox, &url, &answered);
    }
    lose_all(&sandbox);
    let done = sandbox.run(["reports", "redeliver", "--lost"]);
    assert_eq!(done.stdout, "2 lost reports go again.\n", "{done:?}");
    for _ in 0..2 {
        assert_eq!(answered.recv_timeout(DEADLINE).unwrap(), 200);
    }
    assert_eq!(sandbox.json(&["reports", "redeliver", "--lost"])["redelivered"], 0);
}

#[test]
fn an_operator_sees_an_accounts_reports_without_their_contents() {
    let sandbox = Sandbox::start();
    let (url, answered) = receiver(&[500, 200]);
    let id = refused_send(&sandbox, &url, &answered);
    let mut command = sandbox.place.command(["reports", "list", "--account", OWNER, "--json"]);
    assert_eq!(run(&mut command).json()[0]["report_id"], id, "no token is needed");
    let shown = sandbox.run(["reports", "show", &id, "--account", OWNER]);
    assert!(
        shown.stdout.contains("answered 500") && shown.stdout.contains("127.0.0.1"),
        "{shown:?}"
    );
    for secret in ["Body", "/hook", "9996610002"] {
        assert!(!shown.stdout.contains(secret), "{secret} is in {shown:?}");
    }
    lose_all(&sandbox);
    let again = sandbox.json(&["reports", "redeliver", "--lost", "--account", OWNER]);
    assert_eq!(again["redelivered"], 1);
    assert_eq!(answered.recv_timeout(DEADLINE).unwrap(), 200);
}

#[test]
fn a_ping_says_whether_a_report_would_arrive() {
    let sandbox = Sandbox::start();
    let (url, _answered) = receiver(&[200, 404]);
    let well = sandbox.run(["reports", "ping", &url]);
    assert_eq!(well.exit, 0, "{well:?}");
    for shown in ["✓ acknowledged", "heard", " ms", &url] {
        assert!(well.stdout.contains(shown), "{shown:?} is missing: {well:?}");
    }
    let badly = sandbox.run(["reports", "ping", &url]);
    assert_eq!(badly.exit, 1, "{badly:?}");
    assert!(badly.stdout.contains("✗ answered 404 instead of 200"), "{badly:?}");
    assert!(badly.stderr.contains("answer status 200"), "{badly:?}");
    sandbox
        .run(["reports", "ping", "nonsense"])
        .failed_with(&["callback URL"]);
}

#[test]
fn who_asks_without_a_token_is_told_how() {
    let sandbox = Sandbox::start();
    let mut command = sandbox.place.command(["reports", "list"]);
    run(&mut command).failed_with(&["--token", "COUNTERSIGN_TOKEN", "--account"]);
    sandbox
        .run(["reports", "list", "--token", "wrong"])
        .failed_with(&["API token that came from --token"]);
    sandbox
        .run(["reports", "show", "nonsense"])
        .failed_with(&["no delivery report nonsense", "reports list"]);
    let both = sandbox.run(["reports", "list", "--token", "x", "--account", OWNER]);
    assert_eq!(both.exit, 2, "{both:?}");
    assert_eq!(sandbox.run(["reports", "redeliver"]).exit, 2);
}
