//! The sources of the oracle.

use std::collections::BTreeMap;

use anyhow::Result;
use sqlx::PgPool;

use super::evidence::Evidence;
use crate::{answers::Answer, kafka::Topic, stock::Stock};

/// The stores of one pipeline, and the answers to its clients.
#[derive(Clone, Debug)]
pub struct Sources {
    /// PostgreSQL of the pipeline.
    pub db: PgPool,
    /// Redis of the pipeline.
    pub stock: Stock,
    /// The main topic.
    pub topic: Topic,
    /// The dead letter topic.
    pub dlq: Topic,
    /// The topic of decisions, where they are published.
    pub decisions: Option<Topic>,
    /// Consumer groups of `issue-consumer` and `dlq-consumer`; without them offsets are not looked at.
    pub groups: Option<(String, String)>,
    /// Answers of the API to clients.
    pub answers: Vec<Answer>,
}

impl Sources {
    /// Reads everything, or only what belongs to one campaign.
    pub async fn collect(&self, campaign: Option<&str>) -> Result<Evidence> {
        let (main_committed, dlq_committed) = self.committed().await?;
        let all = Evidence {
            answers: self.answers.clone(),
            main: self.topic.read().await?,
            dlq: self.dlq.read().await?,
            events: match &self.decisions {
                Some(topic) => Some(topic.read().await?),
                None => None,
            },
            main_committed,
            dlq_committed,
            campaigns: sqlx::query_as(
                "SELECT coupon_id, coupon_code, total_quantity, issued_quantity
                   FROM coupons WHERE coupon_code = $1 OR $1 IS NULL",
            )
            .bind(campaign)
            .fetch_all(&self.db)
            .await?,
            decisions: sqlx::query_as(
                "SELECT c.coupon_code, i.request_id, i.member_id, i.decision, i.decided_at, i.given_back_at, i.superseded_by
                   FROM coupon_issues i LEFT JOIN coupons c USING (coupon_id)
                  WHERE c.coupon_code = $1 OR $1 IS NULL",
            )
            .bind(campaign)
            .fetch_all(&self.db)
            .await?,
            failures: sqlx::query_as(
                "SELECT id, coupon_code, request_id, status, reason, failed_at
                   FROM failed_coupon_issues WHERE coupon_code = $1 OR $1 IS NULL",
            )
            .bind(campaign)
            .fetch_all(&self.db)
            .await?,
            dead_letters: sqlx::query_as(
                "SELECT dlq_partition, dlq_offset, original_event_id, coupon_code, status
                   FROM dlq_events WHERE dlq_topic = $1 AND (coupon_code = $2 OR $2 IS NULL)",
            )
            .bind(self.dlq.name())
            .bind(campaign)
            .fetch_all(&self.db)
            .await?,
            stock: self.stock(campaign).await?,
        };
        Ok(match campaign {
            Some(code) => all.of(&[code]),
            None => all,
        })
    }

    async fn committed(&self) -> Result<(BTreeMap<i32, i64>, BTreeMap<i32, i64>)> {
        let Some((main, dlq)) = &self.groups else {
            return Ok((BTreeMap::new(), BTreeMap::new()));
        };
        Ok((self.topic.committed(main).await?, self.dlq.committed(dlq).await?))
    }

    async fn stock(&self, campaign: Option<&str>) -> Result<BTreeMap<String, crate::stock::CampaignStock>> {
        let codes = match campaign {
            Some(code) => vec![code.to_owned()],
            None => self.stock.codes().await?,
        };
        let mut stock = BTreeMap::new();
        for code in codes {
            let found = self.stock.of(&code).await?;
            stock.insert(code, found);
        }
        Ok(stock)
    }
}
