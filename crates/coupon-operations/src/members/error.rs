//! Why a member was not erased.

use coupon_core::{repo::RepoError, runtime::SettingsError, stock::StockError};

use crate::OperationsError;

/// Why a member was not erased, or not to the end. What is erased stays so, and the operation may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// There is no key for pseudonyms.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A server failed, or another process is at the data of a campaign.
    #[error(transparent)]
    Operations(#[from] OperationsError),
    /// The id is a pseudonym.
    #[error("this is the pseudonym of a member who was erased before")]
    Pseudonym,
    /// The reason would put the id back.
    #[error("the reason names the member: it is kept in the audit, so say it without the id")]
    Reason,
    /// An erasure that is not done was begun with another key.
    #[error(
        "an erasure that was begun with the key {begun} is not done, and erasure.key_file has the key {here}: \
         with two keys a member had two pseudonyms. Erase that member again with the first key"
    )]
    OtherKey {
        /// Id of the key of that erasure.
        begun: String,
        /// Id of the key of this process.
        here: String,
    },
    /// Another process erases a member.
    #[error("another process erases a member now; ask again when it has ended")]
    Busy,
    /// Something is still going to happen with the member.
    #[error("nothing was erased, because something is still going to happen with this member:\n{}", .0.join("\n"))]
    InTheWay(Vec<String>),
    /// A consumer has not caught up: its lag, in a sentence.
    #[error("nothing was erased, because records of the member may be on their way: {0}")]
    Lag(String),
    /// Rows were written about the member meanwhile.
    #[error("{0} rows and holder entries about this member came meanwhile, or changed: erase the member again")]
    Again(i64),
}

impl From<RepoError> for MemberError {
    fn from(error: RepoError) -> Self {
        OperationsError::from(error).into()
    }
}

impl From<StockError> for MemberError {
    fn from(error: StockError) -> Self {
        OperationsError::from(error).into()
    }
}
