//! Why a member has no request in a campaign.

use chrono::{DateTime, Utc};
use coupon_core::{
    ids::CouponCode,
    repo::coupons::{Coupon, CouponWithoutRequest, ShownStatus},
};
use serde::Serialize;

use super::member::{spoken, when};

/// Reason why a member has no request in a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The campaign has not begun.
    NotOpenYet,
    /// The campaign is SUSPECT.
    Suspended,
    /// All units are issued.
    SoldOut,
    /// The campaign is closed, over or archived.
    Closed,
    /// The campaign accepts requests, and nothing is known of one.
    AskedNothing,
}

/// A campaign without a request of the member.
#[derive(Clone, Debug, Serialize)]
pub struct CampaignWithout {
    /// Campaign.
    pub coupon_code: CouponCode,
    /// Status of the campaign.
    pub status: ShownStatus,
    /// Why there is no request.
    pub why: Why,
    /// The same with times and numbers, for the operator.
    pub facts: String,
    /// What to tell the member.
    pub sentence: String,
}

/// Returns why there is no request. What a member was refused is not kept, so the reason is what the campaign was.
pub(super) fn without_request(row: &CouponWithoutRequest, now: DateTime<Utc>) -> CampaignWithout {
    let coupon = &row.coupon;
    let status = coupon.shown(now);
    let (why, facts, sentence) = match status {
        ShownStatus::Draft | ShownStatus::Opening | ShownStatus::Scheduled => not_open_yet(coupon, status),
        ShownStatus::Suspect => (
            Why::Suspended,
            "SUSPECT: it accepts nothing until it is rebuilt.".to_owned(),
            "This campaign is paused because of a fault on our side. Please try again later.".to_owned(),
        ),
        _ => match row.sold_out_at.filter(|_| coupon.issued_quantity >= coupon.total_quantity) {
            Some(at) => {
                let seq = row.last_seq.unwrap_or_default();
                (
                    Why::SoldOut,
                    format!("Sold out at {} UTC with sequence {seq}; no request of the member is known.", when(at)),
                    format!("All coupons of this campaign were taken by {} UTC. We are sorry that none was left.", spoken(at)),
                )
            }
            None if status == ShownStatus::Open => (
                Why::AskedNothing,
                "It accepts requests, and no request of the member is known.".to_owned(),
                "We know of no request of yours for this campaign. It is still running, so you can ask for a coupon now."
                    .to_owned(),
            ),
            None => closed(row, status),
        },
    };
    CampaignWithout { coupon_code: coupon.coupon_code.clone(), status, why, facts, sentence }
}

fn not_open_yet(coupon: &Coupon, status: ShownStatus) -> (Why, String, String) {
    if status == ShownStatus::Scheduled {
        let facts = format!("It accepts requests from {} UTC on.", when(coupon.opens_at));
        let sentence = format!("This campaign has not begun yet. It begins on {} UTC.", spoken(coupon.opens_at));
        return (Why::NotOpenYet, facts, sentence);
    }
    (Why::NotOpenYet, format!("{status}: it was never opened."), "This campaign has not begun yet.".to_owned())
}

fn closed(row: &CouponWithoutRequest, status: ShownStatus) -> (Why, String, String) {
    let over = row.coupon.closes_at.filter(|_| status == ShownStatus::Over);
    match over.or(row.closed_at).or(row.coupon.archived_at) {
        Some(at) => {
            let facts = format!("{status} since {} UTC; no request of the member is known.", when(at));
            let sentence = format!("This campaign ended on {} UTC, and we know of no request of yours.", spoken(at));
            (Why::Closed, facts, sentence)
        }
        None => {
            let facts = format!("{status}; no request of the member is known.");
            (Why::Closed, facts, "This campaign has ended, and we know of no request of yours.".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use coupon_core::repo::coupons::CouponStatus;

    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        time.parse().unwrap()
    }

    fn row(status: CouponStatus, (issued, total): (i64, i64)) -> CouponWithoutRequest {
        let coupon = Coupon {
            coupon_code: "SPRING".parse().unwrap(),
            status,
            total_quantity: total,
            total_version: 0,
            issued_quantity: issued,
            window_version: 0,
            opens_at: at("2026-11-01T10:00:00Z"),
            closes_at: Some(at("2026-11-20T10:00:00Z")),
            valid_days: 30,
            epoch: 1,
            high_seq: issued,
            admission_required: false,
            created_at: at("2026-10-01T10:00:00Z"),
            archived_at: None,
            members_erased_at: None,
        };
        let sold_out_at = (issued >= total).then(|| at("2026-11-01T10:00:07Z"));
        CouponWithoutRequest { coupon, sold_out_at, last_seq: Some(issued), closed_at: None }
    }

    #[test]
    fn each_campaign_without_a_request_has_its_reason_and_a_sentence_without_internals() {
        let (before, within, after) =
            (at("2026-10-05T10:00:00Z"), at("2026-11-05T10:00:00Z"), at("2026-12-01T10:00:00Z"));
        for (status, units, now, why) in [
            (CouponStatus::Draft, (0, 5), within, Why::NotOpenYet),
            (CouponStatus::Open, (0, 5), before, Why::NotOpenYet),
            (CouponStatus::Open, (2, 5), within, Why::AskedNothing),
            (CouponStatus::Open, (5, 5), within, Why::SoldOut),
            (CouponStatus::Open, (2, 5), after, Why::Closed),
            (CouponStatus::Closed, (5, 5), after, Why::SoldOut),
            (CouponStatus::Closed, (2, 5), within, Why::Closed),
            (CouponStatus::Suspect, (2, 5), within, Why::Suspended),
        ] {
            let told = without_request(&row(status, units), now);
            assert_eq!(told.why, why, "{status} {units:?} {now}");
            for internal in ["SUSPECT", "Redis", "epoch", "sequence", "rebuil"] {
                assert!(!told.sentence.contains(internal), "{}", told.sentence);
            }
        }
        let sold_out = without_request(&row(CouponStatus::Open, (5, 5)), within);
        assert_eq!(
            sold_out.facts,
            "Sold out at 2026-11-01 10:00:07 UTC with sequence 5; no request of the member is known."
        );
        assert!(sold_out.sentence.contains("1 November 2026, 10:00:07"), "{}", sold_out.sentence);
    }
}
