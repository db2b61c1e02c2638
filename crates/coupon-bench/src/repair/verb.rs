//! What is run: each verb with its words.

use serde::{Serialize, Serializer};

use crate::place::Place;
use crate::seed::CODE;

/// A verb in the situation in which it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `reconcile` where Redis and PostgreSQL agree.
    Clean,
    /// `reconcile --apply` where marks are missing in Redis.
    Apply,
    /// `rebuild`.
    Rebuild,
}

impl Verb {
    /// In the order in which a round runs them.
    pub const ALL: [Self; 3] = [Self::Clean, Self::Apply, Self::Rebuild];

    /// As tables, files and messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "reconcile",
            Self::Apply => "reconcile --apply",
            Self::Rebuild => "rebuild",
        }
    }

    /// The command line behind the name of the binary.
    pub fn arguments(self, place: &Place) -> Vec<String> {
        let settings = [
            ("kafka.topic", place.topic.clone()),
            ("kafka.dlq_topic", place.dlq_topic.clone()),
            ("kafka.issue_group_id", format!("{}.issue-consumer", place.prefix)),
            ("kafka.group_id", format!("{}.dlq-consumer", place.prefix)),
        ];
        let words: &[&str] = match self {
            Self::Clean => &["reconcile", CODE],
            Self::Apply => &["reconcile", CODE, "--apply", "--by", "bench"],
            Self::Rebuild => &["rebuild", CODE, "--yes", "--by", "bench"],
        };
        let settings = settings.into_iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
        settings.chain(words.iter().map(|&word| word.to_owned())).collect()
    }
}

impl Serialize for Verb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
