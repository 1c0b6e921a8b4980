//! The rules of docs/api.md and docs/errors.md, line by line, through `decide`: one file a section, one test a
//! sentence. The property that holds over all histories is in `tests/histories`.

#[cfg(test)]
mod ability;
#[cfg(test)]
mod budget;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod codes;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod live;
#[cfg(test)]
mod money;
#[cfg(test)]
mod order;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod sends;
#[cfg(test)]
mod stops;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod world;
