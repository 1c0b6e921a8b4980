//! The books that random commands left in SQLite are copied to PostgreSQL, with breaks, and must be the same there, row for row.

use std::ops::ControlFlow;
use std::path::Path;

use countersign_core::Rules;
use countersign_model::Books;
use countersign_store::copy::{CopyError, CopyOptions, copy};
use countersign_store::{Database, MasterKey, PostgresSettings, StoreOptions, testing};

use crate::compare;

/// Copies the books of a folder, where there is a PostgreSQL server to copy them to.
pub(crate) fn compare_with_a_copy(books: &Books, folder: &Path) -> Result<(), String> {
    if testing::on_postgres() || std::env::var_os("COUNTERSIGN_TEST_POSTGRES").is_none() {
        return Ok(());
    }
    let url = testing::new_database(&format!("t_{}_copied", std::process::id())).map_err(|error| error.to_string())?;
    let options = CopyOptions {
        from: folder.to_owned(),
        to: PostgresSettings::new(url.clone()),
        master_key: MasterKey::from_bytes([3; 32]),
    };
    let (mut told, mut breaks) = (0, 0);
    let copied = loop {
        // Further each time: a run that began at the beginning again would never end.
        let stop_at = told + 1 + breaks * 7;
        let (mut pages, mut rows) = (0, 0);
        let copied = copy(&options, &mut |progress| {
            assert!(progress.done >= rows && progress.done <= progress.total, "{progress:?}");
            rows = progress.done;
            pages += 1;
            if pages > stop_at && breaks < 4 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        match copied {
            Err(CopyError::BrokenOff) => {
                breaks += 1;
                told = 0;
                let opened = countersign_store::open(StoreOptions {
                    database: Database::Postgres(PostgresSettings::new(url.clone())),
                    master_key: MasterKey::from_bytes([3; 32]),
                    rules: Rules::default(),
                });
                let refusal = opened.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(refusal.contains("a copy"), "a part of books is served: {refusal}");
            }
            copied => break copied.map_err(|error| error.to_string())?,
        }
    };
    assert_eq!(breaks, 4, "it was never broken off");
    assert_eq!(usize::try_from(copied.audit.accounts).ok(), Some(books.accounts.len()));
    compare::rows_of(books, &options_database(&options))?;
    let again = copy(&options, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(again, Err(CopyError::OtherBooks)), "{again:?}");
    Ok(())
}

fn options_database(options: &CopyOptions) -> Database {
    Database::Postgres(options.to.clone())
}
