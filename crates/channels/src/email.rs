//! E-mail over SMTP.

mod compose;

pub use compose::{Composed, LoginParts, Parts, compose, compose_login};
