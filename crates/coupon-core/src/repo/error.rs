//! What PostgreSQL's errors mean for the record they happened to.

use std::borrow::Cow;

use crate::failure::{Class, Classified};

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

/// How SQLSTATEs are judged: the first row whose beginning fits decides, whatever fits none is [`Class::Unknown`].
/// Codes: PostgreSQL documentation, appendix A.
pub const SQLSTATES: &[(&str, Class, &str)] = &[
    ("08", Class::Unavailable, "connection exception"),
    ("25006", Class::Unavailable, "read-only transaction: a standby, or a primary being demoted"),
    ("25P03", Class::Contended, "idle in transaction for too long"),
    ("22", Class::Permanent, "data the database can never take"),
    ("23", Class::Permanent, "constraint violation"),
    ("28", Class::Unavailable, "login refused: a rotated password is an outage, not a verdict on a record"),
    ("3D", Class::Unavailable, "no such database: being restored"),
    ("40001", Class::Contended, "serialization failure"),
    ("40P01", Class::Contended, "deadlock"),
    ("40", Class::Contended, "transaction rolled back"),
    ("53", Class::Unavailable, "out of disk, memory or connections"),
    ("55P03", Class::Contended, "lock timeout"),
    ("57014", Class::Contended, "statement timeout while the database answers"),
    ("57", Class::Unavailable, "shutting down, starting up, or a session killed by an administrator"),
    ("58", Class::Unavailable, "error of the operating system below the database"),
    ("CP001", Class::Contended, "the coupon's epoch moved on during the statement (our own code)"),
];

/// The class of an SQLSTATE.
pub fn class_of(sqlstate: &str) -> Class {
    SQLSTATES.iter().find(|(prefix, ..)| sqlstate.starts_with(prefix)).map_or(Class::Unknown, |(_, class, _)| *class)
}

impl RepoError {
    /// Attaches what was being done to a driver's error.
    pub(super) fn doing(doing: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| Self::Database { doing, source }
    }

    /// Whether the named constraint refused the statement.
    pub(super) fn violates(&self, constraint: &str) -> bool {
        match self {
            Self::Database { source, .. } => {
                source.as_database_error().and_then(sqlx::error::DatabaseError::constraint) == Some(constraint)
            }
            Self::Task { .. } => false,
        }
    }

    fn sqlstate(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Database { source, .. } => source.as_database_error()?.code(),
            Self::Task { .. } => None,
        }
    }
}

impl Classified for RepoError {
    fn class(&self) -> Class {
        if let Some(sqlstate) = self.sqlstate() {
            return class_of(&sqlstate);
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
            } => Class::Unknown,
            Self::Database { .. } => Class::Unavailable,
            Self::Task { source, .. } if source.is_cancelled() => Class::Interrupted,
            Self::Task { .. } => Class::Unknown,
        }
    }

    fn code(&self) -> String {
        match (self.sqlstate(), self) {
            (Some(code), _) => code.into_owned(),
            (None, Self::Database { .. }) => "PG_NO_ANSWER".to_owned(),
            (None, Self::Task { .. }) => "PG_TASK".to_owned(),
        }
    }

    /// The server's own words, without those the driver puts around them.
    fn summary(&self) -> String {
        match self {
            Self::Database { source: sqlx::Error::Database(error), .. } => format!("{self}: {}", error.message()),
            Self::Database { source, .. } => format!("{self}: {source}"),
            Self::Task { source, .. } => format!("{self}: {source}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_decides_something() {
        for (index, (prefix, class, why)) in SQLSTATES.iter().enumerate() {
            assert!(!why.is_empty());
            let shadowed = SQLSTATES[..index].iter().any(|(earlier, ..)| prefix.starts_with(earlier));
            assert!(!shadowed, "{prefix} is never reached");
            assert_eq!(class_of(&format!("{prefix:0<5}")), *class);
        }
    }

    #[test]
    fn outages_contention_and_verdicts_are_told_apart() {
        for (sqlstate, class) in [
            ("08006", Class::Unavailable),
            ("53100", Class::Unavailable),
            ("57P01", Class::Unavailable),
            ("25006", Class::Unavailable),
            ("40P01", Class::Contended),
            ("57014", Class::Contended),
            ("23514", Class::Permanent),
            ("22021", Class::Permanent),
            ("P0001", Class::Unknown),
            ("42P01", Class::Unknown),
            ("XX000", Class::Unknown),
        ] {
            assert_eq!(class_of(sqlstate), class, "{sqlstate}");
        }
    }
}
