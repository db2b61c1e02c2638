//! The oracle: joins what clients were told with both topics, all tables and Redis, and says which promise of
//! the design does not hold. It shares no code with the product, so it cannot share its mistakes.

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
