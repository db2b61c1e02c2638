//! The brokers as a client sees them.

use rdkafka::{consumer::Consumer, metadata::MetadataBroker};
use serde::Serialize;

use super::{ConsumerProgress, PublishError};

/// A cluster of brokers. Brokers tell clients no version, only which requests they take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// Id; `None`: the brokers do not tell it.
    pub id: Option<String>,
    /// The brokers that are up, by number.
    pub brokers: Vec<Node>,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Number.
    pub id: i32,
    /// Host and port at which clients reach it.
    pub address: String,
}

impl ConsumerProgress {
    /// Returns the cluster as its brokers describe it now.
    pub async fn cluster(&self) -> Result<Cluster, PublishError> {
        let topic = self.topic().to_owned();
        let asked = self.asking.ask(move |client, within| {
            // Of one topic, because a cluster may have thousands.
            let metadata = client.fetch_metadata(Some(&topic), within)?;
            let node = |broker: &MetadataBroker| Node {
                id: broker.id(),
                address: format!("{}:{}", broker.host(), broker.port()),
            };
            let mut brokers: Vec<Node> = metadata.brokers().iter().map(node).collect();
            brokers.sort_unstable_by_key(|broker| broker.id);
            Ok(Cluster { id: client.client().fetch_cluster_id(within), brokers })
        });
        asked.await
    }
}
