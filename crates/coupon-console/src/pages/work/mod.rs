//! The work list: `/work`, its entries, and what is done to one row.

mod act;
mod asked;
mod entry;
mod list;
mod listing;
mod saved;

pub(super) use act::{NoteForm, ReplayForm, SettleForm, claim, job_path, note_on, release, replay_of, settle_of};
pub(crate) use asked::{Asked, number};
pub(super) use entry::{gone, id, show};
pub(super) use listing::show as list;
pub(crate) use listing::{Listed, Listing, of_filter, path};
pub(super) use saved::{DeleteForm, SaveForm, delete as delete_view, save as save_view};
