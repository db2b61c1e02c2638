//! Views that an operator keeps: the address of a list under a name.

use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::Asked;
use crate::{
    Console,
    access::Caller,
    answer::Failure,
    params::{self, Form},
};

/// Longest name, in characters.
const MAX_NAME: usize = 60;
/// Longest address, in bytes.
const MAX_VIEW_BYTES: usize = 2_000;

/// The form that saves a view.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct SaveForm {
    /// Name.
    #[serde(default)]
    name: String,
    /// Path and query of a list of this console.
    view: String,
}

/// The form that deletes a view.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct DeleteForm {
    /// Name.
    name: String,
    /// Where to go on.
    view: Option<String>,
}

pub(in crate::pages) async fn save(
    State(console): State<Console>,
    caller: Caller,
    Form(form): Form<SaveForm>,
) -> Response {
    let saved = async {
        let SaveForm { name, view } = form?;
        let (name, view) = (name.trim().to_owned(), local(&view)?);
        if name.is_empty() || name.chars().count() > MAX_NAME {
            return Err(Failure::bad_input(format!("name: it has 1 to {MAX_NAME} characters")));
        }
        let (work_list, now) = (console.operations.database.work_list(), console.operations.clock.now());
        if !work_list.save_view(caller.name.clone(), name.clone(), view.clone(), now).await? {
            return Err(Failure::conflict("you keep 50 views already: delete one first"));
        }
        Ok(console.done(&caller, &view, "saved", &serde_json::json!({ "name": name, "view": view })))
    };
    console.answer(&caller, saved.await)
}

pub(in crate::pages) async fn delete(
    State(console): State<Console>,
    caller: Caller,
    Form(form): Form<DeleteForm>,
) -> Response {
    let deleted = async {
        let DeleteForm { name, view } = form?;
        let view = view.map_or_else(|| Ok("/work".to_owned()), |view| local(&view))?;
        if !console.operations.database.work_list().delete_view(caller.name.clone(), name.clone()).await? {
            return Err(Failure::not_found(format!("you keep no view named {name:?}")));
        }
        Ok(console.done(&caller, &view, "deleted", &serde_json::json!({ "name": name })))
    };
    console.answer(&caller, deleted.await)
}

/// Returns the address of a list of this console, without page and bound; whatever else it is, it is refused.
fn local(view: &str) -> Result<String, Failure> {
    let (path, query) = view.split_once('?').unwrap_or((view, ""));
    if !["/work", "/dead-letters"].contains(&path) || view.len() > MAX_VIEW_BYTES {
        return Err(Failure::bad_input("view: it is the address of a list, such as /work?status=PENDING"));
    }
    Ok(params::query::<Asked>(Some(query))?.unbound().at(path))
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn a_view_is_a_list_of_this_console() {
        let saved = local("/work?status=PENDING&up_to=E9&before=E4").unwrap();
        assert_eq!(saved, "/work?status=PENDING");
        for foreign in ["https://evil", "//evil", "/login", "/work/../x", "/work?colour=red"] {
            assert!(local(foreign).is_err(), "{foreign}");
        }
    }
}
