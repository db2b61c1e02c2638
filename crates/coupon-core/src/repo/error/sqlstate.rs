//! The class of every SQLSTATE, in one table.

use crate::failure::Class;

/// The class of an SQLSTATE is that of the first row that it begins with. Single codes stand before their class, and
/// every class of the PostgreSQL documentation, appendix A, has its row.
const SQLSTATES: &[(&str, Class, &str)] = &[
    ("00", Class::Unknown, "successful completion: no error at all"),
    ("01", Class::Unknown, "warning"),
    ("02", Class::Unknown, "no data"),
    ("03", Class::Unknown, "statement not yet complete"),
    ("08", Class::Unavailable, "connection exception"),
    ("09", Class::Unknown, "triggered action exception"),
    ("0A", Class::Unknown, "feature not supported"),
    ("0B", Class::Unknown, "invalid transaction initiation"),
    ("0F", Class::Unknown, "locator exception"),
    ("0L", Class::Unknown, "invalid grantor"),
    ("0P", Class::Unknown, "invalid role specification"),
    ("0Z", Class::Unknown, "diagnostics exception"),
    ("10", Class::Unknown, "xquery error"),
    ("20", Class::Unknown, "case not found"),
    ("21", Class::Unknown, "cardinality violation"),
    ("22", Class::Permanent, "data the database can never take"),
    ("23", Class::Permanent, "constraint violation"),
    ("24", Class::Unknown, "invalid cursor state"),
    ("25006", Class::Unavailable, "read-only transaction: a standby, or a primary being demoted"),
    ("25P03", Class::Contended, "idle in transaction for too long"),
    ("25P04", Class::Contended, "transaction timeout while the database answers"),
    ("25", Class::Unknown, "invalid transaction state"),
    ("26", Class::Contended, "a prepared statement is gone: a pooler has changed the connection"),
    ("27", Class::Unknown, "triggered data change violation"),
    ("28", Class::Unavailable, "login refused: a rotated password is an outage, not a verdict on a record"),
    ("2B", Class::Unknown, "dependent privilege descriptors"),
    ("2D", Class::Unknown, "invalid transaction termination"),
    ("2F", Class::Unknown, "routine exception"),
    ("34", Class::Unknown, "invalid cursor name"),
    ("38", Class::Unknown, "external routine exception"),
    ("39", Class::Unknown, "external routine invocation"),
    ("3B", Class::Unknown, "savepoint exception"),
    ("3D", Class::Unavailable, "no such database: being restored"),
    ("3F", Class::Unknown, "no such schema"),
    // 40001 serialization failure, 40P01 deadlock.
    ("40", Class::Contended, "transaction rolled back"),
    ("42P05", Class::Contended, "a prepared statement of another session: a pooler has changed the connection"),
    ("42", Class::Unknown, "syntax error or access rule: a deployment gone wrong"),
    ("44", Class::Permanent, "check option violation"),
    ("53", Class::Unavailable, "out of disk, memory or connections"),
    ("54", Class::Permanent, "beyond a limit of the database, such as the size of an index row"),
    ("55006", Class::Contended, "object in use"),
    ("55P03", Class::Contended, "lock timeout"),
    ("55", Class::Unknown, "object not in the state it must have"),
    ("57014", Class::Contended, "statement timeout while the database answers"),
    ("57", Class::Unavailable, "shutting down, starting up, or a session killed by an administrator"),
    ("58", Class::Unavailable, "error of the operating system below the database"),
    ("72", Class::Contended, "snapshot too old"),
    ("CP001", Class::Contended, "the coupon's epoch moved on during the statement (our own code)"),
    ("F0", Class::Unavailable, "configuration file error"),
    ("HV", Class::Unknown, "foreign data wrapper"),
    ("P0", Class::Unknown, "raised by a function or a trigger"),
    ("XX", Class::Unknown, "internal error, or corrupted data"),
];

/// Beginnings of the SQLSTATEs that say that the session, or the server, is the wrong one: a standby, statements or
/// plans that the session has lost or that are outdated, names that it does not see.
const OF_THE_SESSION: &[&str] = &["08", "0A000", "25", "26", "28", "34", "3F", "42P", "42704", "42883"];

/// Beginnings of the contended SQLSTATEs of two writers that conflict in a database that works. Any other contention
/// may be an outage: a lock on a whole table, a pooler, a server that does not answer in time.
const OF_TWO_WRITERS: &[&str] = &["40", "CP001"];

/// Whether a contended SQLSTATE shows that the database works.
pub(super) fn speaks_of_two_writers(sqlstate: &str) -> bool {
    OF_TWO_WRITERS.iter().any(|prefix| sqlstate.starts_with(prefix))
}

/// Whether a new session may get another answer.
pub(super) fn speaks_of_the_session(sqlstate: &str) -> bool {
    OF_THE_SESSION.iter().any(|prefix| sqlstate.starts_with(prefix))
}

/// Returns the class of an SQLSTATE; [`Class::Unknown`] for one that only a newer PostgreSQL has.
pub(super) fn class_of(sqlstate: &str) -> Class {
    SQLSTATES.iter().find(|(prefix, ..)| sqlstate.starts_with(prefix)).map_or(Class::Unknown, |(_, class, _)| *class)
}

/// Returns the beginnings of the SQLSTATEs of outages and of contention, which are of no single record.
pub fn not_of_a_record() -> Vec<&'static str> {
    let rows = SQLSTATES.iter().filter(|(_, class, _)| !class.may_lie_in_one_record());
    rows.map(|(prefix, ..)| *prefix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The classes of appendix A (PostgreSQL 18), and our own.
    const CLASSES: &str = "00 01 02 03 08 09 0A 0B 0F 0L 0P 0Z 10 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D \
                           3F 40 42 44 53 54 55 57 58 72 F0 HV P0 XX";

    #[test]
    fn every_class_of_the_documentation_has_a_row_of_its_own() {
        for class in CLASSES.split_whitespace() {
            assert!(SQLSTATES.iter().any(|(prefix, ..)| *prefix == class), "class {class} has no row");
        }
        let strange = SQLSTATES.iter().find(|(prefix, ..)| !CLASSES.contains(&prefix[..2]) && *prefix != "CP001");
        assert_eq!(strange, None, "a class that the documentation does not know");
    }

    #[test]
    fn every_row_of_the_table_decides_something() {
        for (index, (prefix, class, why)) in SQLSTATES.iter().enumerate() {
            assert!(!why.is_empty());
            let shadowed = SQLSTATES[..index].iter().any(|(earlier, ..)| prefix.starts_with(earlier));
            assert!(!shadowed, "{prefix} is never reached");
            assert_eq!(class_of(&format!("{prefix:Z<5}")), *class);
        }
    }

    #[test]
    fn what_is_not_of_a_record_is_told_by_beginnings_alone() {
        let prefixes = not_of_a_record();
        for (prefix, class, _) in SQLSTATES {
            let is_told = prefixes.iter().any(|other| prefix.starts_with(other));
            assert_eq!(is_told, matches!(class, Class::Unavailable | Class::Contended), "{prefix}");
        }
    }

    #[test]
    fn outages_contention_and_verdicts_are_told_apart() {
        for (sqlstate, class) in [
            ("08006", Class::Unavailable),
            ("53100", Class::Unavailable),
            ("57P01", Class::Unavailable),
            ("25006", Class::Unavailable),
            ("40001", Class::Contended),
            ("40P01", Class::Contended),
            ("26000", Class::Contended),
            ("42P05", Class::Contended),
            ("55P03", Class::Contended),
            ("57014", Class::Contended),
            ("23514", Class::Permanent),
            ("22021", Class::Permanent),
            ("P0001", Class::Unknown),
            ("42P01", Class::Unknown),
            ("XX000", Class::Unknown),
            ("ZZ999", Class::Unknown),
        ] {
            assert_eq!(class_of(sqlstate), class, "{sqlstate}");
        }
    }

    /// Behind a pooler, after a failover or beside a migration; none of them is said of a row.
    #[test]
    fn what_a_server_says_of_the_wrong_session_or_of_itself_asks_for_new_connections() {
        for sqlstate in ["25006", "26000", "42P05", "42P01", "42883", "0A000", "34000", "3F000", "28P01", "08P01"] {
            assert!(speaks_of_the_session(sqlstate), "{sqlstate}");
        }
        for sqlstate in ["23514", "22021", "P0001", "40001", "55P03", "57014", "53100", "42501"] {
            assert!(!speaks_of_the_session(sqlstate), "{sqlstate}");
        }
    }
}
