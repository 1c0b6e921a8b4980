//! `countersign database`: the PostgreSQL database as a whole: its state, its schema, old months, its distribution over machines, and the
//! move from SQLite. The work is the store's; here are arguments and words.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use countersign_core::Timestamp;
use countersign_server::keys::{lock_data_dir, read_master_key};
use countersign_server::settings::{Environment, Overrides, Settings};
use countersign_server::start::StartError;
use countersign_store::copy::{CopyOptions, copy};
use countersign_store::{Database, DatabaseStatus, PostgresSettings};
use serde::Serialize;

use crate::arguments::{Common, parse_time};
use crate::output::{Cell, Output, Style};
use crate::progress::{Unit, bar};

/// What to do with the database.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign database status --database postgres://countersign@db.example.com/countersign
  countersign database migrate
  countersign database copy --from sqlite://countersign-data --to postgres://countersign@db/books
  countersign database retain --before 2026-06-01           what would go
  countersign database retain --before 2026-06-01 --yes     lets it go")]
pub(crate) struct DatabaseArguments {
    #[command(flatten)]
    place: DatabasePlace,
    #[command(subcommand)]
    action: DatabaseAction,
}

/// Where the database is.
#[derive(Debug, Args)]
pub(crate) struct DatabasePlace {
    /// The database, postgres://USER@HOST:PORT/NAME [env: COUNTERSIGN_DATABASE_URL] [default: the configuration file's]
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
    /// The server's configuration file [env: COUNTERSIGN_CONFIG] [default: ./countersign.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl DatabasePlace {
    /// The database that holds the books, as `serve` would find it.
    pub(crate) fn find(&self, common: &Common) -> anyhow::Result<Database> {
        let overrides = Overrides {
            config: self.config.clone(),
            data_dir: common.named_data_dir(),
            database: self.database.clone(),
            ..Overrides::default()
        };
        Ok(Settings::load_database(&overrides, &Environment::of_process())?.database())
    }

    /// The same, where it must be PostgreSQL's.
    fn postgres(&self, common: &Common) -> anyhow::Result<PostgresSettings> {
        match self.find(common)? {
            Database::Postgres(settings) => Ok(settings),
            Database::Sqlite(directory) => Err(anyhow!(
                "the books are SQLite's in {}: name a PostgreSQL database with --database postgres://…, COUNTERSIGN_DATABASE_URL \
                 or database.url",
                directory.display()
            )),
        }
    }
}

#[derive(Debug, Subcommand)]
enum DatabaseAction {
    /// Tell its schema, its nodes and its months
    Status,
    /// Make the tables, or bring them up to date
    Migrate,
    /// Distribute the tables over the machines of a Citus cluster, while no node runs
    Distribute,
    /// Let requests of old months go; the ledger and the statistics stay
    Retain {
        /// Everything of the months before this one goes
        #[arg(long, value_name = "DATE", value_parser = parse_time)]
        before: Timestamp,
        /// Really: without it, only what would go is told
        #[arg(long)]
        yes: bool,
    },
    /// Move the books of a data directory to PostgreSQL; goes on where it was broken off
    Copy {
        /// The data directory, as sqlite://DIR; no server may run on it
        #[arg(long, value_name = "URL")]
        from: String,
        /// The empty database, postgres://…
        #[arg(long, value_name = "URL")]
        to: String,
    },
}

/// Does it.
pub(crate) fn run(arguments: &DatabaseArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    match &arguments.action {
        DatabaseAction::Status => status(&arguments.place.postgres(common)?, output)?,
        DatabaseAction::Migrate => migrate(&arguments.place.postgres(common)?, output)?,
        DatabaseAction::Distribute => distribute(&arguments.place.postgres(common)?, output)?,
        DatabaseAction::Retain { before, yes } => {
            retain(&arguments.place.postgres(common)?, *before, *yes, output)?;
        }
        DatabaseAction::Copy { from, to } => copy_books(from, to, arguments, common, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct StatusView {
    database: String,
    server: String,
    schema: i64,
    known_schema: i64,
    oldest_program: i64,
    distributed: bool,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_from: Option<String>,
    nodes: Vec<NodeView>,
    months: Vec<MonthView>,
}

#[derive(Serialize)]
struct NodeView {
    epoch: i64,
    name: String,
    program_schema: i64,
    started_at: String,
    seen_seconds_ago: i64,
    lives: bool,
}

#[derive(Serialize)]
struct MonthView {
    month: Option<String>,
    rows: u64,
    bytes: u64,
}

impl From<DatabaseStatus> for StatusView {
    fn from(status: DatabaseStatus) -> Self {
        let nodes = status.nodes.into_iter().map(|node| NodeView {
            epoch: node.epoch,
            name: node.name,
            program_schema: node.program_schema,
            started_at: node.started_at.rfc_3339(),
            seen_seconds_ago: node.seen_ms_ago / 1_000,
            lives: !node.ended,
        });
        let months = status.months.into_iter().map(|month| MonthView {
            month: month.month,
            rows: month.rows,
            bytes: month.bytes,
        });
        Self {
            database: status.place,
            server: status.server,
            schema: status.schema,
            known_schema: status.known_schema,
            oldest_program: status.oldest_program,
            distributed: status.sharded,
            bytes: status.bytes,
            requests_from: status.requests_from.map(Timestamp::rfc_3339),
            nodes: nodes.collect(),
            months: months.collect(),
        }
    }
}

fn status(settings: &PostgresSettings, output: &Output) -> anyhow::Result<()> {
    let view = StatusView::from(settings.status()?);
    output.show(&view, |output| status_text(&view, output))
}

fn status_text(view: &StatusView, output: &Output) -> String {
    let schema = match (view.schema, view.known_schema) {
        (0, _) => "no books yet: `countersign database migrate` makes the tables".to_owned(),
        (schema, known) if schema == known => schema.to_string(),
        (schema, known) => format!("{schema}; this program knows {known}"),
    };
    let mut facts = vec![
        ("Database", view.database.clone()),
        ("PostgreSQL", view.server.clone()),
        ("Schema", schema),
        (
            "Distributed",
            if view.distributed { "yes, by Citus" } else { "no" }.to_owned(),
        ),
        ("Size", size(view.bytes)),
    ];
    facts.extend(view.requests_from.clone().map(|from| ("Requests from", from)));
    let mut text = output.facts(&facts);
    if !view.nodes.is_empty() {
        let rows: Vec<Vec<Cell>> = view.nodes.iter().map(node_row).collect();
        text.push('\n');
        text.push_str(&output.table(&["Node", "Name", "Schema", "Started", "Seen", "State"], &rows));
    }
    if !view.months.is_empty() {
        let row = |month: &MonthView| {
            vec![
                Cell::new(month.month.as_deref().unwrap_or("no month")),
                Cell::number(month.rows.to_string()),
                Cell::number(size(month.bytes)),
            ]
        };
        let rows: Vec<Vec<Cell>> = view.months.iter().map(row).collect();
        text.push('\n');
        text.push_str(&output.table(&["Month", "About rows", "Size"], &rows));
    }
    text
}

fn node_row(node: &NodeView) -> Vec<Cell> {
    let state = if node.lives {
        Cell::new("lives").style(Style::Good)
    } else {
        Cell::new("ended").style(Style::Waiting)
    };
    vec![
        Cell::number(node.epoch.to_string()),
        Cell::new(&node.name),
        Cell::number(node.program_schema.to_string()),
        Cell::new(&node.started_at),
        Cell::new(format!("{} s ago", node.seen_seconds_ago)),
        state,
    ]
}

#[derive(Serialize)]
struct MigratedView {
    schema_before: i64,
    schema: i64,
}

fn migrate(settings: &PostgresSettings, output: &Output) -> anyhow::Result<()> {
    let migrated = settings.migrate()?;
    let view = MigratedView {
        schema_before: migrated.from,
        schema: migrated.to,
    };
    output.show(&view, |output| {
        let said = match (view.schema_before, view.schema) {
            (0, now) => format!("✓ the tables are made: schema {now}"),
            (before, now) if before >= now => format!("✓ nothing to do: schema {now}"),
            (before, now) => format!("✓ the schema was {before} and is {now}"),
        };
        format!("{}\n", output.styled(Style::Good, &said))
    })
}

#[derive(Serialize)]
struct DistributedView {
    distributed: bool,
}

fn distribute(settings: &PostgresSettings, output: &Output) -> anyhow::Result<()> {
    let bar = bar(Unit::Rows, output);
    let distributed = settings.distribute(|step| bar.println(step));
    bar.finish_and_clear();
    distributed?;
    output.show(&DistributedView { distributed: true }, |output| {
        format!(
            "{}\n",
            output.styled(Style::Good, "✓ the tables are distributed: start the nodes")
        )
    })
}

#[derive(Serialize)]
struct RetainedView {
    done: bool,
    requests_from: String,
    months: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_without_month: Option<u64>,
}

fn retain(settings: &PostgresSettings, before: Timestamp, really: bool, output: &Output) -> anyhow::Result<()> {
    let bar = bar(Unit::Rows, output);
    let retained = settings.retain(before, really, |step| bar.set_message(step.to_owned()));
    bar.finish_and_clear();
    let retained = retained?;
    let view = RetainedView {
        done: really,
        requests_from: retained.keep_from.rfc_3339(),
        months: retained.months,
        rows_without_month: really.then_some(retained.swept),
    };
    output.show(&view, |output| {
        let months = if view.months.is_empty() {
            "none".to_owned()
        } else {
            view.months.join(", ")
        };
        let facts = output.facts(&[
            ("Requests from", view.requests_from.clone()),
            ("Months that go", months),
        ]);
        if view.done {
            let done = output.styled(
                Style::Good,
                "✓ what is older has gone; the ledger and the statistics have all of it",
            );
            format!("{done}\n\n{facts}")
        } else {
            let hint = output.styled(Style::Quiet, "Nothing was done: --yes lets it go, for good.");
            format!("{facts}\n{hint}\n")
        }
    })
}

#[derive(Serialize)]
struct CopiedView {
    rows: u64,
    changed_texts: u64,
    accounts: u64,
    entries: u64,
    requests: u64,
    head: String,
}

fn copy_books(
    from: &str,
    to: &str,
    arguments: &DatabaseArguments,
    common: &Common,
    output: &Output,
) -> anyhow::Result<()> {
    let config = arguments.place.config.clone();
    let load = |overrides: Overrides| Settings::load_database(&overrides, &Environment::of_process());
    let source = load(Overrides {
        config: config.clone(),
        database: Some(from.to_owned()),
        ..Overrides::default()
    })?;
    let Database::Sqlite(directory) = source.database() else {
        bail!("--from takes sqlite://DIR, a server's data directory: there is no way back from PostgreSQL to SQLite");
    };
    let Database::Postgres(target) = load(Overrides {
        config,
        data_dir: common.named_data_dir(),
        database: Some(to.to_owned()),
        ..Overrides::default()
    })?
    .database() else {
        bail!("--to takes the address of a PostgreSQL database, postgres://USER@HOST:PORT/NAME");
    };
    if !directory.is_dir() {
        bail!("there is no data directory {}", directory.display());
    }
    let master_key = read_master_key(&source.master_key_file())?;
    let _lock = lock_data_dir(&directory).map_err(|error| match error {
        StartError::InUse(_) => anyhow!(
            "a server uses the data directory {}: end it first, and start none on it any more",
            directory.display()
        ),
        error => error.into(),
    })?;
    let bar = bar(Unit::Rows, output);
    let options = CopyOptions {
        from: directory,
        to: target,
        master_key,
    };
    let copied = copy(&options, &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    let copied = copied?;
    let view = CopiedView {
        rows: copied.rows,
        changed_texts: copied.changed_texts,
        accounts: copied.audit.accounts,
        entries: copied.audit.entries,
        requests: copied.audit.requests,
        head: copied.audit.head().to_string(),
    };
    output.show(&view, |output| {
        let done = output.styled(Style::Good, "✓ the books are copied, and audited there: every ledger ends where it did");
        let facts = output.facts(&[
            ("Rows", view.rows.to_string()),
            ("Accounts", view.accounts.to_string()),
            ("Ledger entries", view.entries.to_string()),
            ("Requests", view.requests.to_string()),
            ("Chain head", view.head.clone()),
        ]);
        format!("{done}\n\n{facts}\nGive every node the master key of the old data directory, and start none on that any more.\n")
    })
}

fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
