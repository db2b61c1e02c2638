# shellcheck shell=bash disable=SC2016 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes in what an operator's word may do.

mutant 'a word that settles an accepted, undecided request' $CORE/repo/settling.rs "$E2E" operator::an_accepted_request \
  '            (Self::Resolve | Self::Ignore, List::Letters) => {' \
  '            (Self::Resolve | Self::Ignore, List::Letters) if list == List::Requests => {' \
  '            (Self::Resolve | Self::Ignore, List::Requests) => {' \
  '            (Self::Resolve | Self::Ignore, List::Letters) => "true",
            (Self::Resolve | Self::Ignore, List::Requests) => {'
mutant 'what is compensated by hand PENDING like any other' crates/dlq-consumer/src/desk/replay/compensate.rs "$E2E" operator::what_is_compensated \
  'is_by_hand: true' 'is_by_hand: false'
mutant 'an alarm of what an operator has just decided' $CORE/repo/give_ups.rs "$E2E" operator::what_is_compensated \
  'superseded_by.is_none() && give_up.by_hand().is_none()' 'superseded_by.is_none()'
mutant 'two constraints of one cause' $CORE/failure.rs "$LIB" failure:: \
  'Some(at) if is_part && at <= MAX_IDENTIFIER_BYTES => {' 'Some(at) if is_part && at > MAX_IDENTIFIER_BYTES => {'
mutant 'a mistyped campaign that is nothing worth saying' $CORE/repo/settling.rs "$E2E" operator::a_filter_by_a_mistyped \
  'return Ok(Some(format!("there is no coupon {coupon}; `issuer-api coupon list` shows them all")));' 'return Ok(None);'
mutant 'numbers of the wrong kind taken' $CORE/repo/numbers.rs "$LIB" numbers:: \
  'number if number.list == list => Ok(number.id),' 'number => Ok(number.id),'
mutant 'a refused total that reads like a change' $CORE/repo/totals.rs "$E2E" campaign_commands::a_total_that_was_refused \
  'serde_json::json!({ "asked": wish })' 'serde_json::json!({ "to": wish })'
mutant 'a draft deleted together with its decisions' $CORE/repo/coupons.rs "$E2E" campaign_commands::a_mistyped_draft \
  '
                   AND NOT EXISTS (SELECT FROM coupon_issues i WHERE i.coupon_id = c.coupon_id)' ''
mutant 'a late window that undoes a newer one' crates/coupon-core/lua/set_window.lua "$IT" stock_model::a_window \
  "if version < (tonumber(meta[2]) or 0) then" "if version < 0 then"
mutant 'a campaign that is over opened' crates/issuer-api/src/coupon/open.rs "$E2E" campaign_commands::a_campaign_reads \
  'return Err(CommandError::Over { code: code.clone(), closes_at });' 'let _ = closes_at;'
mutant 'every RESOLVED entry reopened by a filter' $CORE/repo/settling.rs "$E2E" settling::a_failed_request \
  "(f.status = 'IGNORED' OR f.id = ANY(\$1)) AND (f.status = 'IGNORED' OR f.replay_of IS NULL)" 'f.replay_of IS NULL'
