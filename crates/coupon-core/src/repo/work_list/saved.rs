//! Views of the console that operators keep: the table `saved_filters`.

use chrono::{DateTime, Utc};

use crate::repo::{RepoError, WorkListRepository};

/// Most views that one operator keeps.
const MAX_VIEWS: i64 = 50;

/// A view that an operator keeps.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct SavedView {
    /// Name.
    pub name: String,
    /// Path and query of the view.
    pub view: String,
    /// Time of the saving.
    pub created_at: DateTime<Utc>,
}

impl WorkListRepository<'_> {
    /// Returns the views of an operator whose path is `path`, by name.
    pub async fn saved_views(self, operator: &str, path: &str) -> Result<Vec<SavedView>, RepoError> {
        let select = sqlx::query_as(
            "SELECT name, view, created_at FROM saved_filters
             WHERE operator_name = $1 AND (view = $2 OR starts_with(view, $2 || '?')) ORDER BY name LIMIT $3",
        )
        .bind(operator)
        .bind(path)
        .bind(MAX_VIEWS);
        self.read("read saved views", select.fetch_all(&self.pool())).await
    }

    /// Keeps a view; one of the same name is replaced. `false` when the operator has as many as are kept.
    pub async fn save_view(
        self,
        operator: String,
        name: String,
        view: String,
        now: DateTime<Utc>,
    ) -> Result<bool, RepoError> {
        let insert = sqlx::query(
            "INSERT INTO saved_filters (operator_name, name, view, created_at)
             SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM saved_filters WHERE operator_name = $1 AND name <> $2) < $5
             ON CONFLICT (operator_name, name) DO UPDATE SET view = excluded.view, created_at = excluded.created_at",
        )
        .bind(operator)
        .bind(name)
        .bind(view)
        .bind(now)
        .bind(MAX_VIEWS);
        Ok(self.execute("save a view", insert).await? == 1)
    }

    /// Deletes a view. `false` when there is none of this name.
    pub async fn delete_view(self, operator: String, name: String) -> Result<bool, RepoError> {
        let delete = sqlx::query("DELETE FROM saved_filters WHERE operator_name = $1 AND name = $2");
        Ok(self.execute("delete a view", delete.bind(operator).bind(name)).await? == 1)
    }
}
