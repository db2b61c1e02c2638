//! The settings of the processes of a world.

use super::World;
use crate::kafka::Topic;

impl World {
    /// The same world, whose `dlq-consumer` publishes decisions to a topic that is not there yet. The oracle reads it.
    #[must_use]
    pub fn publishing_decisions(mut self) -> Self {
        let name = format!("{}.coupon-decisions", self.claim.prefix());
        self.decisions = Some(Topic::new(&self.servers.kafka_brokers, &name));
        self
    }

    /// Settings by which a process works in this world and in no other.
    pub(super) fn settings_of(&self, binary: &str) -> Vec<(String, String)> {
        let text = |value: &str| value.to_owned();
        let mut settings = match binary {
            "issuer-api" => vec![
                ("kafka.topic", text(self.topic.name())),
                // A busy machine is no outage.
                ("redis.response_timeout_ms", text("5000")),
                ("auth.issuer", text(self.signer.issuer())),
                ("auth.audience", text(self.signer.audience())),
                ("auth.algorithms", format!("{:?}", self.signer.algorithm())),
                (self.signer.setting(), self.secret_file().display().to_string()),
            ],
            "issue-consumer" => {
                vec![("kafka.topic", text(self.topic.name())), ("kafka.dlq_topic", text(self.dlq.name()))]
            }
            _ => vec![
                ("kafka.dlq_topic", text(self.dlq.name())),
                ("kafka.topic", text(self.topic.name())),
                ("kafka.issue_group_id", self.group_of("issue-consumer")),
            ],
        };
        if let Some(topic) = self.decisions.as_ref().filter(|_| binary == "dlq-consumer") {
            settings.extend([("decisions.enabled", text("true")), ("decisions.topic", text(topic.name()))]);
        }
        if binary != "issuer-api" {
            settings.push(("kafka.group_id", self.group_of(binary)));
            // A killed member is missed after six seconds, the least that the broker allows.
            settings.push(("kafka.session_timeout_ms", text("6000")));
        }
        settings.extend(self.settings.iter().cloned());
        settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}
