//! A part of a page that fails alone.

use std::error::Error;

use coupon_core::runtime::chain;
use serde::Serialize;

use crate::bound::PART;

/// A part of a page, or a sentence that says which server is away.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tile<T> {
    /// What was asked for.
    Known(T),
    /// Which server does not answer, and what was seen of that.
    Away(String),
}

impl<T> Tile<T> {
    /// Changes what is known.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Tile<U> {
        match self {
            Self::Known(part) => Tile::Known(change(part)),
            Self::Away(why) => Tile::Away(why),
        }
    }

    /// Returns what is known.
    pub(crate) fn known(&self) -> Option<&T> {
        match self {
            Self::Known(part) => Some(part),
            Self::Away(_) => None,
        }
    }

    /// Waits for a part. A page waits for all of its parts at once, so it takes as long as the slowest,
    /// and none longer than [`PART`].
    pub(crate) async fn of<E: Error + 'static>(server: &str, part: impl Future<Output = Result<T, E>>) -> Self {
        match tokio::time::timeout(PART, part).await {
            Ok(Ok(part)) => Self::Known(part),
            Ok(Err(error)) => Self::Away(format!("{server} does not answer: {}", chain(&error))),
            Err(_) => Self::Away(format!("{server} does not answer within {} ms", PART.as_millis())),
        }
    }
}
