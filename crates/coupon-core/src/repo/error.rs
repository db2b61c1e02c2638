//! Errors of PostgreSQL, and their class for the record that they happened to.

use std::{borrow::Cow, time::Duration};

use sqlx::postgres::PgDatabaseError;

use super::pool::NotConnected;
use crate::failure::{Class, Classified};

mod remedy;
mod sqlstate;

pub(super) use sqlstate::not_of_a_record;

/// The connection broke before the answer.
const NO_ANSWER: &str = "PG_NO_ANSWER";

/// Whether a failure that looks like an outage may come from the record itself: a statement that takes the connection
/// or its server process down each time. A full disk, a refused login or a busy pool never does.
pub fn may_be_the_records_doing(code: &str) -> bool {
    code == NO_ANSWER || code.starts_with("08") || code.starts_with("57P0")
}

/// A failed read or write.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The driver's or the server's error.
    #[error("postgresql: {doing}")]
    Database {
        /// What the call was to do.
        doing: &'static str,
        /// Error of the driver.
        #[source]
        source: sqlx::Error,
    },
    /// No connection: refused, not reached, not let in, or none free. No statement was sent.
    #[error("postgresql: {doing}: no connection")]
    NoConnection {
        /// What the call was to do.
        doing: &'static str,
        /// Error of the driver.
        #[source]
        source: sqlx::Error,
    },
    /// A refusal that is an outage: a probe, which writes no record, did not commit either.
    #[error("{0}, and no probe commits")]
    Away(#[source] Box<RepoError>),
    /// A refusal of one row among others that were written.
    #[error("postgresql: {doing}: {message}")]
    Refused {
        /// What the call was to do.
        doing: &'static str,
        /// The SQLSTATE.
        state: String,
        /// Message of the server.
        message: String,
        /// The constraint that the server names, if it does.
        constraint: Option<Box<str>>,
        /// The table that it names.
        table: Option<Box<str>>,
        /// The column that it names.
        column: Option<Box<str>>,
    },
    /// No answer in time; the statement may still take effect.
    #[error("postgresql: {doing}: no answer within {} ms", within.as_millis())]
    Silent {
        /// What the call was to do.
        doing: &'static str,
        /// Bound of the wait.
        within: Duration,
    },
    /// The task of a write panicked, or ended with its runtime.
    #[error("postgresql: {doing}: the task did not finish")]
    Task {
        /// What the call was to do.
        doing: &'static str,
        /// End of the task.
        #[source]
        source: tokio::task::JoinError,
    },
}

impl RepoError {
    /// Attaches `doing` to an error of the driver.
    pub(super) fn doing(doing: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| match source {
            sqlx::Error::Configuration(inner) => match inner.downcast::<NotConnected>() {
                Ok(not_connected) => Self::NoConnection { doing, source: not_connected.0 },
                Err(inner) => Self::Database { doing, source: sqlx::Error::Configuration(inner) },
            },
            source => Self::Database { doing, source },
        }
    }

    /// Whether a single row may have failed the statement: it is neither an outage nor contention.
    pub(super) fn may_be_of_a_record(&self) -> bool {
        self.class().may_lie_in_one_record() && !self.is_cap()
    }

    /// Whether a refusal may be an outage: an answer of the server that would be charged to a row or to contention. A
    /// duplicate row and a coupon without units are expected answers, and a conflict of two writers is no outage.
    pub(super) fn may_be_an_outage(&self) -> bool {
        let Some(state) = self.sqlstate() else { return false };
        match sqlstate::class_of(&state) {
            Class::Contended => !sqlstate::speaks_of_two_writers(&state),
            _ => self.may_be_of_a_record() && !self.is_unique_violation(),
        }
    }

    /// Whether the server says that this session, or this server, is the wrong one.
    pub(super) fn says_that_the_session_is_wrong(&self) -> bool {
        self.sqlstate().is_some_and(|state| sqlstate::speaks_of_the_session(&state))
    }

    /// Whether the server refuses a row, given that the statement had only one.
    pub(super) fn is_of_a_row(&self) -> bool {
        self.sqlstate().is_some() && self.may_be_of_a_record()
    }

    /// Returns the constraint that the server names: an identifier, no value of a row.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Database { source, .. } => source.as_database_error()?.constraint(),
            Self::Refused { constraint, .. } => constraint.as_deref(),
            _ => None,
        }
    }

    /// Returns the most specific name in a field of the server's error, a constraint, else a column, else a table, as
    /// `constraint "price_known": `. Empty where `message` contains it as PostgreSQL says it in English. Without it, a
    /// message in another language, or of a trigger, would give two constraints one error fingerprint and one budget.
    fn unsaid(&self, message: &str) -> String {
        let (column, table) = match self {
            Self::Database { source, .. } => {
                let error = source.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
                (error.and_then(PgDatabaseError::column), error.and_then(PgDatabaseError::table))
            }
            Self::Refused { column, table, .. } => (column.as_deref(), table.as_deref()),
            _ => (None, None),
        };
        let says = |part: &str, name: &str| message.contains(&format!("{part} \"{name}\""));
        let [constraint, column, table] =
            [self.constraint(), column, table].map(|name| name.filter(|name| !name.is_empty()));
        match (constraint, column, table) {
            (Some(name), ..) if !says("constraint", name) => format!("constraint \"{name}\": "),
            (None, Some(name), _) if says("column", name) => String::new(),
            (None, Some(name), Some(table)) => format!("column \"{name}\" of table \"{table}\": "),
            (None, Some(name), None) => format!("column \"{name}\": "),
            (None, None, Some(name)) if !says("relation", name) && !says("table", name) => {
                format!("table \"{name}\": ")
            }
            _ => String::new(),
        }
    }

    /// Whether the coupon has no more units.
    pub(super) fn is_cap(&self) -> bool {
        matches!(self, Self::Database { .. }) && self.constraint() == Some("coupons_issued_within_total")
    }

    /// Whether a row is a duplicate: 23505, whatever the name of the key, which differs for a partition or a rebuilt
    /// index.
    pub(super) fn is_unique_violation(&self) -> bool {
        self.sqlstate().as_deref() == Some("23505")
    }

    fn sqlstate(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Database { source, .. } => source.as_database_error()?.code(),
            Self::Refused { state, .. } => Some(Cow::Borrowed(state)),
            Self::NoConnection { .. } | Self::Away(_) | Self::Silent { .. } | Self::Task { .. } => None,
        }
    }
}

impl Classified for RepoError {
    fn class(&self) -> Class {
        if let Some(sqlstate) = self.sqlstate() {
            return sqlstate::class_of(&sqlstate);
        }
        match self {
            // Without an SQLSTATE the server has not answered; all but these errors mean that it was not reached.
            Self::Database {
                source:
                    sqlx::Error::RowNotFound
                    | sqlx::Error::TypeNotFound { .. }
                    | sqlx::Error::ColumnIndexOutOfBounds { .. }
                    | sqlx::Error::ColumnNotFound(_)
                    | sqlx::Error::ColumnDecode { .. }
                    | sqlx::Error::Decode(_)
                    | sqlx::Error::Encode(_)
                    | sqlx::Error::InvalidArgument(_),
                ..
            }
            | Self::Refused { .. } => Class::Unknown,
            Self::Database { .. } | Self::NoConnection { .. } | Self::Away(_) | Self::Silent { .. } => {
                Class::Unavailable
            }
            Self::Task { source, .. } if source.is_cancelled() => Class::Interrupted,
            Self::Task { .. } => Class::Unknown,
        }
    }

    fn code(&self) -> String {
        match (self.sqlstate(), self) {
            (Some(code), _) => code.into_owned(),
            (None, Self::NoConnection { .. }) => "PG_NO_CONNECTION".to_owned(),
            (None, Self::Away(refusal)) => refusal.code(),
            (None, Self::Database { .. } | Self::Refused { .. }) => NO_ANSWER.to_owned(),
            (None, Self::Silent { .. }) => "PG_SILENT".to_owned(),
            (None, Self::Task { .. }) => "PG_TASK".to_owned(),
        }
    }

    /// Returns the message of the server, without that of the driver, and with the name that only a field has.
    fn summary(&self) -> String {
        match self {
            Self::NoConnection { source: sqlx::Error::Database(error), .. } => {
                let (message, code) = (error.message(), error.code().unwrap_or_default());
                format!("{self}: {message} ({code}); {}", self.remedy())
            }
            Self::Database { source: sqlx::Error::Database(error), .. } => {
                let message = error.message();
                format!("{self}: {}{message}", self.unsaid(message))
            }
            Self::Refused { doing, message, .. } => format!("postgresql: {doing}: {}{message}", self.unsaid(message)),
            Self::NoConnection { source, .. } => format!("{self}: {source}; {}", self.remedy()),
            Self::Database { source, .. } => format!("{self}: {source}"),
            Self::Away(refusal) => format!("{}, and no probe commits", refusal.summary()),
            Self::Task { source, .. } => format!("{self}: {source}"),
            Self::Silent { .. } => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
