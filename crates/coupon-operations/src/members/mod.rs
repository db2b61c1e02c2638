//! Personal data: everything that is stored about a member, and its erasure.
//!
//! An erasure puts a pseudonym in the place of the member's id, the same wherever the id stood. So the rows still tell that one
//! member has one coupon, the counters are right, and Redis and PostgreSQL agree: no promise of the pipeline is touched. It waits
//! until nothing is going to happen with the member any more, because a campaign that can still open would give the same person a
//! second coupon, and a request that is undecided needs its member.

mod encodings;
mod erase;
mod error;
mod export;
mod key;
mod plan;
mod scrub;

pub use erase::Erased;
pub use error::MemberError;
pub use export::{MemberExport, StoredInRedis};
pub use key::ErasureSettings;
pub use plan::{CampaignOfMember, ErasurePlan};
