//! SQL of statistics: usage rolled up by quarter of an hour, country, route and sender.

use super::SqliteStore;
use crate::usage::Usage;

impl Usage for SqliteStore {}
