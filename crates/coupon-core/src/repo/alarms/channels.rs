//! How the ways of telling somebody fare: shared by all replicas, so that one which has just started knows what the
//! others have met.

use chrono::{DateTime, Utc};

use crate::repo::{AlarmRepository, RepoError};

/// How a channel fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct ChannelState {
    /// Its name.
    pub channel: String,
    /// Since when it has failed without a success between; `None` while it works.
    pub down_since: Option<DateTime<Utc>>,
    /// It asked not to be called before this moment.
    pub not_before: Option<DateTime<Utc>>,
    /// What it last answered wrongly.
    pub last_error: Option<String>,
}

impl AlarmRepository<'_> {
    /// The channels that have ever failed.
    pub async fn channels(self) -> Result<Vec<ChannelState>, RepoError> {
        let pool = self.pool();
        let question =
            sqlx::query_as("SELECT channel, down_since, not_before, last_error FROM alarm_channels").fetch_all(&pool);
        self.read("read the alarm channels", question).await
    }

    /// Notes that a channel failed, and gives what is known of it now.
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

    /// Notes that a channel that had failed works.
    pub async fn note_channel_works(self, channel: &'static str) -> Result<(), RepoError> {
        self.write("note that a channel works", move |pool| async move {
            sqlx::query(
                "UPDATE alarm_channels SET down_since = NULL, not_before = NULL, last_error = NULL
                 WHERE channel = $1 AND down_since IS NOT NULL",
            )
            .bind(channel)
            .execute(&pool)
            .await
            .map(drop)
        })
        .await
    }
}
