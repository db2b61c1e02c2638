//! What an erasure would change, and what stands in its way.

use std::collections::BTreeMap;

use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    repo::{
        coupons::{Coupon, CouponStatus},
        personal_data::{DecisionsOfMember, FoundRow, PLACES, Place},
    },
};
use serde::Serialize;
use serde_json::Value;

use super::{MemberError, key::is_pseudonym, scrub::Scrub};
use crate::Operations;

/// Most sentences about what stands in the way.
const MAX_SENTENCES: usize = 20;

/// What an erasure would change.
#[derive(Clone, Debug, Serialize)]
pub struct ErasurePlan {
    /// What would stand in the place of the id.
    pub pseudonym: MemberId,
    /// Rows that name the member, by table; a table without such rows is left out. Decisions are counted by campaign.
    pub tables: BTreeMap<&'static str, i64>,
    /// Campaigns with decisions on the member, or in which the member holds a unit in Redis.
    pub campaigns: Vec<CampaignOfMember>,
    /// What has to happen first, in sentences; empty: the member can be erased.
    pub in_the_way: Vec<String>,
    /// Whether an erasure of this member was begun and is not done.
    pub is_begun: bool,
}

/// What a campaign has of a member.
#[derive(Clone, Debug, Serialize)]
pub struct CampaignOfMember {
    /// The campaign.
    pub coupon_code: CouponCode,
    /// Decisions in PostgreSQL.
    pub decisions: i64,
    /// Holder entries in Redis: 0 or 1.
    pub holder_entries: i64,
}

impl ErasurePlan {
    /// Returns the number of rows and holder entries that name the member.
    pub fn total(&self) -> i64 {
        let in_campaigns = self.campaigns.iter().map(|campaign| campaign.decisions + campaign.holder_entries);
        self.tables.values().copied().chain(in_campaigns).sum()
    }

    fn stop(&mut self, sentence: String) {
        if self.in_the_way.len() < MAX_SENTENCES {
            self.in_the_way.push(sentence);
        }
    }
}

impl Operations {
    /// Counts what names a member, and says what stands in the way of an erasure. Changes nothing.
    pub async fn plan_erasure(&self, member: &MemberId) -> Result<ErasurePlan, MemberError> {
        if is_pseudonym(member) {
            return Err(MemberError::Pseudonym);
        }
        let pseudonym = self.erasure.key()?.pseudonym(member);
        let erasure = self.database.personal_data().erasure(&pseudonym).await?;
        let is_begun = erasure.is_some_and(|erasure| erasure.finished_at.is_none());
        let scrub = Scrub::new(member, &pseudonym);
        let mut plan =
            ErasurePlan { pseudonym, tables: BTreeMap::new(), campaigns: Vec::new(), in_the_way: Vec::new(), is_begun };
        self.plan_campaigns(member, &mut plan).await?;
        for place in PLACES {
            let mut rows = 0;
            let mut after: Option<String> = None;
            loop {
                let page = self.database.personal_data().page(place, after.as_deref()).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key.clone());
                for found in page.iter().filter(|found| scrub.row(place, &found.row).is_some()) {
                    rows += 1;
                    if place.is_open(&found.row) {
                        plan.stop(unfinished(place, found));
                    }
                }
            }
            if rows > 0 {
                plan.tables.insert(place.table, rows);
            }
        }
        Ok(plan)
    }

    async fn plan_campaigns(&self, member: &MemberId, plan: &mut ErasurePlan) -> Result<(), MemberError> {
        let decided = self.database.personal_data().decisions_of(member).await?;
        for coupon in self.database.coupons().list().await? {
            let of_coupon = decided.iter().find(|decided| decided.coupon_code == coupon.coupon_code);
            let was_opened = coupon.epoch > 0;
            let holder = if was_opened {
                self.stock.holders_of(&coupon.coupon_code, &[member.as_str()]).await?.pop().flatten()
            } else {
                None
            };
            if of_coupon.is_none() && holder.is_none() {
                continue;
            }
            self.plan_campaign(&coupon, of_coupon, holder.as_deref(), plan).await?;
            plan.campaigns.push(CampaignOfMember {
                coupon_code: coupon.coupon_code,
                decisions: of_coupon.map_or(0, |decided| decided.decisions),
                holder_entries: i64::from(holder.is_some()),
            });
        }
        Ok(())
    }

    async fn plan_campaign(
        &self,
        coupon: &Coupon,
        decided: Option<&DecisionsOfMember>,
        holder: Option<&str>,
        plan: &mut ErasurePlan,
    ) -> Result<(), MemberError> {
        let code = &coupon.coupon_code;
        if coupon.status != CouponStatus::Closed {
            plan.stop(format!(
                "{code} is {}, and Redis would give the same person a second coupon: close it first, with \
                 `issuer-api coupon close {code} --by NAME`",
                coupon.shown(self.clock.now())
            ));
            return Ok(());
        }
        if decided.is_some_and(|decided| decided.give_backs > 0) {
            plan.stop(format!("a unit of {code} still has to be given back: dlq-consumer does that by itself"));
        }
        let Some(holder) = holder else { return Ok(()) };
        let is_decided = match holder.parse::<RequestId>() {
            Ok(request) => {
                let decisions = self.database.coupon_issues().of_request(request.as_uuid()).await?;
                decisions.iter().any(|row| row.coupon_code == code.as_str())
            }
            Err(_) => false,
        };
        if !is_decided {
            plan.stop(format!("the request {holder} of {code} is undecided: see `dlq-consumer reconcile {code}`"));
        }
        if let Some(view) = self.stock.view(code).await? {
            if view.status != CouponStatus::Closed.as_str() {
                plan.stop(format!("{code} is {} in Redis: `dlq-consumer rebuild {code} --by NAME` first", view.status));
            }
            if view.outbox > 0 {
                plan.stop(format!("{} reservations of {code} wait to be published by an issuer-api", view.outbox));
            }
        }
        Ok(())
    }
}

/// Returns a sentence about a row with which something is still going to happen.
fn unfinished(place: &Place, FoundRow { key, row }: &FoundRow) -> String {
    let status = row["status"].as_str().unwrap_or("in use");
    match place.table {
        "failed_coupon_issues" => format!("entry E{key} is {status}: resolve, ignore or replay it first"),
        "dlq_events" if row["alarm_sent"] == Value::Bool(false) => {
            format!("the alarm of dead letter D{key} is not sent yet: dlq-consumer does that by itself")
        }
        "dlq_events" => format!("dead letter D{key} is {status}: replay, compensate, resolve or ignore it first"),
        "replays" => format!("the replay {key} has no outcome yet: wait for it, or archive its campaign"),
        "alarm_notices" => format!("the notice {key} is not sent yet: dlq-consumer does that by itself"),
        table => format!("{table}/{key} is {status}: wait until it has ended, or cancel it"),
    }
}
