//! The ways in which PostgreSQL can be away, each as statements that bring it about and end it.

/// Names the place of a statement: `server` outside the database, where it may be closed; `own` within; `held` within, in a
/// transaction that stays open.
#[derive(Clone, Copy)]
pub enum In {
    Server(&'static str),
    Own(&'static str),
    Held(&'static str),
}
use In::{Held, Own, Server};

/// How long the service waits for a lock where nobody is in the way for long, and where somebody is, in ms.
pub const LOCK_TIMEOUT_MS: u64 = 5000;
pub const SHORT_LOCK_TIMEOUT_MS: u64 = 300;

/// A way to be away: what brings it about, and what ends it. `{db}` and `{role}` stand for the database and for the role of
/// the service.
pub struct Way {
    pub name: &'static str,
    /// Whether those who are connected are disconnected; if not, the sessions there are meet it.
    pub ends_sessions: bool,
    /// Whether decisions against a request meet it too.
    pub bars_decisions: bool,
    pub lock_timeout_ms: u64,
    pub begin: &'static [In],
    pub end: &'static [In],
}

const fn closed(name: &'static str, begin: &'static [In], end: &'static [In]) -> Way {
    Way { name, ends_sessions: true, bars_decisions: true, lock_timeout_ms: LOCK_TIMEOUT_MS, begin, end }
}

const fn broken(name: &'static str, begin: &'static [In], end: &'static [In]) -> Way {
    Way { name, ends_sessions: false, bars_decisions: true, lock_timeout_ms: LOCK_TIMEOUT_MS, begin, end }
}

/// Raises for every statement, whatever rows it has.
macro_rules! refuses_statements {
    ($state:literal) => {
        broken(
            concat!("a trigger refuses every statement with ", $state),
            &[
                Own(concat!(
                    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                     'BEGIN RAISE ''not now'' USING ERRCODE = ''",
                    $state,
                    "''; END'"
                )),
                Own("CREATE TRIGGER refuse BEFORE INSERT ON coupon_issues EXECUTE FUNCTION refuse()"),
            ],
            &[Own("DROP FUNCTION refuse CASCADE")],
        )
    };
}

/// More than thirty of them.
pub const WAYS: &[Way] = &[
    closed(
        "no connections allowed",
        &[Server("ALTER DATABASE {db} ALLOW_CONNECTIONS false")],
        &[Server("ALTER DATABASE {db} ALLOW_CONNECTIONS true")],
    ),
    closed(
        "connecting revoked",
        &[Server("REVOKE CONNECT ON DATABASE {db} FROM PUBLIC")],
        &[Server("GRANT CONNECT ON DATABASE {db} TO PUBLIC")],
    ),
    closed(
        "no connection left of the database",
        &[Server("ALTER DATABASE {db} CONNECTION LIMIT 0")],
        &[Server("ALTER DATABASE {db} CONNECTION LIMIT -1")],
    ),
    closed(
        "no connection left of the role",
        &[Server("ALTER ROLE {role} CONNECTION LIMIT 0")],
        &[Server("ALTER ROLE {role} CONNECTION LIMIT -1")],
    ),
    closed("no login", &[Server("ALTER ROLE {role} NOLOGIN")], &[Server("ALTER ROLE {role} LOGIN")]),
    closed(
        "another password",
        &[Server("ALTER ROLE {role} PASSWORD 'another'")],
        &[Server("ALTER ROLE {role} PASSWORD 'secret'")],
    ),
    closed(
        "a password that has expired",
        &[Server("ALTER ROLE {role} VALID UNTIL '2020-01-01'")],
        &[Server("ALTER ROLE {role} VALID UNTIL 'infinity'")],
    ),
    closed(
        "the database renamed",
        &[Server("ALTER DATABASE {db} RENAME TO {db}_away")],
        &[Server("ALTER DATABASE {db}_away RENAME TO {db}")],
    ),
    closed(
        "a database that is read-only",
        &[Server("ALTER DATABASE {db} SET default_transaction_read_only = on")],
        &[Server("ALTER DATABASE {db} RESET default_transaction_read_only")],
    ),
    closed(
        "a role that is read-only",
        &[Server("ALTER ROLE {role} SET default_transaction_read_only = on")],
        &[Server("ALTER ROLE {role} RESET default_transaction_read_only")],
    ),
    closed(
        "a role that looks elsewhere",
        &[Server("ALTER ROLE {role} SET search_path = nowhere")],
        &[Server("ALTER ROLE {role} RESET search_path")],
    ),
    broken(
        "no right to insert",
        &[Own("REVOKE INSERT ON coupon_issues FROM {role}")],
        &[Own("GRANT INSERT ON coupon_issues TO {role}")],
    ),
    broken(
        "no right to look",
        &[Own("REVOKE SELECT ON coupon_issues FROM {role}")],
        &[Own("GRANT SELECT ON coupon_issues TO {role}")],
    ),
    broken(
        "no right to count",
        &[Own("REVOKE UPDATE ON coupons FROM {role}")],
        &[Own("GRANT UPDATE ON coupons TO {role}")],
    ),
    broken(
        "no right to the schema",
        &[Own("REVOKE USAGE ON SCHEMA public FROM PUBLIC, {role}")],
        &[Own("GRANT USAGE ON SCHEMA public TO PUBLIC, {role}")],
    ),
    broken(
        "row security without a policy",
        &[Own("ALTER TABLE coupon_issues ENABLE ROW LEVEL SECURITY")],
        &[Own("ALTER TABLE coupon_issues DISABLE ROW LEVEL SECURITY")],
    ),
    broken(
        "a table renamed",
        &[Own("ALTER TABLE coupon_issues RENAME TO coupon_issues_away")],
        &[Own("ALTER TABLE coupon_issues_away RENAME TO coupon_issues")],
    ),
    broken(
        "a schema renamed",
        &[Own("ALTER SCHEMA public RENAME TO away")],
        &[Own("ALTER SCHEMA away RENAME TO public")],
    ),
    broken(
        "a full disk",
        &[
            Own("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN RAISE ''no space left on device'' USING ERRCODE = ''53100''; END'"),
            Own("CREATE TRIGGER refuse BEFORE INSERT ON coupon_issues FOR EACH ROW EXECUTE FUNCTION refuse()"),
        ],
        &[Own("DROP FUNCTION refuse CASCADE")],
    ),
    broken(
        "no numbers left",
        &[
            Own("CREATE SEQUENCE few MAXVALUE 2"),
            Own("GRANT USAGE ON few TO {role}"),
            Own("SELECT nextval('few'), nextval('few')"),
            Own("ALTER TABLE coupon_issues ADD COLUMN number bigint"),
            Own("ALTER TABLE coupon_issues ALTER COLUMN number SET DEFAULT nextval('few')"),
        ],
        &[Own("ALTER TABLE coupon_issues DROP COLUMN number")],
    ),
    broken(
        "a column that nobody fills",
        &[
            Own("ALTER TABLE coupon_issues ADD COLUMN more bigint NOT NULL DEFAULT 0"),
            Own("ALTER TABLE coupon_issues ALTER COLUMN more DROP DEFAULT"),
        ],
        &[Own("ALTER TABLE coupon_issues DROP COLUMN more")],
    ),
    broken(
        "an index that cannot be kept",
        &[
            Own("CREATE FUNCTION kept(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'"),
            Own("CREATE INDEX broken ON coupon_issues (kept(member_id))"),
            Own("CREATE OR REPLACE FUNCTION kept(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
                 'BEGIN RAISE ''index is corrupt'' USING ERRCODE = ''XX002''; END'"),
        ],
        &[Own("DROP FUNCTION kept(text) CASCADE")],
    ),
    broken(
        "a check at the end of each transaction",
        &[
            Own("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN RAISE ''not now'' USING ERRCODE = ''55000''; END'"),
            Own("CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON coupon_issues DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION refuse()"),
        ],
        &[Own("DROP FUNCTION refuse CASCADE")],
    ),
    Way {
        name: "a function renamed",
        ends_sessions: false,
        bars_decisions: false,
        lock_timeout_ms: LOCK_TIMEOUT_MS,
        begin: &[Own("ALTER FUNCTION coupon_guard_failed RENAME TO coupon_guard_away")],
        end: &[Own("ALTER FUNCTION coupon_guard_away RENAME TO coupon_guard_failed")],
    },
    Way {
        name: "a table that somebody has locked",
        ends_sessions: false,
        bars_decisions: true,
        lock_timeout_ms: SHORT_LOCK_TIMEOUT_MS,
        begin: &[Held("LOCK TABLE coupon_issues IN ACCESS EXCLUSIVE MODE")],
        end: &[Held("ROLLBACK")],
    },
    refuses_statements!("42501"),
    refuses_statements!("55000"),
    refuses_statements!("57P03"),
    refuses_statements!("0A000"),
    refuses_statements!("26000"),
    refuses_statements!("42P05"),
    refuses_statements!("55P03"),
    refuses_statements!("57014"),
    refuses_statements!("XX000"),
    refuses_statements!("P0001"),
    refuses_statements!("22023"),
];
