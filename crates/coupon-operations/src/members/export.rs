//! All that is stored about a member, as a document.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use coupon_core::{
    ids::{CouponCode, MemberId},
    repo::personal_data::PLACES,
};
use serde::Serialize;
use serde_json::Value;

use super::{MemberError, scrub::Scrub};
use crate::Operations;

/// What rows are compared with to find the member in them. No row is written.
const NOBODY: &str = "erased-00000000000000000000000000000000";

/// All that is stored about a member. Rows are whole, column by column, also where they name others; bytes are written as `\x` and
/// hexadecimal digits.
#[derive(Clone, Debug, Serialize)]
pub struct MemberExport {
    /// The member.
    pub member_id: MemberId,
    /// Time of the export.
    pub exported_at: DateTime<Utc>,
    /// Decisions, each with the code of its campaign, oldest first.
    pub decisions: Vec<Value>,
    /// Rows that name the member, by table; a table without such rows is left out.
    pub tables: BTreeMap<&'static str, Vec<Value>>,
    /// What Redis has, by campaign.
    pub redis: Vec<StoredInRedis>,
}

/// What Redis has of a member in a campaign.
#[derive(Clone, Debug, Serialize)]
pub struct StoredInRedis {
    /// The campaign.
    pub coupon_code: CouponCode,
    /// Request id in the holder entry; `null`: the member has none.
    pub holds_by: Option<String>,
    /// Outbox entries, as `request_id|epoch|member_id`.
    pub outbox: Vec<String>,
}

impl Operations {
    /// Collects all that is stored about a member, and notes in the audit that somebody has it. The audit names the member by the
    /// pseudonym; where there is no key for it, not at all.
    pub async fn export_member(&self, member: &MemberId) -> Result<MemberExport, MemberError> {
        let data = self.database.personal_data();
        let nobody: MemberId = NOBODY.parse().expect("a member id");
        let scrub = Scrub::new(member, &nobody);
        let mut tables: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
        for place in PLACES {
            let mut after: Option<String> = None;
            loop {
                let page = data.page(place, after.as_deref()).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key.clone());
                let named = page.into_iter().filter(|found| scrub.row(place, &found.row).is_some());
                let named: Vec<Value> = named.map(|found| found.row).collect();
                if !named.is_empty() {
                    tables.entry(place.table).or_default().extend(named);
                }
            }
        }
        let export = MemberExport {
            member_id: member.clone(),
            exported_at: self.clock.now(),
            decisions: data.decision_rows_of(member).await?,
            tables,
            redis: self.redis_of(member).await?,
        };
        let name =
            self.erasure.key().map_or_else(|_| "***".to_owned(), |key| key.pseudonym(member).as_str().to_owned());
        let rows = export.tables.values().map(Vec::len).sum::<usize>() + export.decisions.len() + export.redis.len();
        let change = serde_json::json!({ "exported": rows });
        self.database.audit().append(self.me(), "member.export".to_owned(), format!("members/{name}"), change).await?;
        Ok(export)
    }

    async fn redis_of(&self, member: &MemberId) -> Result<Vec<StoredInRedis>, MemberError> {
        let mut redis = Vec::new();
        for coupon in self.database.coupons().list().await?.into_iter().filter(|coupon| coupon.epoch > 0) {
            let coupon_code = coupon.coupon_code;
            let holds_by = self.stock.holders_of(&coupon_code, &[member.as_str()]).await?.pop().flatten();
            let outbox = self.stock.outbox_entries_of(&coupon_code, member).await?;
            if holds_by.is_some() || !outbox.is_empty() {
                redis.push(StoredInRedis { coupon_code, holds_by, outbox });
            }
        }
        Ok(redis)
    }
}
