//! A backlog that a slow channel takes minutes for, on two real nodes with the times of production: as long as its node lives, nobody else
//! touches it, however long it waits; once that node is killed, the other has it within half a minute, and no message is lost.
//!
//! It takes a little over two minutes, in which it mostly waits.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_channels::testing::smsc::Smsc;
use countersign_core::Credits;
use countersign_e2e::{Api, Server, Site, site};
use countersign_store::testing;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const MESSAGES: usize = 3_000;
/// As fast as the channel lets them out: all of them take 100 s.
const A_SECOND: u32 = 30;
/// How many a node hands over at once: so many may have gone out, at most, that the books don't know of when it is killed.
const WINDOW: usize = 10;
/// How many have arrived when the first node is killed: by then the rest has waited for 50 s.
const BEFORE_THE_KILL: usize = 1_500;
/// Within this a dead node's work is taken over, and what waits longer in a healthy one is not.
const TAKEOVER: Duration = Duration::from_secs(30);
/// Callers at the same time.
const CALLERS: usize = 24;
/// What one message costs.
const FEE: Credits = Credits::from_micros(10_000);
/// The sandbox account's first credit, and what the test adds.
const PURCHASES: usize = 2;

/// What messages name as their source: so the message centre knows which node sent them.
const FIRST: &str = "first";
const SECOND: &str = "second";

#[tokio::test]
async fn a_backlog_stays_with_its_node_while_that_lives_and_goes_on_elsewhere_once_it_is_dead() -> Result<()> {
    if std::env::var_os("COUNTERSIGN_TEST_POSTGRES").is_none() {
        println!("COUNTERSIGN_TEST_POSTGRES names no server: not tried");
        return Ok(());
    }
    let database = testing::new_database(&format!("t_{}_backlog", std::process::id()))?;
    let site = Site::new(&database)?;
    let smsc = Smsc::start(json!({})).await?;
    let mut first = start(&site, FIRST, smsc.port())?;
    let mut second = start(&site, SECOND, smsc.port())?;
    let told = backlog(&mut first, &mut second, smsc).await;
    let logs = || format!("the first log:\n{}\nthe second:\n{}", first.log(), second.log());
    println!("{}", told.with_context(logs)?);
    Ok(())
}

/// A node with nothing of its own but the name that its messages bear. None of its times is shortened.
fn start(site: &Site, name: &str, port: u16) -> Result<Server> {
    let configuration = format!(
        r#"
[channels.sms]
kind = "smpp"
host = "127.0.0.1"
port = {port}
system_id = "countersign"
password = "secret"
source = "{name}"
window = {WINDOW}
messages_per_second = {A_SECOND}

[routes.main]
legs = ["sms"]
"#
    );
    Server::start(site.configured_node(name, &configuration)?)
}

async fn backlog(first: &mut Server, second: &mut Server, smsc: Smsc) -> Result<String> {
    first.cli_json(["account", "credit", site::OWNER, "1000"])?;
    let credit = balance(first)?;
    let mut arrivals = Arrivals::of(smsc);
    let began = Instant::now();
    let mut callers = send_all(&first.api()?);

    // Read all the while: a message centre that nobody listens to would stand still.
    arrivals.until(BEFORE_THE_KILL).await?;
    let waited = began.elapsed();
    let mut sent = 0;
    while let Some(ended) = callers.try_join_next() {
        sent += ended??;
    }
    ensure!(sent == MESSAGES, "only {sent} are in the books after {waited:?}");
    ensure!(waited > TAKEOVER, "the backlog took {waited:?} alone");
    ensure!(arrivals.twice.is_empty(), "{:?} arrived twice", arrivals.twice);
    let strangers = arrivals.of_node(SECOND);
    ensure!(
        strangers == 0,
        "{strangers} of a healthy node were sent by the other one"
    );
    ensure!(
        !second.log().contains("a node is dead"),
        "a healthy node was taken for dead"
    );

    first.kill9()?;
    let killed_at = Instant::now();
    arrivals.first_of(SECOND).await?;
    let took = killed_at.elapsed();
    ensure!(took <= TAKEOVER, "a dead node's backlog went on after {took:?}");

    arrivals.until(MESSAGES).await?;
    let all_after = began.elapsed();
    ensure!(
        second.log().contains("a node is dead"),
        "the other node went on without a word"
    );
    let audit = second.cli_json(["audit"])?;
    ensure!(
        audit["ok"] == true && audit["requests"] == MESSAGES && audit["entries"] == PURCHASES + MESSAGES,
        "{audit}"
    );
    let due = Credits::from_micros(FEE.micros() * i64::try_from(MESSAGES)?);
    let left = balance(second)?;
    ensure!(left == credit - due, "of {credit} {left} is left");

    // What was under way is over by its end; nothing came after the last one.
    let status = second.terminate()?;
    ensure!(status.success(), "the end was {status}");
    let twice = arrivals.end().await?;
    Ok(format!(
        "{BEFORE_THE_KILL} arrived in {waited:.1?}, none twice and none from the healthy neighbour; after the kill the first came in \
         {took:.1?}; all {MESSAGES} in {all_after:.1?}, {twice} of them twice"
    ))
}

fn balance(server: &Server) -> Result<Credits> {
    let account = server.cli_json(["account", "show", site::OWNER])?;
    Credits::parse(&account["balance"].to_string()).with_context(|| format!("the balance of {account}"))
}

/// Sends all messages, each to a number of its own; each caller says how many it had acknowledged.
fn send_all(api: &Api) -> JoinSet<Result<usize>> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let api = api.clone();
        callers.spawn(async move {
            let mut sent = 0;
            for number in (caller..MESSAGES).step_by(CALLERS) {
                let parameters = json!({ "phone_number": format!("+39347{number:07}") });
                let answer = api.call("sendVerificationMessage", &parameters).await?;
                ensure!(answer["ok"] == true, "a send was answered {answer}");
                sent += 1;
            }
            Ok(sent)
        });
    }
    callers
}

/// What the message centre got.
struct Arrivals {
    smsc: Smsc,
    /// Which node brought it, by number, and as the how-manieth message of that node.
    by_number: HashMap<String, (String, usize)>,
    of_nodes: HashMap<String, usize>,
    twice: Vec<String>,
}

impl Arrivals {
    fn of(smsc: Smsc) -> Self {
        Self {
            smsc,
            by_number: HashMap::new(),
            of_nodes: HashMap::new(),
            twice: Vec::new(),
        }
    }

    fn of_node(&self, node: &str) -> usize {
        self.of_nodes.get(node).copied().unwrap_or(0)
    }

    /// Waits for one more, which an error is where none comes for half a minute; answers who sent it.
    async fn one_more(&mut self) -> Result<String> {
        let submit = self.smsc.event("submit").await?;
        self.count(&submit)
    }

    /// A message may come twice where the first node had handed it over and was killed before it was in the books: once from either node, and
    /// of the first only the last ones that it could have had under way.
    fn count(&mut self, submit: &Value) -> Result<String> {
        let text = |field: &str| submit[field].as_str().with_context(|| format!("{field} of {submit}"));
        let (number, node) = (text("to")?.to_owned(), text("from")?.to_owned());
        let place = self.of_nodes.entry(node.clone()).or_default();
        *place += 1;
        let here = (node.clone(), *place);
        if let Some((before, place)) = self.by_number.insert(number.clone(), here) {
            ensure!(
                before == FIRST && node == SECOND,
                "{number} came from {before} and then from {node}"
            );
            let later = self.of_node(FIRST) - place;
            ensure!(
                later < WINDOW,
                "{number} came twice, although the first node sent {later} others after it"
            );
            self.twice.push(number);
        }
        Ok(node)
    }

    /// Waits until so many different ones are there.
    async fn until(&mut self, count: usize) -> Result<()> {
        while self.by_number.len() < count {
            let node = self.one_more().await;
            node.with_context(|| format!("{} have arrived", self.by_number.len()))?;
        }
        Ok(())
    }

    /// Waits for the first of a node.
    async fn first_of(&mut self, node: &str) -> Result<()> {
        while self.one_more().await? != node {}
        Ok(())
    }

    /// Takes what came last; how many came twice.
    async fn end(mut self) -> Result<usize> {
        // Whatever it got before has been told by the time that this is done.
        self.smsc.tell(json!({ "do": "release" })).await?;
        for _ in 0..self.smsc.left("submit") {
            self.one_more().await?;
        }
        ensure!(self.by_number.len() == MESSAGES, "others came than were sent");
        Ok(self.twice.len())
    }
}
