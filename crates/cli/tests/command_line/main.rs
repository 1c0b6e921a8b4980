//! The real binary, as people and scripts use it: every command, every kind of mistake, exact exit codes.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod backup;
mod client;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod local;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod orders;
mod price_tables;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod statement;
#[cfg(test)]
mod support;
