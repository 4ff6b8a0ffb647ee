//! What is wrong with a mesh, and what to do about it: the findings that `mesh doctor` and the page
//! show, in the same words.

mod finding;
mod pair;
#[cfg(test)]
mod tests;

pub use finding::{Check, Finding, Outcome};
pub use pair::{PairEnd, diagnose_pair};
