//! Which outboxes have entries, asked about many at a time, so that campaigns at rest cost next to nothing.

use redis::FromRedisValue;

use super::{Stock, StockError, connection::script, keys, slots::slot_of};
use crate::ids::CouponCode;

script!(WAITING, "waiting.lua");

/// Most outboxes of one question, because Redis answers nobody else meanwhile.
const MAX_OUTBOXES_PER_QUESTION: usize = 1_000;

impl Stock {
    /// Divides campaigns into those of one question to [`Stock::waiting`]: up to 1,000 of one server, in a cluster those of one
    /// slot, because no command may touch the keys of two.
    pub fn outbox_questions(&self, mut codes: Vec<CouponCode>) -> Vec<Vec<CouponCode>> {
        let slot = |code: &CouponCode| if self.is_cluster() { slot_of(code.as_str()) } else { 0 };
        codes.sort_by_cached_key(slot);
        let of_a_slot = codes.chunk_by(|one, next| slot(one) == slot(next));
        of_a_slot.flat_map(|codes| codes.chunks(MAX_OUTBOXES_PER_QUESTION)).map(<[_]>::to_vec).collect()
    }

    /// Runs `waiting.lua` over the outboxes of one question, see [`Stock::outbox_questions`]. Returns the campaigns of which
    /// something is in the outbox; an error says nothing of any.
    pub async fn waiting(&self, codes: &[CouponCode]) -> Result<Vec<CouponCode>, StockError> {
        let Some(first) = codes.first() else { return Ok(Vec::new()) };
        let mut call = WAITING.prepare_invoke();
        for code in codes {
            call.key(keys::outbox(code));
        }
        let reply = self.ask(first.as_str(), &call).await?;
        let places = Vec::<usize>::from_redis_value(reply).map_err(|error| StockError::Reply(error.to_string()))?;
        let code = |place: usize| codes.get(place.checked_sub(1)?).cloned();
        let unexpected = || StockError::Reply("the place of no outbox".to_owned());
        places.into_iter().map(|place| code(place).ok_or_else(unexpected)).collect()
    }
}
