//! SQL of what becomes of API tokens: rotation with a grace period, and the test-mode token.

use super::SqliteStore;
use crate::tokens::Tokens;

impl Tokens for SqliteStore {}
