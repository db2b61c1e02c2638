//! `/dead-letters`: records of the dead letter topic, newest first.

use askama::Template;
use coupon_core::repo::{
    Database, RepoError,
    dlq_events::DlqEvent,
    work_list::{Filter, List},
};

use crate::{
    access::{Caller, Role},
    answer::{Frame, View},
    mask,
    pages::work::{Listed, Listing, path},
};

/// The statuses by which the list is filtered.
const STATUSES: &[&str] = &["HELD", "PARKED", "COMPENSATED", "RECOVERED", "DUPLICATE", "RESOLVED", "IGNORED"];

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLettersPage<'a> {
    frame: &'a Frame,
    page: &'a Listing<DlqEvent>,
    path: &'static str,
    statuses: &'static [&'static str],
    is_work: bool,
    may_act: bool,
    may_compensate: bool,
}

impl View for Listing<DlqEvent> {
    fn title(&self) -> String {
        "Dead letters".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        let (may_act, may_compensate) = (frame.can(&Role::Operator), frame.can(&Role::Admin));
        let (path, statuses, is_work) = (path(List::DlqEvents), STATUSES, false);
        DeadLettersPage { frame, page: self, path, statuses, is_work, may_act, may_compensate }.render()
    }
}

impl Listed for DlqEvent {
    const LIST: List = List::DlqEvents;

    async fn read(database: &Database, filter: &Filter, limit: i64) -> Result<Vec<Self>, RepoError> {
        database.dlq_events().list(filter, None, limit).await
    }

    fn mask(&mut self, caller: &Caller) {
        mask::dead_letter(caller, self);
    }
}
