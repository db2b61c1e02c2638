//! What is done with a campaign: created, opened, closed, resized, rescheduled, deleted, each with a reason.

use axum::{extract::State, http::StatusCode, response::Response};
use coupon_core::ids::CouponCode;
use coupon_operations::campaigns::{CampaignError, Campaigns, Changed, Remark};
use serde::Serialize;

use super::{
    Code,
    forms::{Admission, New, Total, Why, Window},
    looks::Campaign,
};
use crate::{Console, access::Caller, answer::Failure, params::Form};

/// Longest reason, in characters.
const MAX_REASON: usize = 2_000;

/// The result of a change.
#[derive(Serialize)]
struct Done {
    campaign: Campaign,
    /// What else the operator has to know.
    remarks: Vec<String>,
}

/// The result of a deletion.
#[derive(Serialize)]
struct Deleted {
    deleted: CouponCode,
}

/// What a remark of [`REMARKS`] says on the page that a browser is led to.
pub(super) fn remark(code: &str) -> Option<&'static str> {
    REMARKS.iter().find(|(known, _)| *known == code).map(|(_, sentence)| *sentence)
}

/// Remarks by their codes in the address, so that a link cannot put words into the console's mouth.
const REMARKS: &[(&str, &str)] = &[
    ("existed", "It was there already."),
    ("other-epoch", "Redis held data of another epoch than PostgreSQL. Rebuild the campaign."),
    ("no-data", "Redis has no data of it."),
    ("suspect", "It is SUSPECT in Redis, and accepts nothing until it is rebuilt."),
    ("rebuild-first", "It cannot be opened before a rebuild, which leaves it closed."),
    ("total-waits", "The total is set in PostgreSQL alone: Redis has no data of it. A rebuild takes the total over."),
    (
        "window-waits",
        "The window is set in PostgreSQL alone: Redis has no data of it. A rebuild takes the window over.",
    ),
];

fn code_of(remark: &Remark) -> &'static str {
    match remark {
        Remark::ExistedBefore(_) => "existed",
        Remark::OtherEpoch { .. } => "other-epoch",
        Remark::NoData(_) => "no-data",
        Remark::SuspectInRedis(_) => "suspect",
        Remark::OpensOnlyAfterRebuild(_) => "rebuild-first",
        Remark::TotalAwaitsRebuild(_) => "total-waits",
        Remark::WindowAwaitsRebuild(_) => "window-waits",
    }
}

/// `POST /campaigns`.
pub(in crate::pages) async fn create(
    State(console): State<Console>,
    caller: Caller,
    Form(form): Form<New>,
) -> Response {
    let created = async {
        let form = form?;
        let campaigns = in_the_name_of(&console, &caller, &form.reason)?;
        let wanted = form.wanted(console.operations.clock.now())?;
        to_its_end(async move { campaigns.create(wanted).await }).await
    };
    let created = created.await.map(|created| changed(&console, &caller, "created", &created));
    console.answer(&caller, created)
}

/// `POST /campaigns/{code}/open`.
pub(in crate::pages) async fn open(
    State(console): State<Console>,
    caller: Caller,
    code: Code,
    Form(form): Form<Why>,
) -> Response {
    let opened = async {
        let (code, campaigns) = (code.known()?, in_the_name_of(&console, &caller, &form?.reason)?);
        to_its_end(async move { campaigns.open(&code).await }).await
    };
    let opened = opened.await.map(|opened| changed(&console, &caller, "changed", &opened));
    console.answer(&caller, opened)
}

/// `POST /campaigns/{code}/close`.
pub(in crate::pages) async fn close(
    State(console): State<Console>,
    caller: Caller,
    code: Code,
    Form(form): Form<Why>,
) -> Response {
    let closed = async {
        let (code, campaigns) = (code.known()?, in_the_name_of(&console, &caller, &form?.reason)?);
        to_its_end(async move { campaigns.close(&code).await }).await
    };
    let closed = closed.await.map(|closed| changed(&console, &caller, "changed", &closed));
    console.answer(&caller, closed)
}

/// `POST /campaigns/{code}/set-total`.
pub(in crate::pages) async fn set_total(
    State(console): State<Console>,
    caller: Caller,
    code: Code,
    Form(form): Form<Total>,
) -> Response {
    let set = async {
        let form = form?;
        let (code, total) = (code.known()?, form.wanted()?);
        let campaigns = in_the_name_of(&console, &caller, &form.reason)?;
        to_its_end(async move { campaigns.set_total(&code, total).await }).await
    };
    let set = set.await.map(|set| changed(&console, &caller, "changed", &set));
    console.answer(&caller, set)
}

/// `POST /campaigns/{code}/reschedule`.
pub(in crate::pages) async fn reschedule(
    State(console): State<Console>,
    caller: Caller,
    code: Code,
    Form(form): Form<Window>,
) -> Response {
    let set = async {
        let form = form?;
        let (code, campaigns) = (code.known()?, in_the_name_of(&console, &caller, &form.reason)?);
        let new = form.wanted()?;
        to_its_end(async move { campaigns.set_window(&code, new).await }).await
    };
    let set = set.await.map(|set| changed(&console, &caller, "changed", &set));
    console.answer(&caller, set)
}

/// `POST /campaigns/{code}/set-admission`.
pub(in crate::pages) async fn set_admission(
    State(console): State<Console>,
    caller: Caller,
    code: Code,
    Form(form): Form<Admission>,
) -> Response {
    let set = async {
        let form = form?;
        let (code, is_required) = (code.known()?, form.wanted()?);
        let campaigns = in_the_name_of(&console, &caller, &form.reason)?;
        to_its_end(async move { campaigns.set_admission(&code, is_required).await }).await
    };
    let set = set.await.map(|set| changed(&console, &caller, "changed", &set));
    console.answer(&caller, set)
}

/// `POST /campaigns/{code}/delete`.
pub(in crate::pages) async fn delete(
    State(console): State<Console>,
    caller: Caller,
    code: Code,
    Form(form): Form<Why>,
) -> Response {
    let deleted = async {
        let (code, campaigns) = (code.known()?, in_the_name_of(&console, &caller, &form?.reason)?);
        to_its_end(async move { campaigns.delete(&code).await.map(|()| code) }).await
    };
    let deleted = deleted.await;
    console
        .answer(&caller, deleted.map(|code| console.done(&caller, "/campaigns", "changed", &Deleted { deleted: code })))
}

fn in_the_name_of(console: &Console, caller: &Caller, reason: &str) -> Result<Campaigns, Failure> {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > MAX_REASON {
        return Err(Failure::bad_input(format!("reason has to be 1 to {MAX_REASON} characters; nothing was changed")));
    }
    Ok(console.operations.in_the_name_of(caller.identity(reason)).campaigns())
}

/// Does a change to its end, also when the browser that asked for it is gone.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, CampaignError>> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::spawn(work).await {
        Ok(done) => Ok(done?),
        Err(error) => {
            tracing::error!("a change of a campaign was broken off: {error}");
            let detail = "the change was broken off; look at the campaign, then ask again";
            Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "BROKEN_OFF", detail))
        }
    }
}

fn changed(console: &Console, caller: &Caller, done: &str, changed: &Changed) -> Response {
    let code = &changed.coupon.coupon_code;
    let remarks: Vec<&str> = changed.remarks.iter().map(code_of).collect();
    let query = if remarks.is_empty() { String::new() } else { format!("?remarks={}", remarks.join(".")) };
    let result = Done {
        campaign: Campaign::of(&changed.coupon, console.operations.clock.now()),
        remarks: changed.remarks.iter().map(ToString::to_string).collect(),
    };
    console.done(caller, &format!("/campaigns/{code}{query}"), done, &result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_remark_has_its_sentence() {
        let code = || "SPRING".parse::<CouponCode>().unwrap();
        for known in [
            Remark::ExistedBefore(code()),
            Remark::OtherEpoch { redis: 1, postgresql: 2 },
            Remark::NoData(code()),
            Remark::SuspectInRedis(code()),
            Remark::OpensOnlyAfterRebuild(code()),
            Remark::TotalAwaitsRebuild(code()),
            Remark::WindowAwaitsRebuild(code()),
        ] {
            assert!(remark(code_of(&known)).is_some(), "{known}");
        }
        assert_eq!(remark("<script>"), None);
    }
}
