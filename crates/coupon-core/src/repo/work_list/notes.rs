//! What operators tell each other about a row: the table `row_notes`.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use crate::repo::{
    RepoError, WorkListRepository,
    audit::{Actor, append_audit},
    work_list::Number,
};

/// A note on a row.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Note {
    /// Order of the notes.
    pub id: i64,
    /// Operator who wrote it.
    pub written_by: String,
    /// Time of the writing.
    pub written_at: DateTime<Utc>,
    /// The words, at most 4,000 characters.
    pub note: String,
}

impl WorkListRepository<'_> {
    /// Adds a note to a row, with its audit. `false` when there is no such row.
    pub async fn add_note(self, number: Number, note: String, actor: Actor) -> Result<bool, RepoError> {
        self.write("note something on a row", move |pool| async move {
            let subject = format!("{}/{}", number.list, number.id);
            let mut tx = pool.begin().await?;
            let insert = format!(
                "INSERT INTO row_notes (subject, written_by, written_at, note)
                 SELECT $1, $2, $3, $4 FROM {} WHERE id = $5 RETURNING id",
                number.list
            );
            let added: Option<i64> = sqlx::query_scalar(AssertSqlSafe(insert))
                .bind(&subject)
                .bind(&actor.by.name)
                .bind(actor.now)
                .bind(&note)
                .bind(number.id)
                .fetch_optional(&mut *tx)
                .await?;
            let Some(added) = added else { return Ok(false) };
            let change = serde_json::json!({ "to": { "note": added } });
            append_audit(&mut tx, &actor, "note", &subject, change, "").await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Returns the notes of a row, oldest first, at most 200.
    pub async fn notes(self, number: Number) -> Result<Vec<Note>, RepoError> {
        let select = sqlx::query_as(
            "SELECT id, written_by, written_at, note FROM row_notes WHERE subject = $1 ORDER BY id LIMIT 200",
        )
        .bind(format!("{}/{}", number.list, number.id));
        self.read("read the notes of a row", select.fetch_all(&self.pool())).await
    }
}
