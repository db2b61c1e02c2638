//! Operators of the console: their tokens and sessions, of which only digests are kept.

use chrono::{DateTime, Utc};

use super::{
    OperatorRepository, RepoError,
    audit::{Actor, append_audit},
};

/// An operator with a token.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow, serde::Serialize)]
pub struct OperatorRow {
    /// Name in the audit.
    pub name: String,
    /// Role.
    pub role: String,
    /// Who added it.
    pub created_by: String,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// From when on its token is worth nothing.
    pub expires_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// An operator to be added.
#[derive(Clone, Debug)]
pub struct NewOperator {
    /// Name, never used before: 1 to 100 of `A-Za-z0-9._@-`.
    pub name: String,
    /// Role.
    pub role: &'static str,
    /// SHA-256 of the token.
    pub token_hash: [u8; 32],
    /// From when on the token is worth nothing.
    pub expires_at: DateTime<Utc>,
}

/// A session to be begun.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// SHA-256 of the cookie's value.
    pub session_hash: [u8; 32],
    /// Whose it is.
    pub operator: String,
    /// Address from which it is begun.
    pub source: String,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}

/// The columns of an [`OperatorRow`].
const COLUMNS: &str = "o.name, o.role, o.created_by, o.created_at, o.expires_at, o.revoked_at";

impl OperatorRepository<'_> {
    /// Adds an operator, with its audit. `false` when the name was given out before.
    pub async fn add(self, new: NewOperator, actor: Actor) -> Result<bool, RepoError> {
        self.write("add an operator", move |pool| async move {
            let mut tx = pool.begin().await?;
            let added = sqlx::query(
                "INSERT INTO operators (name, role, token_hash, created_by, created_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING",
            )
            .bind(&new.name)
            .bind(new.role)
            .bind(new.token_hash)
            .bind(&actor.by.name)
            .bind(actor.now)
            .bind(new.expires_at)
            .execute(&mut *tx)
            .await?;
            if added.rows_affected() == 0 {
                return Ok(false);
            }
            let change = serde_json::json!({ "to": { "role": new.role, "expires_at": new.expires_at } });
            let subject = format!("operators/{}", new.name);
            append_audit(&mut tx, &actor, "operator.add", &subject, change, &actor.by.reason).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Revokes an operator and ends its sessions, with its audit. `false` when there is none, or it was revoked before.
    pub async fn revoke(self, name: String, actor: Actor) -> Result<bool, RepoError> {
        self.write("revoke an operator", move |pool| async move {
            let mut tx = pool.begin().await?;
            let revoked = sqlx::query("UPDATE operators SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL")
                .bind(&name)
                .bind(actor.now)
                .execute(&mut *tx)
                .await?;
            if revoked.rows_affected() == 0 {
                return Ok(false);
            }
            sqlx::query("UPDATE operator_sessions SET ended_at = $2 WHERE operator_name = $1 AND ended_at IS NULL")
                .bind(&name)
                .bind(actor.now)
                .execute(&mut *tx)
                .await?;
            let change = serde_json::json!({ "to": { "revoked": true } });
            let subject = format!("operators/{name}");
            append_audit(&mut tx, &actor, "operator.revoke", &subject, change, &actor.by.reason).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Gives an operator a code for one login until `expires_at`, with its audit; a code before it is worth nothing any more.
    /// `false` when there is no such operator, or its token is worth nothing.
    pub async fn set_login_code(
        self,
        name: String,
        code_hash: [u8; 32],
        expires_at: DateTime<Utc>,
        actor: Actor,
    ) -> Result<bool, RepoError> {
        self.write("give an operator a login code", move |pool| async move {
            let mut tx = pool.begin().await?;
            let set = sqlx::query(
                "UPDATE operators SET login_code_hash = $2, login_code_expires_at = $3
                 WHERE name = $1 AND revoked_at IS NULL AND expires_at > $4",
            )
            .bind(&name)
            .bind(code_hash)
            .bind(expires_at)
            .bind(actor.now)
            .execute(&mut *tx)
            .await?;
            if set.rows_affected() == 0 {
                return Ok(false);
            }
            let change = serde_json::json!({ "to": { "expires_at": expires_at } });
            let subject = format!("operators/{name}");
            append_audit(&mut tx, &actor, "operator.link", &subject, change, &actor.by.reason).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Takes the login code with this SHA-256 back and returns its operator, if both are worth something at `now`. Of two
    /// that come with the same code, one gets the operator.
    pub async fn take_login_code(
        self,
        code_hash: [u8; 32],
        now: DateTime<Utc>,
    ) -> Result<Option<OperatorRow>, RepoError> {
        self.write("take a login code", move |pool| async move {
            let take = "UPDATE operators o SET login_code_hash = NULL, login_code_expires_at = NULL
                 WHERE o.login_code_hash = $1 AND o.login_code_expires_at > $2 AND o.revoked_at IS NULL AND o.expires_at > $2
                 RETURNING";
            let take = sqlx::query_as(sqlx::AssertSqlSafe([take, COLUMNS].join(" ")));
            take.bind(code_hash).bind(now).fetch_optional(&pool).await
        })
        .await
    }

    /// Returns all operators by name, the revoked ones too.
    pub async fn list(self) -> Result<Vec<OperatorRow>, RepoError> {
        let sql = ["SELECT", COLUMNS, "FROM operators o ORDER BY o.name LIMIT 1000"].join(" ");
        let select = sqlx::query_as(sqlx::AssertSqlSafe(sql));
        self.read("list operators", select.fetch_all(&self.pool())).await
    }

    /// Returns the operator whose token has this SHA-256, if it is worth something at `now`.
    pub async fn of_token(self, token_hash: [u8; 32], now: DateTime<Utc>) -> Result<Option<OperatorRow>, RepoError> {
        let valid = "FROM operators o WHERE o.token_hash = $1 AND o.revoked_at IS NULL AND o.expires_at > $2";
        let select = sqlx::query_as(sqlx::AssertSqlSafe(["SELECT", COLUMNS, valid].join(" ")));
        self.read("look a token up", select.bind(token_hash).bind(now).fetch_optional(&self.pool())).await
    }

    /// Returns the operator of the session whose cookie has this SHA-256, if both last at `now`.
    pub async fn of_session(
        self,
        session_hash: [u8; 32],
        now: DateTime<Utc>,
    ) -> Result<Option<OperatorRow>, RepoError> {
        let valid = "FROM operator_sessions s JOIN operators o ON o.name = s.operator_name
             WHERE s.session_hash = $1 AND s.ended_at IS NULL AND s.expires_at > $2
               AND o.revoked_at IS NULL AND o.expires_at > $2";
        let select = sqlx::query_as(sqlx::AssertSqlSafe(["SELECT", COLUMNS, valid].join(" ")));
        self.read("look a session up", select.bind(session_hash).bind(now).fetch_optional(&self.pool())).await
    }

    /// Begins a session, with its audit, and deletes those that ended more than a day ago.
    pub async fn begin_session(self, new: NewSession, actor: Actor) -> Result<(), RepoError> {
        self.write("begin a session", move |pool| async move {
            let mut tx = pool.begin().await?;
            sqlx::query("DELETE FROM operator_sessions WHERE expires_at < $1 - interval '1 day'")
                .bind(actor.now)
                .execute(&mut *tx)
                .await?;
            sqlx::query(
                "INSERT INTO operator_sessions (session_hash, operator_name, source, created_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(new.session_hash)
            .bind(&new.operator)
            .bind(&new.source)
            .bind(actor.now)
            .bind(new.expires_at)
            .execute(&mut *tx)
            .await?;
            let subject = format!("operators/{}", new.operator);
            append_audit(&mut tx, &actor, "login", &subject, serde_json::json!({}), "").await?;
            tx.commit().await
        })
        .await
    }

    /// Forgets the login codes that were not used in time.
    pub async fn forget_login_codes(self, now: DateTime<Utc>) -> Result<(), RepoError> {
        let forget = sqlx::query(
            "UPDATE operators SET login_code_hash = NULL, login_code_expires_at = NULL WHERE login_code_expires_at <= $1",
        );
        self.execute("forget old login codes", forget.bind(now)).await.map(drop)
    }

    /// Ends a session. Nothing happens when there is none.
    pub async fn end_session(self, session_hash: [u8; 32], now: DateTime<Utc>) -> Result<(), RepoError> {
        let end =
            sqlx::query("UPDATE operator_sessions SET ended_at = $2 WHERE session_hash = $1 AND ended_at IS NULL");
        self.execute("end a session", end.bind(session_hash).bind(now)).await.map(drop)
    }
}
