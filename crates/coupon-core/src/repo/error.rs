//! What PostgreSQL's errors mean for the record they happened to.

use std::{borrow::Cow, time::Duration};

use sqlx::postgres::PgDatabaseError;

use super::pool::NotConnected;
use crate::failure::{Class, Classified};

mod sqlstate;

pub(super) use sqlstate::not_of_a_record;

/// The connection broke while an answer was waited for.
const NO_ANSWER: &str = "PG_NO_ANSWER";

/// Whether a failure that looks like an outage may come from the record itself: a statement that takes the connection
/// or its server process down each time. A full disk, a refused login or a busy pool never does.
pub fn may_be_the_records_doing(code: &str) -> bool {
    code == NO_ANSWER || code.starts_with("08") || code.starts_with("57P0")
}

/// A database call that did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The driver's or the server's error.
    #[error("postgresql: {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Why it did not work.
        #[source]
        source: sqlx::Error,
    },
    /// No connection could be had: refused, not reached, not let in, none free. Nothing was asked.
    #[error("postgresql: {doing}: no connection")]
    NoConnection {
        /// What was being done.
        doing: &'static str,
        /// Why there is none.
        #[source]
        source: sqlx::Error,
    },
    /// A refusal that is an outage: a write of the same kind, on behalf of nobody, did not commit either.
    #[error("{0}, and no probe commits")]
    Away(#[source] Box<RepoError>),
    /// What the server says of one row among others that it took.
    #[error("postgresql: {doing}: {message}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The SQLSTATE.
        state: String,
        /// Why it did not work.
        message: String,
        /// The constraint that the server names, if it does.
        constraint: Option<Box<str>>,
        /// The table that it names.
        table: Option<Box<str>>,
        /// The column that it names.
        column: Option<Box<str>>,
    },
    /// No answer in time; what was asked may still happen.
    #[error("postgresql: {doing}: no answer within {} ms", within.as_millis())]
    Silent {
        /// What was being done.
        doing: &'static str,
        /// How long it was waited for.
        within: Duration,
    },
    /// The task that did the work panicked or was torn down with its runtime.
    #[error("postgresql: {doing}: the task did not finish")]
    Task {
        /// What was being done.
        doing: &'static str,
        /// What became of it.
        #[source]
        source: tokio::task::JoinError,
    },
}

impl RepoError {
    /// Attaches what was being done to a driver's error.
    pub(super) fn doing(doing: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| match source {
            sqlx::Error::Configuration(inner) => match inner.downcast::<NotConnected>() {
                Ok(not_connected) => Self::NoConnection { doing, source: not_connected.0 },
                Err(inner) => Self::Database { doing, source: sqlx::Error::Configuration(inner) },
            },
            source => Self::Database { doing, source },
        }
    }

    /// Whether a single row may have failed the statement for all: neither the database nor somebody else in the way.
    pub(super) fn may_be_of_a_record(&self) -> bool {
        self.class().may_lie_in_one_record() && !self.is_cap()
    }

    /// Whether a refusal may be an outage by another name: the server's answer to a statement, one that would be charged to a
    /// row or to whoever is in the way. A row that was not new and a coupon without units are answers that somebody waits for,
    /// and two writers who met are no outage.
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

    /// The same said by the server, which speaks of a row when there was only one.
    pub(super) fn is_of_a_row(&self) -> bool {
        self.sqlstate().is_some() && self.may_be_of_a_record()
    }

    /// The constraint that the server names: an identifier, and no value of a row.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Database { source, .. } => source.as_database_error()?.constraint(),
            Self::Refused { constraint, .. } => constraint.as_deref(),
            _ => None,
        }
    }

    /// The most particular thing that the server names in a field of its own, a constraint, else a column, else a table, as
    /// `constraint "price_known": `. Empty where `words` name it as PostgreSQL does in English. Other words may be those of
    /// another language, or of a trigger, and two constraints would be one cause and have one budget.
    fn unsaid(&self, words: &str) -> String {
        let (column, table) = match self {
            Self::Database { source, .. } => {
                let error = source.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
                (error.and_then(PgDatabaseError::column), error.and_then(PgDatabaseError::table))
            }
            Self::Refused { column, table, .. } => (column.as_deref(), table.as_deref()),
            _ => (None, None),
        };
        let says = |part: &str, name: &str| words.contains(&format!("{part} \"{name}\""));
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

    /// Whether a row was not new: 23505, whatever the name of the key (a partition's differs, and a rebuilt index's).
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
            // Without an SQLSTATE it was not the server that refused; all but these say that it was not reached.
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

    /// The server's own words, without those the driver puts around them, and what it names in its fields alone.
    fn summary(&self) -> String {
        match self {
            Self::NoConnection { source: sqlx::Error::Database(error), .. } => {
                format!("{self}: {} ({})", error.message(), error.code().unwrap_or_default())
            }
            Self::Database { source: sqlx::Error::Database(error), .. } => {
                let words = error.message();
                format!("{self}: {}{words}", self.unsaid(words))
            }
            Self::Refused { doing, message, .. } => format!("postgresql: {doing}: {}{message}", self.unsaid(message)),
            Self::Database { source, .. } | Self::NoConnection { source, .. } => format!("{self}: {source}"),
            Self::Away(refusal) => format!("{}, and no probe commits", refusal.summary()),
            Self::Task { source, .. } => format!("{self}: {source}"),
            Self::Silent { .. } => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
