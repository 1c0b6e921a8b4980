//! A PostgreSQL cluster of the benchmark's own: made in its directory with nearly default settings, on loopback alone, asked through
//! psql, driven by pgbench, gone at the end. PostgreSQL refuses to run as root, so root starts it as another user.

use std::env;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::numbers::float;
use crate::run::processes::{ProcessTime, signal};

/// What is needed of PostgreSQL; a package of its server has all four.
const PROGRAMS: [&str; 4] = ["initdb", "postgres", "psql", "pgbench"];
/// The cluster's own superuser.
const SUPERUSER: &str = "postgres";
/// The role that owns Countersign's database.
const ROLE: &str = "countersign";
/// Countersign's database.
pub(super) const BOOKS: &str = "countersign";
/// The database that pgbench fills.
const YARDSTICK: &str = "pgbench";
/// What differs from the defaults: room for a run's connections, and memory and log for more than a toy. Durability is the default.
const SETTINGS: [&str; 5] = [
    "max_connections=300",
    "shared_buffers=256MB",
    "max_wal_size=4GB",
    "fsync=on",
    "synchronous_commit=on",
];
/// A cluster may take this long to start or to end before the benchmark gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// The programs of one PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct Programs(PathBuf);

impl Programs {
    /// Those on the path, else Debian's newest; `None` where there are none.
    pub(super) fn find() -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut debian: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
            .collect();
        debian.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        env::split_paths(&path)
            .chain(debian.into_iter().map(|(_, directory)| directory))
            .find(|directory| PROGRAMS.iter().all(|program| directory.join(program).is_file()))
            .map(Self)
    }

    /// A call of one of them, which takes nothing from its surroundings.
    fn call(&self, program: &str) -> Command {
        let mut command = Command::new(self.0.join(program));
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Which PostgreSQL this is.
    pub(super) fn version(&self) -> Result<String> {
        run(self.call("postgres").arg("--version")).map(|text| text.trim().to_owned())
    }
}

/// What pgbench measured in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pgbench {
    /// Transactions that were committed.
    pub(super) transactions: u64,
    /// Transactions a second, without the time that connecting took.
    pub(super) rate: f64,
}

/// A running cluster; dropped, its processes are gone.
#[derive(Debug)]
pub(super) struct Cluster {
    programs: Programs,
    postgres: Child,
    port: u16,
}

impl Cluster {
    /// Makes and starts one in a directory that is not there yet, with an empty database for the books and a filled one for pgbench.
    pub(super) fn start(programs: Programs, directory: &Path, scale: u32) -> Result<Self> {
        fs::create_dir(directory).context("making the cluster's directory")?;
        let user = other_user()?;
        if let Some((user_id, group_id)) = user {
            chown(directory, Some(user_id), Some(group_id)).context("giving the cluster's directory away")?;
            open_the_way(directory)?;
        }
        let as_user = |command: &mut Command| {
            if let Some((user_id, group_id)) = user {
                command.gid(group_id).uid(user_id);
            }
            command.current_dir(directory);
        };
        let data = directory.join("data");
        let mut initdb = programs.call("initdb");
        initdb.args([
            "--auth=trust",
            "--no-locale",
            "--encoding=UTF8",
            "--username",
            SUPERUSER,
        ]);
        initdb.arg("--pgdata").arg(&data);
        as_user(&mut initdb);
        run(&mut initdb)?;
        let port = free_port()?;
        let mut command = programs.call("postgres");
        command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        as_user(&mut command);
        let log = directory.with_extension("log");
        let postgres = command
            .stdout(Stdio::null())
            .stderr(File::create(&log).context("making the cluster's log")?)
            .spawn()
            .context("starting postgres")?;
        let mut cluster = Self {
            programs,
            postgres,
            port,
        };
        cluster.wait_until_ready(&log)?;
        cluster.sql(SUPERUSER, &format!("CREATE ROLE {ROLE} LOGIN"))?;
        cluster.sql(SUPERUSER, &format!("CREATE DATABASE {BOOKS} OWNER {ROLE}"))?;
        cluster.sql(SUPERUSER, &format!("CREATE DATABASE {YARDSTICK}"))?;
        let scale = scale.to_string();
        run(cluster
            .client("pgbench")
            .args(["--initialize", "--quiet", "--scale", &scale, YARDSTICK]))?;
        cluster.sql(SUPERUSER, "CHECKPOINT")?;
        Ok(cluster)
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let give_up_at = Instant::now() + PATIENCE;
        while self.sql(SUPERUSER, "SELECT 1").is_err() {
            let ended = self.postgres.try_wait().context("waiting for postgres")?;
            if ended.is_some() || Instant::now() > give_up_at {
                bail!(
                    "PostgreSQL does not start: {}",
                    fs::read_to_string(log).unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// A client program, told whom to call.
    fn client(&self, program: &str) -> Command {
        let mut command = self.programs.call(program);
        command.args(["--host", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args(["--username", SUPERUSER]);
        command
    }

    /// The books' address, as `countersign serve --database` takes it.
    pub(super) fn url(&self) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{}/{BOOKS}", self.port)
    }

    /// What a statement answers: rows of columns as text. NULL is empty.
    pub(super) fn sql(&self, database: &str, statement: &str) -> Result<Vec<Vec<String>>> {
        let mut psql = self.client("psql");
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--field-separator=\t",
        ]);
        let answer = run(psql.args(["--dbname", database, "--command", statement]))?;
        Ok(answer
            .lines()
            .map(|line| line.split('\t').map(str::to_owned).collect())
            .collect())
    }

    /// One row of numbers.
    pub(super) fn numbers<const COLUMNS: usize>(&self, database: &str, statement: &str) -> Result<[u64; COLUMNS]> {
        let rows = self.sql(database, statement)?;
        let row = rows.first().context("the database answered nothing")?;
        let numbers: Vec<u64> = row
            .iter()
            .map(|text| text.parse().with_context(|| format!("{text:?} is no number")))
            .collect::<Result<_>>()?;
        numbers
            .try_into()
            .map_err(|numbers: Vec<u64>| anyhow!("the database answered {} columns", numbers.len()))
    }

    /// One round of pgbench's simple update with prepared statements.
    pub(super) fn pgbench(&self, clients: u32, length: Duration) -> Result<Pgbench> {
        let mut pgbench = self.client("pgbench");
        pgbench.args(["--skip-some-updates", "--protocol=prepared", "--no-vacuum"]);
        pgbench.args(["--client", &clients.to_string(), "--jobs", &clients.min(2).to_string()]);
        pgbench.args(["--time", &length.as_secs().max(1).to_string(), YARDSTICK]);
        parse_pgbench(&run(&mut pgbench)?)
    }

    /// The processor time of all its processes so far, those that ended included.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let server = self.postgres.id();
        let own = ProcessTime::of(&server.to_string())?;
        let mut total = own.own_seconds + own.reaped_seconds;
        for entry in fs::read_dir("/proc").context("reading /proc")?.flatten() {
            let name = entry.file_name();
            let Some(process) = name
                .to_str()
                .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            else {
                continue;
            };
            // One that ended since it was listed is no child any more.
            if let Ok(time) = ProcessTime::of(process)
                && time.parent == server
            {
                total += time.own_seconds;
            }
        }
        Ok(total)
    }

    /// Ends it at once: nobody needs its data.
    pub(super) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.postgres.try_wait().context("waiting for postgres")?.is_some() {
            return Ok(());
        }
        // An immediate shutdown takes its own processes along, as a kill would not.
        signal(self.postgres.id(), "QUIT")?;
        let give_up_at = Instant::now() + PATIENCE;
        while self.postgres.try_wait().context("waiting for postgres")?.is_none() {
            ensure!(Instant::now() < give_up_at, "PostgreSQL did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.end().is_err() {
            // There is nobody left to tell.
            drop(self.postgres.kill());
            drop(self.postgres.wait());
        }
    }
}

/// What a program printed; an error with its last words where it failed.
fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

/// Whom root starts PostgreSQL as, by user and group number; `None` for everybody else.
fn other_user() -> Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self").context("reading /proc")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| user_in(&users, name))
        .map(Some)
        .context("PostgreSQL refuses to run as root, and there is no user postgres or nobody: run as another user")
}

fn user_in(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Lets another user pass through the benchmark's own directory, which was made for its maker alone.
fn open_the_way(directory: &Path) -> Result<()> {
    let parent = directory.parent().context("the cluster's directory has no parent")?;
    fs::set_permissions(parent, fs::Permissions::from_mode(0o711)).context("opening the benchmark's directory")?;
    for above in parent.ancestors() {
        let mode = fs::metadata(above).context("looking at a directory")?.mode();
        ensure!(
            mode & 0o001 != 0,
            "PostgreSQL runs as another user than root, whom {} keeps out: name another place with --directory",
            above.display()
        );
    }
    Ok(())
}

fn parse_pgbench(text: &str) -> Result<Pgbench> {
    let first_word = |mark: &str| {
        let rest = text
            .lines()
            .find_map(|line| line.split_once(mark))
            .map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split([' ', '/']).next())
            .with_context(|| format!("pgbench says nothing of {mark:?}: {text}"))
    };
    let failed = text
        .lines()
        .find_map(|line| line.strip_prefix("number of failed transactions: "));
    ensure!(
        failed.is_none_or(|failed| failed.starts_with("0 ")),
        "transactions of pgbench failed: {text}"
    );
    let transactions = first_word("number of transactions actually processed: ")?.parse()?;
    // The last such line of an older pgbench is the one without the connecting.
    let rate = text.rsplit_once("tps = ").map_or("", |(_, rest)| rest);
    let rate = rate.split(' ').next().unwrap_or_default().parse();
    let rate = rate.with_context(|| format!("pgbench told no rate: {text}"))?;
    Ok(Pgbench { transactions, rate })
}

/// What a count comes to for each of so many.
pub(super) fn each(total: u64, count: u64) -> f64 {
    float(total) / float(count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_pgbench_is_the_one_without_connecting() {
        let newer = "number of transactions actually processed: 13111\nnumber of failed transactions: 0 (0.000%)\n\
                     latency average = 0.457 ms\ninitial connection time = 3.5 ms\n\
                     tps = 2186.358596 (without initial connection time)\n";
        let measured = parse_pgbench(newer).unwrap();
        assert_eq!(measured.transactions, 13_111);
        assert!((measured.rate - 2_186.358_596).abs() < 1e-6);
        let older = "number of transactions actually processed: 100/100\ntps = 90.0 (including connections establishing)\n\
                     tps = 95.5 (excluding connections establishing)\n";
        assert!((parse_pgbench(older).unwrap().rate - 95.5).abs() < 1e-9);
        let failed = newer.replace(": 0 (", ": 3 (");
        assert!(parse_pgbench(&failed).is_err());
    }

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let users = "postgres2:x:7:8::/:\npostgres:x:114:120:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(user_in(users, "postgres"), Some((114, 120)));
        assert_eq!(user_in(users, "nobody"), None);
    }
}
