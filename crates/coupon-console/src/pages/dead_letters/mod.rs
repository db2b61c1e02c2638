//! Dead letters: `/dead-letters`, and each record.

mod bytes;
mod list;
mod record;

pub(super) use record::show;
