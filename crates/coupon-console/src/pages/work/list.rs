//! `/work`: compensated requests, newest first.

use askama::Template;
use coupon_core::repo::{
    Database, RepoError,
    failed_coupon_issues::FailedCouponIssue,
    work_list::{Filter, List},
};

use super::{Listed, Listing, path};
use crate::{
    access::{Caller, Role},
    answer::{Frame, View},
    mask,
};

/// The statuses by which the list is filtered.
const STATUSES: &[&str] = &["PENDING", "RESOLVED", "IGNORED"];

#[derive(Template)]
#[template(path = "work.html")]
struct WorkPage<'a> {
    frame: &'a Frame,
    page: &'a Listing<FailedCouponIssue>,
    path: &'static str,
    statuses: &'static [&'static str],
    is_work: bool,
    may_act: bool,
}

impl View for Listing<FailedCouponIssue> {
    fn title(&self) -> String {
        "Work list".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        let (path, may_act) = (path(List::Requests), frame.can(&Role::Operator));
        WorkPage { frame, page: self, path, statuses: STATUSES, is_work: true, may_act }.render()
    }
}

impl Listed for FailedCouponIssue {
    const LIST: List = List::Requests;

    async fn read(database: &Database, filter: &Filter, limit: i64) -> Result<Vec<Self>, RepoError> {
        database.failed_coupon_issues().list(filter, None, limit).await
    }

    fn mask(&mut self, caller: &Caller) {
        mask::entry(caller, self);
    }
}
