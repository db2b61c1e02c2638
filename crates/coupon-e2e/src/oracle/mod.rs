//! The oracle: joins the answers to clients with both topics, all tables and Redis, and reports every promise that does not
//! hold. It shares no code with the product, so it cannot share its mistakes.

mod checks;
mod evidence;
mod sources;
mod verdict;
mod violation;

pub use self::{
    evidence::{Campaign, DeadLetter, Decision, Evidence, Failure},
    sources::Sources,
    verdict::{Verdict, verdict},
    violation::{Kind, Promise, Violation},
};
