//! The operators' desk: what can be done by hand, or by the service on its own, to put campaigns right.
//!
//! It knows no command line: the verbs in [`crate::cli`] parse, ask and print, and a console can do the same.

use std::sync::Arc;

use coupon_core::{
    clock::{Clock, SystemClock},
    kafka::{ConsumerProgress, PublishError},
    repo::{Database, RepoError, audit::Actor},
    stock::{Stock, StockError},
    writing::Writer,
};

use crate::config::Config;

pub mod archive;
pub mod barrier;
pub mod lookups;
pub mod rebuild;
pub mod reconcile;
pub mod replay;
pub mod retention;
pub mod work_list;

/// Where operators work.
#[derive(Clone)]
pub struct Desk {
    /// Decisions, the work list, the letters.
    pub database: Database,
    /// Marks and promises.
    pub stock: Stock,
    /// Writes held letters down.
    pub writer: Writer,
    /// `coupon-issued`, and how far issue-consumer has come in it.
    pub main: ConsumerProgress,
    /// The dead letter topic, and how far dlq-consumer has come in it.
    pub dead_letters: ConsumerProgress,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whose desk this is, for the audit.
    pub by: String,
}

/// Why something could not be done at all.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
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

/// Lets `?` turn a server's error into the `Desk` variant of an error of this desk.
macro_rules! server_errors {
    ($error:ident) => {
        impl From<coupon_core::repo::RepoError> for $error {
            fn from(error: coupon_core::repo::RepoError) -> Self {
                Self::Desk(error.into())
            }
        }

        impl From<coupon_core::stock::StockError> for $error {
            fn from(error: coupon_core::stock::StockError) -> Self {
                Self::Desk(error.into())
            }
        }
    };
}
use server_errors;

impl Desk {
    /// A desk with connections of its own, made when they are first needed.
    pub fn open(config: &Config, by: &str) -> anyhow::Result<Self> {
        const SERVICE: &str = "dlq-consumer operator";
        let database = Database::new(&config.database, SERVICE)?;
        Self::beside(config, database, Stock::new(&config.redis)?, SERVICE, by)
    }

    /// A desk that shares connections with the service it belongs to.
    pub fn beside(config: &Config, database: Database, stock: Stock, service: &str, by: &str) -> anyhow::Result<Self> {
        let (client, kafka) = (config.kafka.client(), &config.kafka);
        Ok(Self {
            writer: Writer::new(database.clone(), &config.writer),
            main: ConsumerProgress::new(&client, service, &kafka.topic, &kafka.issue_group_id)?,
            dead_letters: ConsumerProgress::new(&client, service, &kafka.dlq_topic, &kafka.group_id)?,
            database,
            stock,
            clock: Arc::new(SystemClock),
            by: by.to_owned(),
        })
    }

    /// Who changes something, now.
    pub fn actor(&self, name: &str) -> Actor {
        Actor { name: name.to_owned(), now: self.clock.now() }
    }

    /// The one whose desk this is, now.
    pub fn me(&self) -> Actor {
        self.actor(&self.by)
    }

    /// The lock under which a campaign's data is compared, rebuilt or removed: one of these at a time.
    pub(crate) fn data_lock(code: &coupon_core::ids::CouponCode) -> String {
        format!("campaign data {code}")
    }
}
