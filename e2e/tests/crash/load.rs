//! The load: callers that send, check, read, revoke and move the clock at the same time, on one server or on several by turns, and
//! write down what they were told, whatever becomes of the servers and their database.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use countersign_e2e::Api;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::proof::SCRIPTED;

/// Callers at the same time.
const CALLERS: usize = 12;
/// The code of sends that bring their own.
const OWN_CODE: &str = "471100";
/// How long a round may wait for its acknowledgements.
const DEADLINE: Duration = Duration::from_secs(30);
/// When a caller that was refused, or found nobody, comes again. Sooner than it is asked to: the first success counts.
const PAUSE: Duration = Duration::from_millis(20);

/// The delivery state, here, of a request whose number was checked and to which nothing was sent so far.
pub(crate) const NOT_SENT: &str = "not sent";

/// A send as it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) parameters: Value,
    pub(crate) key: Option<String>,
}

/// A request that was acknowledged, and the most that was told about it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) attempt: Attempt,
    /// The send's `result`.
    pub(crate) answer: Value,
    /// The last delivery status that was told; [`NOT_SENT`] where only the ability was checked.
    pub(crate) delivery: String,
    /// Whether it was ever told to be delivered: then that was reported too, whatever came after it.
    pub(crate) was_delivered: bool,
    /// The last verification status that was told and that is final.
    pub(crate) verification: Option<String>,
}

/// What callers were told.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// By request id.
    pub(crate) known: BTreeMap<String, Known>,
    /// Sends without an answer.
    pub(crate) unknown: Vec<Attempt>,
    /// The latest time on the account's clock that was told.
    pub(crate) clock: i64,
    /// Calls that were refused with `UNAVAILABLE`, or that no server took.
    pub(crate) refused: u64,
}

impl Record {
    pub(crate) fn absorb(&mut self, other: Self) {
        self.known.extend(other.known);
        self.unknown.extend(other.unknown);
        self.clock = self.clock.max(other.clock);
        self.refused += other.refused;
    }

    /// Asks again where no answer came and a key makes that safe; asks again where one came, and gets the same.
    pub(crate) async fn resolve(&mut self, nodes: &Nodes) -> Result<()> {
        for known in self.known.values() {
            let Some(key) = &known.attempt.key else { continue };
            let again = nodes.next().call_once(SEND, &known.attempt.parameters, key).await?;
            ensure!(
                again["result"] == known.answer,
                "{key} was answered {} and then {again}",
                known.answer
            );
        }
        let (keyed, others) = std::mem::take(&mut self.unknown)
            .into_iter()
            .partition::<Vec<_>, _>(|attempt| attempt.key.is_some());
        self.unknown = others;
        for attempt in keyed {
            let answer = send(&nodes.next(), &attempt).await?;
            self.know(attempt, &answer)?;
        }
        Ok(())
    }

    fn know(&mut self, attempt: Attempt, answer: &Value) -> Result<String> {
        ensure!(answer["ok"] == true, "a send was answered {answer}");
        let result = &answer["result"];
        ensure!(
            result["request_cost"].as_f64() == Some(0.01) && result["remaining_balance"].is_number(),
            "a send was answered {answer}"
        );
        let id = text(&result["request_id"])?;
        let known = Known {
            id: id.clone(),
            attempt,
            answer: result.clone(),
            delivery: delivery_of(result),
            was_delivered: false,
            verification: None,
        };
        ensure!(
            self.known.insert(id.clone(), known).is_none(),
            "two sends were told the id {id}"
        );
        Ok(id)
    }
}

impl Known {
    /// Takes in what an answer says; what was told before must not be taken back (P3).
    pub(crate) fn told(&mut self, status: &Value) -> Result<()> {
        let delivery = delivery_of(status);
        let forward = match self.delivery.as_str() {
            // A send that got no answer may have gone out or not.
            NOT_SENT => true,
            "sent" => delivery != NOT_SENT,
            "delivered" => matches!(delivery.as_str(), "delivered" | "read"),
            last => last == delivery,
        };
        ensure!(forward, "{} was {} and then {delivery}", self.id, self.delivery);
        self.was_delivered |= delivery == "delivered";
        self.delivery = delivery;
        let said = status["verification_status"]["status"].as_str();
        if let Some(last) = &self.verification {
            ensure!(
                said == Some(last),
                "the code of {} was {last} and then {said:?}",
                self.id
            );
        }
        if matches!(said, Some("code_valid" | "code_max_attempts_exceeded" | "expired")) {
            self.verification = said.map(ToOwned::to_owned);
        }
        Ok(())
    }
}

/// The servers, which callers ask by turns: what one acknowledged, another is asked about.
#[derive(Debug)]
pub(crate) struct Nodes {
    apis: Mutex<Vec<Arc<Api>>>,
    turn: AtomicUsize,
}

impl Nodes {
    pub(crate) fn new(apis: impl IntoIterator<Item = Api>) -> Arc<Self> {
        Arc::new(Self {
            apis: Mutex::new(apis.into_iter().map(Arc::new).collect()),
            turn: AtomicUsize::new(0),
        })
    }

    /// One has another address.
    pub(crate) fn replace(&self, index: usize, api: Api) {
        self.apis.lock().unwrap_or_else(PoisonError::into_inner)[index] = Arc::new(api);
    }

    /// The next one's turn.
    pub(crate) fn next(&self) -> Arc<Api> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let apis = self.apis.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&apis[turn % apis.len()])
    }
}

/// When a send that was acknowledged began, and when its answer came.
struct Acknowledged {
    began: Instant,
    answered: Instant,
}

/// A load that runs.
pub(crate) struct Load {
    callers: JoinSet<Result<Record>>,
    acknowledged: mpsc::UnboundedReceiver<Acknowledged>,
    shared: Arc<Shared>,
}

/// What all callers have in common.
struct Shared {
    nodes: Arc<Nodes>,
    sink: String,
    numbers: AtomicU64,
    over: AtomicBool,
}

impl Load {
    pub(crate) fn start(nodes: &Arc<Nodes>, sink: &str, first_number: u64) -> Self {
        let shared = Arc::new(Shared {
            nodes: Arc::clone(nodes),
            sink: sink.to_owned(),
            numbers: AtomicU64::new(first_number),
            over: AtomicBool::new(false),
        });
        let (told, acknowledged) = mpsc::unbounded_channel();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let caller = Caller {
                shared: Arc::clone(&shared),
                told: told.clone(),
                record: Record::default(),
            };
            callers.spawn(caller.run());
        }
        Self {
            callers,
            acknowledged,
            shared,
        }
    }

    /// Waits until so many sends were acknowledged.
    pub(crate) async fn acknowledged(&mut self, count: u32) -> Result<()> {
        let wait = async {
            for told in 0..count {
                let next = self.acknowledged.recv().await;
                next.with_context(|| format!("all callers ended after {told} acknowledgements"))?;
            }
            Ok(())
        };
        tokio::time::timeout(DEADLINE, wait)
            .await
            .with_context(|| format!("fewer than {count} acknowledgements in {DEADLINE:?}"))?
    }

    /// Waits for the first acknowledged send that began after that; how long after it that one's answer came.
    pub(crate) async fn success_after(&mut self, moment: Instant, deadline: Duration) -> Result<Duration> {
        let wait = async {
            while let Some(told) = self.acknowledged.recv().await {
                if told.began > moment {
                    return Ok(told.answered - moment);
                }
            }
            bail!("all callers ended")
        };
        tokio::time::timeout(deadline, wait)
            .await
            .with_context(|| format!("nothing was acknowledged for {deadline:?}"))?
    }

    /// What all callers were told, and the next free number. Each ends its call first.
    pub(crate) async fn end(mut self) -> Result<(u64, Record)> {
        self.shared.over.store(true, Ordering::Relaxed);
        let mut record = Record::default();
        while let Some(ended) = self.callers.join_next().await {
            record.absorb(ended??);
        }
        Ok((self.shared.numbers.load(Ordering::Relaxed), record))
    }
}

const SEND: &str = "sendVerificationMessage";
const CHECK: &str = "checkVerificationStatus";
const CHECK_ABILITY: &str = "checkSendAbility";
/// Nothing was done.
const UNAVAILABLE: &str = "UNAVAILABLE";
/// A database that was lost in the middle of a commit: nobody knows. The servers' logs say whether it was that.
const OUTCOME_UNKNOWN: &str = "INTERNAL_ERROR";
/// Kinds of requests, which take turns.
const KINDS: u64 = 9;

struct Caller {
    shared: Arc<Shared>,
    told: mpsc::UnboundedSender<Acknowledged>,
    record: Record,
}

impl Caller {
    /// Calls until the load is over.
    async fn run(mut self) -> Result<Record> {
        while !self.shared.over.load(Ordering::Relaxed) {
            let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
            let done = match number % KINDS {
                8 => self.check_ability_then_send(number).await,
                _ => self.send_and_go_on(number).await,
            };
            match done {
                Ok(()) => {}
                // The server is gone, or another one's turn is next.
                Err(error) if error.is::<reqwest::Error>() => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
        Ok(self.record)
    }

    async fn send_and_go_on(&mut self, number: u64) -> Result<()> {
        let attempt = self.attempt(number);
        let began = Instant::now();
        let answered = send(&self.shared.nodes.next(), &attempt).await;
        let Some(answer) = self.taken(answered, &attempt).await? else {
            return Ok(());
        };
        let id = self.record.know(attempt, &answer)?;
        self.acknowledged(began);
        self.go_on(number, &id).await
    }

    /// Two calls, one request, one fee.
    async fn check_ability_then_send(&mut self, number: u64) -> Result<()> {
        let phone = format!("+393{number:09}");
        let ability = Attempt {
            parameters: json!({ "phone_number": phone }),
            key: None,
        };
        let began = Instant::now();
        let answered = self.shared.nodes.next().call(CHECK_ABILITY, &ability.parameters).await;
        let Some(answer) = self.taken(answered, &ability).await? else {
            return Ok(());
        };
        let id = self.record.know(ability, &answer)?;
        let send = json!({
            "phone_number": phone,
            "request_id": id,
            "callback_url": format!("{}/reports/{number}", self.shared.sink),
            "payload": number.to_string(),
        });
        let answer = self.call(SEND, &send).await?;
        if is_undone(&answer) {
            return Ok(());
        }
        let result = &answer["result"];
        ensure!(
            result["request_id"] == id && result["remaining_balance"].is_null(),
            "a send on a checked number was answered {answer}"
        );
        let known = self.known(&id)?;
        known.told(result)?;
        known.answer = result.clone();
        self.acknowledged(began);
        Ok(())
    }

    fn acknowledged(&self, began: Instant) {
        let answered = Instant::now();
        // Nobody counts any more once the round is over.
        let _ = self.told.send(Acknowledged { began, answered });
    }

    /// The answer to what makes a request, where something was done. Where nothing was, a pause; where nobody knows, a note.
    async fn taken(&mut self, answered: Result<Value>, attempt: &Attempt) -> Result<Option<Value>> {
        match answered {
            Ok(answer) if answer["error"] == UNAVAILABLE => {}
            Ok(answer) if answer["error"] == OUTCOME_UNKNOWN => {
                self.record.unknown.push(attempt.clone());
                return Ok(None);
            }
            Ok(answer) => return Ok(Some(answer)),
            Err(error)
                if error
                    .downcast_ref::<reqwest::Error>()
                    .is_some_and(reqwest::Error::is_connect) => {}
            Err(error) => {
                self.record.unknown.push(attempt.clone());
                return Err(error);
            }
        }
        self.record.refused += 1;
        tokio::time::sleep(PAUSE).await;
        Ok(None)
    }

    fn attempt(&self, number: u64) -> Attempt {
        let phone = match number % KINDS {
            4 => SCRIPTED.to_owned(),
            _ => format!("+393{number:09}"),
        };
        let mut parameters = json!({
            "phone_number": phone,
            "callback_url": format!("{}/reports/{number}", self.shared.sink),
            "payload": number.to_string(),
        });
        match number % KINDS {
            1 | 6 => parameters["code"] = json!(OWN_CODE),
            2 => parameters["ttl"] = json!(30),
            _ => {}
        }
        Attempt {
            parameters,
            key: (number.is_multiple_of(3)).then(|| format!("send-{number}")),
        }
    }

    /// What follows on a send, on any server. An error of the connection says that one is gone; every other one is a failure.
    async fn go_on(&mut self, number: u64, id: &str) -> Result<()> {
        match number % KINDS {
            1 => self.check(id, OWN_CODE).await,
            3 => self.revoke(id).await,
            5 => self.read_and_check(id).await,
            6 => self.check(id, "000000").await,
            7 if number.is_multiple_of(4) => self.move_clock().await,
            7 => self.open_inbox(id).await,
            _ => Ok(()),
        }
    }

    async fn check(&mut self, id: &str, code: &str) -> Result<()> {
        let answer = self.call(CHECK, &json!({ "request_id": id, "code": code })).await?;
        if is_undone(&answer) {
            return Ok(());
        }
        self.known(id)?.told(&answer["result"])
    }

    async fn revoke(&mut self, id: &str) -> Result<()> {
        let answer = self
            .call("revokeVerificationMessage", &json!({ "request_id": id }))
            .await?;
        if is_undone(&answer) {
            return Ok(());
        }
        ensure!(answer["result"] == true, "a revocation was answered {answer}");
        let known = self.known(id)?;
        ensure!(
            known.delivery == "sent",
            "{id} was {} before its revocation",
            known.delivery
        );
        "revoked".clone_into(&mut known.delivery);
        known.verification = Some("expired".to_owned());
        Ok(())
    }

    /// Reads the message in the inbox, and enters the code that stands there.
    async fn read_and_check(&mut self, id: &str) -> Result<()> {
        let phone = self.known(id)?.attempt.parameters["phone_number"].clone();
        let api = self.shared.nodes.next();
        let read = api
            .client()
            .post(format!("{}/inbox/read", api.url()))
            .json(&json!({ "phone_number": phone }))
            .send()
            .await?;
        if read.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE {
            return Ok(());
        }
        let messages: Vec<Value> = read.json().await?;
        // Dispatch runs beside the answer: the message may not be there yet.
        let Some(message) = messages.into_iter().find(|message| message["request_id"] == *id) else {
            return Ok(());
        };
        ensure!(message["status"] == "read", "read, and yet {message}");
        "read".clone_into(&mut self.known(id)?.delivery);
        self.check(id, &text(&message["code"])?).await
    }

    /// Opens the inbox of the number, which takes the message; looks at one event only.
    async fn open_inbox(&mut self, id: &str) -> Result<()> {
        let phone = text(&self.known(id)?.attempt.parameters["phone_number"])?;
        let api = self.shared.nodes.next();
        let mut events = api
            .client()
            .get(format!("{}/inbox/events", api.url()))
            .query(&[("phone", phone)])
            .send()
            .await?;
        let _ = events.chunk().await?;
        Ok(())
    }

    /// Lets messages with a short life expire under load.
    async fn move_clock(&mut self) -> Result<()> {
        let answer = self.call("sandbox/clock", &json!({ "advance_seconds": 31 })).await?;
        if let Some(now) = answer["result"]["now"].as_i64() {
            self.record.clock = self.record.clock.max(now);
        }
        Ok(())
    }

    /// A call that must be answered with `ok`, unless the server is busy or gone.
    async fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        let answer = self.shared.nodes.next().call(method, parameters).await?;
        self.record.refused += u64::from(answer["error"] == UNAVAILABLE);
        if answer["ok"] != true && !is_undone(&answer) {
            bail!("{method} {parameters} was answered {answer}");
        }
        Ok(answer)
    }

    fn known(&mut self, id: &str) -> Result<&mut Known> {
        self.record.known.get_mut(id).context("what was told is written down")
    }
}

async fn send(api: &Api, attempt: &Attempt) -> Result<Value> {
    match &attempt.key {
        Some(key) => api.call_once(SEND, &attempt.parameters, key).await,
        None => api.call(SEND, &attempt.parameters).await,
    }
}

/// Whether a call did nothing, or perhaps nothing: its answer says no more.
fn is_undone(answer: &Value) -> bool {
    answer["error"] == UNAVAILABLE || answer["error"] == OUTCOME_UNKNOWN
}

fn delivery_of(status: &Value) -> String {
    let told = status["delivery_status"]["status"].as_str();
    told.unwrap_or(NOT_SENT).to_owned()
}

/// A string in an answer.
pub(crate) fn text(value: &Value) -> Result<String> {
    value
        .as_str()
        .map(ToOwned::to_owned)
        .with_context(|| format!("{value} instead of a text"))
}
