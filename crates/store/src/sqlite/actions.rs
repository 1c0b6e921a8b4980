//! SQL of the audit log: what operators and owners did.

use super::SqliteStore;
use crate::actions::Actions;

impl Actions for SqliteStore {}
