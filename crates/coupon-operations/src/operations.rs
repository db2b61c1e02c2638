//! What every operation works with: the servers, the clock, and the name that the audit gets.

use std::sync::Arc;

use coupon_core::{
    clock::Clock,
    kafka::{ConsumerProgress, PublishError},
    repo::{Database, RepoError, audit::Actor},
    stock::{Stock, StockError},
    writing::Writer,
};

/// Access to the servers in the name of one operator, or of the service.
#[derive(Clone)]
pub struct Operations {
    /// Decisions, the work list, the dead letters.
    pub database: Database,
    /// Holder entries and outbox entries in Redis.
    pub stock: Stock,
    /// Writes the events of held dead letters.
    pub writer: Writer,
    /// The progress of issue-consumer in `coupon-issued`.
    pub main: ConsumerProgress,
    /// The progress of dlq-consumer in the dead letter topic.
    pub dead_letters: ConsumerProgress,
    /// The source of the time that rows get.
    pub clock: Arc<dyn Clock>,
    /// The name that the audit gets.
    pub by: String,
}

/// A server failed; the operation may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum OperationsError {
    /// PostgreSQL.
    #[error("it did not end, and may be repeated")]
    Repo(#[from] RepoError),
    /// Redis.
    #[error("it did not end, and may be repeated")]
    Stock(#[from] StockError),
    /// Kafka.
    #[error("it did not end, and may be repeated")]
    Kafka(#[from] PublishError),
}

/// Lets `?` turn a server's error into the `Operations` variant of an operation's own error.
macro_rules! server_errors {
    ($error:ident) => {
        impl From<coupon_core::repo::RepoError> for $error {
            fn from(error: coupon_core::repo::RepoError) -> Self {
                Self::Operations(error.into())
            }
        }

        impl From<coupon_core::stock::StockError> for $error {
            fn from(error: coupon_core::stock::StockError) -> Self {
                Self::Operations(error.into())
            }
        }
    };
}
pub(crate) use server_errors;

impl Operations {
    /// Returns `name` with the time of now, for the audit.
    pub fn actor(&self, name: &str) -> Actor {
        Actor { name: name.to_owned(), now: self.clock.now() }
    }

    /// Returns the operator with the time of now, for the audit.
    pub fn me(&self) -> Actor {
        self.actor(&self.by)
    }

    /// The lock under which a campaign's data is compared, rebuilt or removed: one of these at a time.
    pub(crate) fn data_lock(code: &coupon_core::ids::CouponCode) -> String {
        format!("campaign data {code}")
    }
}
