//! The renaming of a holder: a pseudonym in the place of a member's id.

use super::{Stock, StockError, connection::script, keys, reply::Reply};
use crate::ids::{CouponCode, MemberId};

script!(RENAME_HOLDER, "rename_holder.lua");

/// What became of the renaming of a holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenameOutcome {
    /// The holder entry has the new name.
    Done,
    /// The member has no holder entry.
    NotHeld,
    /// This many outbox entries still have to be published; nothing was changed.
    Unpublished(i64),
    /// The gate is not closed but has this status; nothing was changed.
    NotClosed(String),
    /// The new name holds a unit by another request; nothing was changed.
    Taken,
}

impl Stock {
    /// Runs `rename_holder.lua`: gives the holder entry of a member in a closed campaign another name. May be repeated.
    pub async fn rename_holder(
        &self,
        code: &CouponCode,
        member: &MemberId,
        name: &MemberId,
    ) -> Result<RenameOutcome, StockError> {
        let mut call = RENAME_HOLDER.key(keys::meta(code));
        call.key(keys::issued(code)).key(keys::outbox(code)).arg(member.as_str()).arg(name.as_str());
        let mut reply = Reply::read(self.invoke("rename a holder", code.as_str(), &call).await?)?;
        match reply.word() {
            "RENAMED" => Ok(RenameOutcome::Done),
            "NOTHING" => Ok(RenameOutcome::NotHeld),
            "UNPUBLISHED" => Ok(RenameOutcome::Unpublished(reply.next()?)),
            "OPEN" => Ok(RenameOutcome::NotClosed(reply.next()?)),
            "TAKEN" => Ok(RenameOutcome::Taken),
            _ => Err(reply.unexpected()),
        }
    }

    /// Outbox entries of a member, as texts, whatever else the outbox holds.
    pub async fn outbox_entries_of(&self, code: &CouponCode, member: &MemberId) -> Result<Vec<String>, StockError> {
        let (mut cursor, mut found) = (0_u64, Vec::new());
        loop {
            let mut command = redis::cmd("ZSCAN");
            command.arg(keys::outbox(code)).arg(cursor).arg("COUNT").arg(1_000);
            let (next, entries): (u64, Vec<(String, String)>) = self.query(code.as_str(), &command).await?;
            // `request_id|epoch|member_id`
            let of_member = |entry: &String| entry.splitn(3, '|').nth(2) == Some(member.as_str());
            found.extend(entries.into_iter().map(|(entry, _)| entry).filter(of_member));
            cursor = next;
            if cursor == 0 {
                return Ok(found);
            }
        }
    }
}
