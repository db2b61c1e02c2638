//! `POST /plans/{verb}`: makes a plan for what is selected, for all that a filter matches, or for campaigns.

use axum::{extract::State, response::Response};
use coupon_core::{
    ids::CouponCode,
    repo::{
        failed_coupon_issues::FailedIssueStatus,
        work_list::{Filter, List},
    },
};
use coupon_operations::plans::Change;
use serde::{Deserialize, Deserializer};

use crate::{
    Console,
    access::Caller,
    answer::Failure,
    pages::work::{Asked, number},
    params::{self, Form},
};

/// Rate of a replay, unless it is asked for another one.
const PER_SECOND: f64 = 50.0;
/// Rows that one selection names.
const MAX_SELECTED: usize = 1_000;

/// The form, or the same as JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::pages) struct PlanForm {
    /// `work` or `dead-letters`; with numbers such as `E17` it may be left out.
    list: Option<String>,
    /// `selection`: the rows of `id`. `filter`: all that `query` matches. Absent: the rows of `id` if there are any.
    what: Option<String>,
    /// Numbers: `E17,E18`, or a list.
    #[serde(deserialize_with = "texts")]
    id: Vec<String>,
    /// The filter, as in the address of the list.
    query: Option<String>,
    /// Most replays begun in a second.
    #[serde(deserialize_with = "rate")]
    per_second: Option<f64>,
    /// Whether the campaign's window is ignored.
    after_close: Option<String>,
    /// Campaigns of a reconciliation; none: all.
    #[serde(deserialize_with = "texts")]
    codes: Vec<String>,
    /// Campaign of a rebuild or an archive.
    code: Option<String>,
    /// Whether a rebuild goes on although requests are held or parked.
    leave_undecided: Option<String>,
}

/// Makes the plan of the verb that the address ends with, and leads to its page.
pub(in crate::pages) async fn make(
    State(console): State<Console>,
    caller: Caller,
    Form(form): Form<PlanForm>,
) -> Response {
    let made = async {
        let verb = caller.view.split('?').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let change = change(&console, verb, &form?)?;
        let operations = console.operations.in_the_name_of(caller.identity(""));
        let plan = operations.make_plan(change, &console.settings.plan_rules()).await?;
        Ok(console.done(&caller, &format!("/plans/{}", plan.plan_id), "", &plan))
    };
    let made = made.await;
    console.answer(&caller, made)
}

fn change(console: &Console, verb: &str, form: &PlanForm) -> Result<Change, Failure> {
    let code = || {
        let code = form.code.as_deref().ok_or_else(|| Failure::bad_input("code: say which campaign"))?;
        parsed_code(code)
    };
    match verb {
        "reconcile" => {
            let codes = form.codes.iter().chain(&form.code).map(|code| parsed_code(code)).collect::<Result<_, _>>()?;
            return Ok(Change::Reconcile { codes, apply: true });
        }
        "rebuild" => return Ok(Change::Rebuild { code: code()?, leave_undecided: form.leave_undecided.is_some() }),
        "archive" => return Ok(Change::Archive { code: code()? }),
        _ => {}
    }
    let list = if verb == "compensate" { List::DlqEvents } else { list(form)? };
    let filter = filter(console, list, form)?;
    Ok(match verb {
        "replay" => {
            let per_second = checked_rate(form.per_second.unwrap_or(PER_SECOND))?;
            // Named rows are judged one by one, so that the plan says what is wrong with them.
            let is_of_pending = filter.ids.is_empty() && list == List::Requests && filter.status.is_none();
            let filter = if is_of_pending { filter.of_status(FailedIssueStatus::Pending) } else { filter };
            Change::Replay { list, filter, per_second, after_close: form.after_close.is_some() }
        }
        "resolve" => Change::Resolve { list, filter },
        "ignore" => Change::Ignore { list, filter },
        "reopen" => Change::Reopen { list, filter },
        "compensate" => Change::Compensate { filter },
        other => return Err(Failure::not_found(format!("there is no plan to {other}"))),
    })
}

/// Returns the rate, if it is one that a replay may have.
pub(in crate::pages) fn checked_rate(per_second: f64) -> Result<f64, Failure> {
    if (0.1..=1_000.0).contains(&per_second) {
        return Ok(per_second);
    }
    Err(Failure::bad_input("per_second: a replay begins 0.1 to 1,000 rows a second"))
}

fn list(form: &PlanForm) -> Result<List, Failure> {
    match form.list.as_deref() {
        Some("dead-letters") => Ok(List::DlqEvents),
        None if form.id.iter().any(|id| id.starts_with(['D', 'd'])) => Ok(List::DlqEvents),
        None | Some("work") => Ok(List::Requests),
        Some(_) => Err(Failure::bad_input("list: it is `work` or `dead-letters`")),
    }
}

/// Returns the choice of rows: those that are named, or those of the query.
fn filter(console: &Console, list: List, form: &PlanForm) -> Result<Filter, Failure> {
    let ids: Result<Vec<Option<i64>>, Failure> = form.id.iter().map(|id| number(Some(id.as_str()), list)).collect();
    let ids: Vec<i64> = ids?.into_iter().flatten().collect();
    match form.what.as_deref() {
        Some("filter") => {}
        None if ids.is_empty() && form.query.is_some() => {}
        None | Some("selection") if ids.is_empty() => {
            return Err(Failure::bad_input("nothing is selected: check rows, or choose all that the filter matches"));
        }
        None | Some("selection") if ids.len() <= MAX_SELECTED => return Ok(Filter { ids, ..Filter::default() }),
        None | Some("selection") => {
            return Err(Failure::bad_input(format!("id: a selection names at most {MAX_SELECTED} rows; use a filter")));
        }
        Some(_) => return Err(Failure::bad_input("what: it is `selection` or `filter`")),
    }
    let asked: Asked = params::query(form.query.as_deref())?;
    if asked.before.is_some() || asked.after.is_some() {
        return Err(Failure::bad_input("query: a plan is about all rows of a filter, not about a page"));
    }
    asked.filter(list, console.operations.clock.now())
}

fn parsed_code(code: &str) -> Result<CouponCode, Failure> {
    code.parse().map_err(|_| Failure::bad_input(format!("{code:?} is not the code of a campaign")))
}

/// Reads texts: one with commas in between, as forms send them, or a list of texts or numbers.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        Number(i64),
        Many(Vec<serde_json::Value>),
    }
    let one = |text: &str| text.split([',', ' ']).filter(|text| !text.is_empty()).map(str::to_owned).collect();
    Ok(match Texts::deserialize(deserializer)? {
        Texts::One(text) => one(&text),
        Texts::Number(number) => vec![number.to_string()],
        Texts::Many(values) => {
            values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect()
        }
    })
}

/// Reads a number: as such, or as a text, as forms send it.
pub(in crate::pages) fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Rate {
        Number(f64),
        Text(String),
    }
    match Rate::deserialize(deserializer)? {
        Rate::Number(number) => Ok(Some(number)),
        Rate::Text(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_read_from_a_form_and_from_json() {
        let form: PlanForm = serde_urlencoded::from_str("id=E17%2CE18&per_second=2.5&list=work").unwrap();
        assert_eq!((form.id.as_slice(), form.per_second), (["E17".to_owned(), "E18".to_owned()].as_slice(), Some(2.5)));
        let json: PlanForm = serde_json::from_str(r#"{"id": ["E17", 18], "per_second": 2.5}"#).unwrap();
        assert_eq!(json.id, ["E17", "18"]);
        assert!(serde_json::from_str::<PlanForm>(r#"{"colour": "red"}"#).is_err());
    }

    #[test]
    fn the_list_is_said_or_seen_from_the_numbers() {
        let of = |list: Option<&str>, id: &str| {
            list_of(&PlanForm { list: list.map(str::to_owned), id: vec![id.to_owned()], ..PlanForm::default() })
        };
        assert_eq!(of(None, "D4"), Some(List::DlqEvents));
        assert_eq!(of(None, "17"), Some(List::Requests));
        assert_eq!(of(Some("dead-letters"), "17"), Some(List::DlqEvents));
        assert_eq!(of(Some("both"), "17"), None);
    }

    fn list_of(form: &PlanForm) -> Option<List> {
        list(form).ok()
    }
}
