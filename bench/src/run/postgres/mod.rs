//! `run --case postgres`: sends on PostgreSQL by one node and by two, for many accounts and for one, in turns with pgbench's simple
//! update on the same cluster at as many connections as one node's writers have; and what a send costs the database.
//! The cluster is the benchmark's own and goes with it.

mod cluster;
mod cost;
mod nodes;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use super::cases::Workbench;
use super::processes::ProcessTime;
use super::report::{Figure, Target};
use super::say;
use crate::numbers::{float, largest, median, smallest};
use cluster::{Cluster, Programs};
use cost::Counters;
use nodes::{Accounts, Course, Node, drive};

/// How long each course runs before anything is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// After a load the next one begins once nodes and database have used less than this of a look's time.
const QUIET_SHARE: f64 = 0.1;
const LOOK: Duration = Duration::from_millis(200);
/// Waiting for quiet ends here: what still runs then (a vacuum) may take longer than a round.
const QUIET_WITHIN: Duration = Duration::from_secs(5);
/// What a node that ended had under way is another's by then: hundreds of thousands of messages, after a load.
const TAKEN_OVER_WITHIN: Duration = Duration::from_mins(2);

const ONE_MANY: Course = course(1, true);
const ONE_HOT: Course = course(1, false);
const TWO_MANY: Course = course(2, true);
const TWO_HOT: Course = course(2, false);

const fn course(nodes: usize, many_accounts: bool) -> Course {
    Course { nodes, many_accounts }
}

/// Options of the case `postgres`.
#[derive(Debug, Args)]
pub(super) struct PostgresOptions {
    /// Case `postgres`: connections that one node's writers have, and clients of pgbench.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    lanes: u32,
    /// Case `postgres`: accounts of the mix.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    accounts: u32,
    /// Case `postgres`: pgbench's scale, in hundreds of thousands of rows.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pgbench_scale: u32,
    /// Case `postgres`: where the nodes keep their books. On SQLite there is one node, beside the same pgbench.
    #[arg(long, value_enum, default_value_t = Backend::Postgres, value_name = "BACKEND")]
    books: Backend,
}

/// Where the nodes keep their books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    Postgres,
    Sqlite,
}

/// One round of one contestant.
#[derive(Debug, Clone, Copy)]
struct Turn {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    nodes_us: f64,
    database_us: f64,
    client_us: f64,
    /// Sends in one commit.
    batch: f64,
}

/// Who takes turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Pgbench,
    Nodes(Course),
}

/// Everybody's turns, by contestant.
struct Turns(Vec<(Contestant, Vec<Turn>)>);

impl Turns {
    fn of(&self, contestant: Contestant) -> &[Turn] {
        let found = self.0.iter().find(|(known, _)| *known == contestant);
        found.map_or(&[], |(_, turns)| turns)
    }

    /// The rounds' own ratios.
    fn ratios(&self, first: Contestant, second: Contestant) -> Vec<f64> {
        let pairs = self.of(first).iter().zip(self.of(second));
        pairs.map(|(first, second)| first.rate / second.rate).collect()
    }

    fn ratio(&self, name: &'static str, target: Target, first: Course, second: Contestant) -> Figure {
        let first = Contestant::Nodes(first);
        let ratios = self.ratios(first, second);
        Figure {
            name,
            target,
            value: median(&ratios),
            unit: "",
            detail: format!(
                "{}; ratios {:.2} to {:.2}",
                summary(self.of(first)),
                smallest(&ratios),
                largest(&ratios)
            ),
        }
    }
}

fn summary(turns: &[Turn]) -> String {
    let all = |value: fn(&Turn) -> f64| turns.iter().map(value).collect::<Vec<_>>();
    let rates = all(|turn| turn.rate);
    let of_nodes = turns.iter().any(|turn| turn.nodes_us > 0.0);
    let nodes = if of_nodes {
        format!("nodes {:.0} µs, ", median(&all(|turn| turn.nodes_us)))
    } else {
        String::new()
    };
    let batches = if of_nodes {
        format!("; {:.0} in a commit", median(&all(|turn| turn.batch)))
    } else {
        String::new()
    };
    let latency = if turns.iter().any(|turn| turn.p99_ms > 0.0) {
        format!(
            "; p50 {:.1} ms, p99 {:.1} ms",
            median(&all(|turn| turn.p50_ms)),
            median(&all(|turn| turn.p99_ms))
        )
    } else {
        String::new()
    };
    format!(
        "{:.0}/s ({:.0} to {:.0}); CPU each: {nodes}database {:.0} µs, client {:.0} µs{latency}{batches}",
        median(&rates),
        smallest(&rates),
        largest(&rates),
        median(&all(|turn| turn.database_us)),
        median(&all(|turn| turn.client_us))
    )
}

/// The cluster, the nodes on it, and the accounts that they serve.
struct Arena<'a> {
    bench: &'a Workbench<'a>,
    options: &'a PostgresOptions,
    cluster: Cluster,
    nodes: Vec<Node>,
    accounts: Accounts,
    /// Loads so far: each has numbers of its own.
    drives: u64,
    /// Answers that wrk counted so far.
    sends: u64,
}

impl Workbench<'_> {
    /// Sends on PostgreSQL beside pgbench.
    pub(super) fn postgres(&self) -> Result<Vec<Figure>> {
        let Some(programs) = Programs::find() else {
            bail!("PostgreSQL is not installed: `apt-get install postgresql` (Debian, Ubuntu)");
        };
        say(&format!("  {}", programs.version()?))?;
        let mut arena = Arena::open(self, programs)?;
        let turns = arena.take_turns()?;
        let mut figures = arena.figures(&turns);
        if arena.options.books == Backend::Postgres {
            figures.push(arena.leave_one_node()?);
            figures.extend(arena.cost("database growth for a send, many accounts", true)?);
            figures.extend(arena.cost("database growth for a send, one account", false)?);
        }
        arena.close()?;
        Ok(figures)
    }
}

impl<'a> Arena<'a> {
    fn open(bench: &'a Workbench<'a>, programs: Programs) -> Result<Self> {
        let options = &bench.options.postgres;
        say("  making a cluster …")?;
        let cluster = Cluster::start(programs, &bench.directory.join("cluster"), options.pgbench_scale)?;
        let database = match options.books {
            Backend::Postgres => {
                let file = bench.directory.join("nodes.toml");
                let settings = format!("[database]\nlanes = {}\n", options.lanes);
                fs::write(&file, settings).context("writing the nodes' settings")?;
                let file = file.display().to_string();
                vec!["--database".to_owned(), cluster.url(), "--config".to_owned(), file]
            }
            Backend::Sqlite => Vec::new(),
        };
        let first = bench.directory.join("node-1");
        let mut nodes = vec![Node::first(&bench.server, first, &database, bench.options.wrk_threads)?];
        if options.books == Backend::Postgres {
            nodes.push(nodes[0].another(&bench.server, bench.directory.join("node-2"))?);
        }
        say(&format!("  making {} accounts …", options.accounts))?;
        let tokens = bench.directory.join("tokens");
        let accounts = bench
            .runtime
            .block_on(Accounts::make(&nodes[0], options.accounts, tokens))?;
        Ok(Self {
            bench,
            options,
            cluster,
            nodes,
            accounts,
            drives: 0,
            sends: 0,
        })
    }

    /// All contestants, each first in another round.
    fn take_turns(&mut self) -> Result<Turns> {
        let mut contestants = vec![Contestant::Pgbench];
        let courses = [ONE_MANY, ONE_HOT, TWO_MANY, TWO_HOT];
        let possible = courses.iter().filter(|course| course.nodes <= self.nodes.len());
        contestants.extend(possible.map(|course| Contestant::Nodes(*course)));
        for contestant in &contestants {
            self.turn(*contestant, WARM_UP)?;
        }
        let mut turns = Turns(contestants.iter().map(|contestant| (*contestant, Vec::new())).collect());
        let length = Duration::from_secs(self.bench.options.seconds);
        for round in 0..usize::try_from(self.bench.options.rounds)? {
            let mut rates = Vec::new();
            for place in 0..contestants.len() {
                let next = (place + round) % contestants.len();
                let turn = self.turn(contestants[next], length)?;
                turns.0[next].1.push(turn);
                rates.push(format!("{} {:.0}/s", text(contestants[next]), turn.rate));
            }
            say(&format!("  round {}: {}", round + 1, rates.join(" | ")))?;
        }
        Ok(turns)
    }

    fn turn(&mut self, contestant: Contestant, length: Duration) -> Result<Turn> {
        self.wait_for_quiet()?;
        let before = self.spent()?;
        let batches_before = self.batches()?;
        let (operations, rate, p50_us, p99_us) = match contestant {
            Contestant::Pgbench => {
                let measured = self.cluster.pgbench(self.options.lanes, length)?;
                (measured.transactions, measured.rate, 0.0, 0.0)
            }
            Contestant::Nodes(course) => {
                let round = self.drive(course, length)?;
                (round.requests, round.rate(), round.p50_us, round.p99_us)
            }
        };
        let after = self.spent()?;
        let batches = self.batches()? - batches_before;
        let each_us = |part: usize| (after[part] - before[part]) * 1e6 / float(operations.max(1));
        Ok(Turn {
            rate,
            p50_ms: p50_us / 1_000.0,
            p99_ms: p99_us / 1_000.0,
            nodes_us: if contestant == Contestant::Pgbench {
                0.0
            } else {
                each_us(0)
            },
            database_us: each_us(1),
            client_us: each_us(2),
            batch: float(operations) / float(batches.max(1)),
        })
    }

    /// Batches that all nodes committed so far, by their markers.
    fn batches(&self) -> Result<u64> {
        if self.options.books == Backend::Sqlite {
            return Ok(0);
        }
        let [batches] = self.cluster.numbers(
            cluster::BOOKS,
            "SELECT coalesce(sum(number), 0)::bigint FROM batch_marker",
        )?;
        Ok(batches)
    }

    fn drive(&mut self, course: Course, length: Duration) -> Result<super::wrk::Round> {
        let nodes: Vec<&Node> = self.nodes.iter().take(course.nodes).collect();
        let connections = self.bench.options.connections;
        let round = drive(
            &nodes,
            &self.accounts,
            course.many_accounts,
            connections,
            length,
            &mut self.drives,
        )?;
        self.sends += round.requests;
        Ok(round)
    }

    /// Processor seconds so far: of the nodes, of the database, of clients that ended.
    fn spent(&self) -> Result<[f64; 3]> {
        let nodes = self.nodes.iter().map(|node| node.server.cpu_seconds());
        Ok([
            nodes.sum::<Result<f64>>()?,
            self.cluster.cpu_seconds()?,
            ProcessTime::of("self")?.reaped_seconds,
        ])
    }

    /// Waits until what the load before left behind is done: messages to hand over, pages to write.
    fn wait_for_quiet(&self) -> Result<()> {
        let give_up_at = Instant::now() + QUIET_WITHIN;
        let busy = |[nodes, database, _]: [f64; 3]| nodes + database;
        let mut before = busy(self.spent()?);
        while Instant::now() < give_up_at {
            std::thread::sleep(LOOK);
            let after = busy(self.spent()?);
            if after - before < QUIET_SHARE * LOOK.as_secs_f64() {
                break;
            }
            before = after;
        }
        Ok(())
    }

    fn figures(&self, turns: &Turns) -> Vec<Figure> {
        let pgbench = Contestant::Pgbench;
        let yardstick = turns.of(pgbench);
        let rates: Vec<f64> = yardstick.iter().map(|turn| turn.rate).collect();
        let mut figures = vec![
            Figure {
                name: "pgbench's simple update (-N, prepared), on the same PostgreSQL",
                target: Target::None,
                value: median(&rates),
                unit: "/s",
                detail: format!(
                    "{} clients, as many as one node has writers; scale {}; {}",
                    self.options.lanes,
                    self.options.pgbench_scale,
                    summary(yardstick)
                ),
            },
            turns.ratio(
                "durable send, one node, many accounts, of pgbench's transactions",
                Target::AtLeast(4.0),
                ONE_MANY,
                pgbench,
            ),
            turns.ratio(
                "durable send, one node, one account, of pgbench's transactions",
                Target::AtLeast(3.0),
                ONE_HOT,
                pgbench,
            ),
        ];
        if self.nodes.len() > 1 {
            let beside_one = |name, target, two, one| turns.ratio(name, target, two, Contestant::Nodes(one));
            figures.extend([
                beside_one(
                    "durable send, two nodes, many accounts, of one node",
                    Target::None,
                    TWO_MANY,
                    ONE_MANY,
                ),
                beside_one(
                    "durable send, two nodes, one account, of one node",
                    Target::AtLeast(1.0),
                    TWO_HOT,
                    ONE_HOT,
                ),
            ]);
        }
        figures
    }

    /// Ends all nodes but the first, and waits until it has taken over what they had under way: how fast that is, and it doesn't count as a
    /// later send's cost.
    fn leave_one_node(&mut self) -> Result<Figure> {
        let left = "SELECT count(*) FROM request WHERE wake_at IS NOT NULL AND owner > (SELECT min(epoch) FROM node)";
        let [left] = self.cluster.numbers(cluster::BOOKS, left)?;
        for node in self.nodes.drain(1..) {
            node.server.stop()?;
        }
        let began = Instant::now();
        while self.cluster.numbers::<1>(cluster::BOOKS, "SELECT count(*) FROM node")? != [1] {
            ensure!(
                began.elapsed() < TAKEN_OVER_WITHIN,
                "the node that is left has not taken over"
            );
            std::thread::sleep(LOOK);
        }
        let seconds = began.elapsed().as_secs_f64();
        Ok(Figure {
            name: "takeover of what a node leaves when it ends",
            target: Target::None,
            value: float(left) / seconds,
            unit: "messages/s",
            detail: format!(
                "{left} messages that wait for something, in {seconds:.1} s; a node that is killed is missed after 25 s"
            ),
        })
    }

    /// One load on one node alone, between two looks at PostgreSQL's counters.
    fn cost(&mut self, name: &'static str, many_accounts: bool) -> Result<Vec<Figure>> {
        let course = course(1, many_accounts);
        let length = Duration::from_secs(self.bench.options.seconds) + WARM_UP;
        // Each page goes whole into the log when it is first touched after a checkpoint: the warm-up has the hot ones.
        self.cluster.sql(cluster::BOOKS, "CHECKPOINT")?;
        self.drive(course, WARM_UP)?;
        let before = Counters::read(&self.cluster)?;
        let sends = self.drive(course, length)?.requests;
        let cost = Counters::read(&self.cluster)?.since(&before);
        Ok(vec![Figure {
            name,
            target: Target::None,
            value: cost.database_bytes_each(sends),
            unit: "B",
            detail: format!(
                "{:.0} B of log each; {}; {}",
                cost.log_bytes_each(sends),
                cost.log_text(sends),
                cost.tables_text(sends)
            ),
        }])
    }

    /// Ends everything; the accounts must have been charged every answer that wrk counted.
    fn close(mut self) -> Result<()> {
        let charged = self.accounts.charges(&self.nodes[0].server)?;
        ensure!(
            charged >= self.sends,
            "wrk counted {} answers, and the books charged {charged} sends: some were errors",
            self.sends
        );
        for node in self.nodes.drain(..) {
            node.server.stop()?;
        }
        self.cluster.stop()
    }
}

fn text(contestant: Contestant) -> String {
    match contestant {
        Contestant::Pgbench => "pgbench".into(),
        Contestant::Nodes(course) => format!(
            "{} {}, {}",
            course.nodes,
            if course.nodes == 1 { "node" } else { "nodes" },
            if course.many_accounts { "many" } else { "one" }
        ),
    }
}
