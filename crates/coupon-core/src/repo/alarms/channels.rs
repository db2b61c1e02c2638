//! State of the alarm channels, shared by all replicas, so that one which has just started knows which of them fail.

use chrono::{DateTime, Utc};

use crate::repo::{AlarmRepository, RepoError};

/// State of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow, serde::Serialize)]
pub struct ChannelState {
    /// Name of the channel.
    pub channel: String,
    /// Time of the first failure since its last success; `None` while it works.
    pub down_since: Option<DateTime<Utc>>,
    /// Time before which the channel asked not to be called.
    pub not_before: Option<DateTime<Utc>>,
    /// Last error.
    pub last_error: Option<String>,
}

impl AlarmRepository<'_> {
    /// Returns the channels that have ever failed.
    pub async fn channels(self) -> Result<Vec<ChannelState>, RepoError> {
        let select = sqlx::query_as("SELECT channel, down_since, not_before, last_error FROM alarm_channels");
        self.read("read the alarm channels", select.fetch_all(&self.pool())).await
    }

    /// Notes a failure of a channel, and returns its state.
    pub async fn note_channel_failed(
        self,
        channel: &'static str,
        error: String,
        not_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<ChannelState, RepoError> {
        self.write("note how a channel fares", move |pool| async move {
            sqlx::query_as(
                "INSERT INTO alarm_channels AS known (channel, down_since, not_before, last_error) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (channel) DO UPDATE
                 SET down_since = coalesce(known.down_since, excluded.down_since), last_error = excluded.last_error,
                     not_before = greatest(known.not_before, excluded.not_before)
                 RETURNING channel, down_since, not_before, last_error",
            )
            .bind(channel)
            .bind(now)
            .bind(not_before)
            .bind(error)
            .fetch_one(&pool)
            .await
        })
        .await
    }

    /// Notes a success of a channel that had failed.
    pub async fn note_channel_works(self, channel: &'static str) -> Result<(), RepoError> {
        let update = sqlx::query(
            "UPDATE alarm_channels SET down_since = NULL, not_before = NULL, last_error = NULL
             WHERE channel = $1 AND down_since IS NOT NULL",
        );
        self.execute("note that a channel works", update.bind(channel)).await.map(drop)
    }
}
