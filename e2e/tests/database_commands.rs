//! `countersign database …` and what `countersign doctor` says of a database, as an operator runs them: the real binary, on a PostgreSQL
//! server of each test's own. Needs PostgreSQL; elsewhere it says so.

#![expect(clippy::print_stdout, reason = "it says what it left out")]

use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Options, Postgres, Server, binary};
use serde_json::{Value, json};
use tempfile::TempDir;

const PHONES: [&str; 3] = ["+9996610001", "+9996610002", "+9996610003"];

/// A database, and a folder to run commands in.
struct World {
    postgres: Postgres,
    folder: TempDir,
}

impl World {
    /// `None` where PostgreSQL isn't installed.
    fn start() -> Result<Option<Self>> {
        let Some(postgres) = Postgres::start(&["fsync=off"])? else {
            println!("PostgreSQL isn't installed: not tried");
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        Ok(Some(Self { postgres, folder }))
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.run_with(arguments, &[])
    }

    /// A command whose database is named by the environment, with further variables.
    fn run_with(&self, arguments: &[&str], env: &[(&str, &str)]) -> Result<Output> {
        let mut command = Command::new(binary()?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("COUNTERSIGN_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("COUNTERSIGN_DATABASE_URL", self.postgres.url())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{arguments:?}"))
    }

    /// What a command printed; it must have gone well, and said nothing besides.
    fn printed(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.success(), "{arguments:?}: {}: {said}", output.status);
        ensure!(said.is_empty(), "{arguments:?} said besides: {said:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The same, as JSON.
    fn told(&self, arguments: &[&str]) -> Result<Value> {
        let printed = self.printed(&[arguments, &["--json"]].concat())?;
        ensure!(printed.lines().count() == 1, "JSON is one line: {printed:?}");
        serde_json::from_str(&printed).with_context(|| printed.clone())
    }

    /// Why a command was refused: one sentence, exit code 1, nothing printed.
    fn refusal(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.code() == Some(1),
            "{arguments:?}: {}: {said}",
            output.status
        );
        ensure!(output.stdout.is_empty(), "{arguments:?} printed {:?}", output.stdout);
        ensure!(
            said.starts_with("error: ") && said.lines().count() == 1,
            "{arguments:?} said {said:?}"
        );
        Ok(said)
    }

    /// What the doctor says of the database: each finding as `verdict: words`, and whether all works.
    fn doctor(&self, env: &[(&str, &str)]) -> Result<(bool, Vec<String>)> {
        let output = self.run_with(&["doctor", "--json"], env)?;
        let view: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let works = view["ok"] == true;
        ensure!(works == output.status.success(), "{} and {view}", output.status);
        let findings = view["database"].as_array().with_context(|| view.to_string())?;
        let as_line = |finding: &Value| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", text("verdict"), text("found"))
        };
        Ok((works, findings.iter().map(as_line).collect()))
    }
}

fn says(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "{word:?} is missing in {said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_database_is_made_looked_at_and_cleared_of_old_months() -> Result<()> {
    let Some(world) = World::start()? else { return Ok(()) };
    says(
        &world.printed(&["database", "status"])?,
        &["no books yet", "`countersign database migrate`"],
    )?;
    for command in ["distribute", "retain --before 2026-01-01"] {
        let arguments: Vec<&str> = ["database"].into_iter().chain(command.split(' ')).collect();
        says(&world.refusal(&arguments)?, &["books in this database"])?;
    }
    says(&world.printed(&["database", "migrate"])?, &["the tables are made"])?;
    says(&world.printed(&["database", "migrate"])?, &["nothing to do"])?;
    let status = world.told(&["database", "status"])?;
    ensure!(status["schema"] == status["known_schema"], "{status}");
    ensure!(
        status["nodes"] == json!([]) && status["distributed"] == false,
        "{status}"
    );
    ensure!(
        status["months"].as_array().is_some_and(|months| months.len() >= 3),
        "{status}"
    );

    says(
        &world.refusal(&["database", "distribute"])?,
        &["citus", "isn't installed"],
    )?;

    // An old month, and what would go is told before it goes.
    world.postgres.psql(
        "SET ROLE countersign; \
         CREATE TABLE request_2025_03 PARTITION OF request FOR VALUES FROM (1740787200000) TO (1743465600000)",
    )?;
    let before = ["database", "retain", "--before", "2026-01-15"];
    says(&world.printed(&before)?, &["2025-03", "Nothing was done", "--yes"])?;
    let plan = world.told(&before)?;
    ensure!(plan["done"] == false && plan["months"] == json!(["2025-03"]), "{plan}");
    let is_there = "SELECT to_regclass('request_2025_03') IS NOT NULL";
    ensure!(world.postgres.psql(is_there)?.trim() == "t", "it was a plan");
    let gone = world.told(&[&before[..], &["--yes"]].concat())?;
    ensure!(
        gone["done"] == true && gone["requests_from"] == "2026-01-01T00:00:00Z",
        "{gone}"
    );
    ensure!(world.postgres.psql(is_there)?.trim() == "f", "{gone}");
    says(
        &world.printed(&["database", "status"])?,
        &["Requests from", "2026-01-01"],
    )?;
    says(
        &world.refusal(&["database", "retain", "--before", "2999-01-01"])?,
        &["always kept"],
    )?;
    Ok(())
}

#[tokio::test]
async fn books_of_sqlite_are_copied_once_and_served_from_there() -> Result<()> {
    let Some(world) = World::start()? else { return Ok(()) };
    let mut server = Server::start(Options {
        sqlite: true,
        ..Options::default()
    })?;
    let api = server.api()?;
    let mut sent = Vec::new();
    for phone in PHONES {
        let answer = api
            .call("sendVerificationMessage", &json!({ "phone_number": phone }))
            .await?;
        sent.push(answer["result"]["request_id"].as_str().context("no id")?.to_owned());
    }
    let data_dir = server.data_dir().to_owned();
    let from = format!("sqlite://{}", data_dir.display());
    let copy = ["database", "copy", "--from", &from, "--to", world.postgres.url()];
    says(
        &world.refusal(&copy)?,
        &["a server uses the data directory", "end it first"],
    )?;
    ensure!(server.terminate()?.success(), "{}", server.log());

    let backwards = ["database", "copy", "--from", world.postgres.url(), "--to", &from];
    says(&world.refusal(&backwards)?, &["no way back"])?;
    // Nothing is drawn where no terminal is.
    let printed = world.printed(&copy)?;
    says(
        &printed,
        &[
            "the books are copied, and audited",
            "Accounts",
            "Ledger entries",
            "master key",
        ],
    )?;
    ensure!(!printed.contains('\r') && !printed.contains('\u{1b}'), "{printed:?}");
    says(
        &world.refusal(&copy)?,
        &["other books in the target database already", "empty"],
    )?;

    // A node with the same master key serves what was there.
    let node_dir = world.folder.path().join("node");
    std::fs::create_dir(&node_dir)?;
    std::fs::copy(data_dir.join("master.key"), node_dir.join("master.key"))?;
    let mut node = Server::start(Options {
        database: Some(world.postgres.url().to_owned()),
        data_dir: Some(node_dir),
        ..Options::default()
    })?;
    for id in &sent {
        let status = api
            .at(node.api_url())
            .call("checkVerificationStatus", &json!({ "request_id": id }))
            .await?;
        ensure!(status["result"]["request_id"] == **id, "{status}");
    }
    let audit = node.cli_json(["audit"])?;
    ensure!(audit["ok"] == true && audit["requests"] == PHONES.len(), "{audit}");

    // It lives, and says so.
    let status = world.told(&["database", "status"])?;
    ensure!(status["nodes"][0]["lives"] == true, "{status}");
    says(&world.refusal(&copy)?, &["serve on the target database"])?;
    says(&world.refusal(&["database", "distribute"])?, &["end all nodes first"])?;
    let (works, found) = world.doctor(&[])?;
    ensure!(
        works && found.iter().any(|found| found.contains("1 node lives")),
        "{found:?}"
    );
    ensure!(node.terminate()?.success(), "{}", node.log());
    Ok(())
}

#[tokio::test]
async fn the_doctor_looks_at_the_database() -> Result<()> {
    let Some(world) = World::start()? else { return Ok(()) };
    let (works, found) = world.doctor(&[])?;
    let has = |found: &[String], words: &str| {
        ensure!(
            found.iter().any(|found| found.contains(words)),
            "{words:?} is missing in {found:?}"
        );
        Ok(())
    };
    ensure!(works, "{found:?}");
    has(&found, "/books answers: PostgreSQL ")?;
    has(&found, "well: it has no books yet")?;
    has(&found, "well: the role may read, write and make tables")?;
    has(&found, "warning: a crash may lose what was acknowledged: fsync = off")?;
    has(&found, "well: no node lives; each opens 10 connections")?;

    world.printed(&["database", "migrate"])?;
    world.postgres.psql("ALTER ROLE countersign CONNECTION LIMIT 15")?;
    let (works, found) = world.doctor(&[("COUNTERSIGN_DATABASE_LANES", "8")])?;
    ensure!(works, "{found:?}");
    has(&found, "well: its schema, 1, is up to date")?;
    has(
        &found,
        "well: no node lives; each opens 14 connections with these settings, and 15 are permitted",
    )?;
    let (works, found) = world.doctor(&[("COUNTERSIGN_DATABASE_LANES", "16")])?;
    ensure!(!works, "{found:?}");
    has(&found, "broken: no node lives; each opens 22 connections")?;

    // A role that may look, and no more.
    world
        .postgres
        .psql("REVOKE INSERT ON request FROM countersign; REVOKE CREATE ON SCHEMA public FROM PUBLIC, countersign")?;
    world.postgres.psql("ALTER TABLE request OWNER TO postgres; ALTER SCHEMA public OWNER TO postgres; ALTER DATABASE books OWNER TO postgres")?;
    let (works, found) = world.doctor(&[])?;
    ensure!(!works, "{found:?}");
    has(&found, "broken: the role countersign may not make tables")?;
    has(&found, "the table request")?;

    // Somebody takes the connection, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = format!("postgres://countersign@{}/books", silent.local_addr()?);
    let (works, found) = world.doctor(&[
        ("COUNTERSIGN_DATABASE_URL", &address),
        ("COUNTERSIGN_DATABASE_TIMEOUT_SECONDS", "1"),
    ])?;
    ensure!(!works && found.len() == 1, "{found:?}");
    has(&found, "/books: the database did not answer in time")?;

    // Said to people, too.
    world.postgres.stop(countersign_e2e::Stop::Immediate)?;
    let doctor = world.run(&["doctor"])?;
    let printed = String::from_utf8(doctor.stdout)?;
    ensure!(doctor.status.code() == Some(1), "{printed}");
    says(
        &printed,
        &["database\n", "✗ ", "/books: ", "refused", "mend database.url"],
    )?;
    Ok(())
}
