//! SQL of verification requests as their owner searches and reads them.

use super::SqliteStore;
use crate::messages::Messages;

impl Messages for SqliteStore {}
