# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes in what an operator may decide.

mutant 'a word that settles an accepted, undecided request' $CORE/repo/work_list/settling.rs "$E2E" operator::an_accepted_request \
  '            (Self::Resolve | Self::Ignore, List::DlqEvents) => {' \
  '            (Self::Resolve | Self::Ignore, List::DlqEvents) if list == List::Requests => {' \
  '            (Self::Resolve | Self::Ignore, List::Requests) => {' \
  '            (Self::Resolve | Self::Ignore, List::DlqEvents) => "true",
            (Self::Resolve | Self::Ignore, List::Requests) => {'
mutant 'what is compensated by hand PENDING like any other' crates/coupon-operations/src/replay/compensate.rs "$E2E" operator::what_is_compensated \
  'is_by_hand: true' 'is_by_hand: false'
mutant 'an alarm of what an operator has just decided' $CORE/repo/coupon_issues/compensate.rs "$E2E" operator::what_is_compensated \
  'superseded_by.is_none() && compensation.by_hand().is_none()' 'superseded_by.is_none()'
mutant 'two constraints of one cause' $CORE/failure.rs "$LIB" failure:: \
  'Some(at) if is_part && at <= MAX_IDENTIFIER_BYTES => {' 'Some(at) if is_part && at > MAX_IDENTIFIER_BYTES => {'
mutant 'a mistyped campaign that is nothing worth saying' $CORE/repo/work_list/settling.rs "$E2E" operator_finds::a_filter_by_a_mistyped \
  'return Ok(Some(format!("there is no coupon {coupon}; `issuer-api coupon list` shows them all")));' 'return Ok(None);'
mutant 'numbers of the wrong kind taken' $CORE/repo/work_list/numbers.rs "$LIB" numbers:: \
  'number if number.list == list => Ok(number.id),' 'number => Ok(number.id),'
mutant 'a refused total that reads like a change' $CORE/repo/coupons/totals.rs "$E2E" campaign_commands::a_total_that_was_refused \
  'serde_json::json!({ "asked": wish })' 'serde_json::json!({ "to": wish })'
mutant 'a draft deleted together with its decisions' $CORE/repo/coupons.rs "$E2E" campaign_commands::a_mistyped_draft \
  '
                   AND NOT EXISTS (SELECT FROM coupon_issues i WHERE i.coupon_id = c.coupon_id)' ''
mutant 'a late window that undoes a newer one' crates/coupon-core/lua/set_window.lua "$IT" stock_gate::a_window \
  "if version < (tonumber(meta[2]) or 0) then" "if version < 0 then"
mutant 'a campaign that is over opened' crates/coupon-operations/src/campaigns/open.rs "$E2E" campaign_commands::a_campaign_reads \
  'return Err(CampaignError::Over { code: code.clone(), closes_at });' 'let _ = closes_at;'
mutant 'every RESOLVED entry reopened by a filter' $CORE/repo/work_list/settling.rs "$E2E" settling::a_failed_request \
  "(f.status = 'IGNORED' OR f.id = ANY(\$1)) AND (f.status = 'IGNORED' OR f.replay_of IS NULL)" 'f.replay_of IS NULL'
mutant 'a reason that no --cause looks into' $CORE/repo/work_list/filter.rs "$E2E" operator_finds::a_filter_by_a_mistyped \
  '
     OR $6::jsonb ->> '\''cause_only'\'' IS NULL AND strpos(lower(f.reason), lower($5)) > 0)' ')'
mutant 'a mistyped cause that is nothing worth saying' $CORE/repo/work_list/settling.rs "$E2E" operator_finds::a_filter_by_a_mistyped \
  'if let Some(cause) = &filter.cause
' 'if let Some(cause) = filter.cause.as_ref().filter(|cause| cause.is_empty())
'
mutant 'a mistyped subject that is nothing worth saying' crates/dlq-consumer/src/cli/work_list.rs "$E2E" operator_finds::a_filter_by_a_mistyped \
  '&& !operations.database.audit().has_subject(&subject).await?' '&& operations.database.audit().has_subject(&subject).await?'
mutant 'a total said to be set that Redis has no data of' crates/coupon-operations/src/campaigns/versioned.rs "$E2E" campaign_commands::set_total_without_data \
  'return Err(CampaignError::NoData(code.clone()));' 'remarks.clear();'
mutant 'a campaign changed by nobody' crates/issuer-api/src/coupon/mod.rs "$E2E" campaign_commands::nobody_changes \
  'if args.command.changes() { args.by.name()? } else' 'if args.command.changes() { args.by.name_or_unknown() } else'
mutant 'data put right by nobody' crates/dlq-consumer/src/cli/reconcile.rs "$E2E" reconcile::nobody_puts_data_right \
  'if args.apply { args.operator.name()? } else' 'if args.history { args.operator.name()? } else'
mutant 'a campaign OPEN before its window' $CORE/repo/coupons/status.rs "$E2E" campaign_commands::a_campaign_reads \
  'CouponStatus::Open if opens_at > now => Self::Scheduled,' 'CouponStatus::Open if opens_at > now => Self::Open,'
mutant 'a campaign OPEN after its window' $CORE/repo/coupons/status.rs "$E2E" campaign_commands::a_campaign_reads \
  'CouponStatus::Open if closes_at.is_some_and(|closes_at| closes_at <= now) => Self::Over,' \
  'CouponStatus::Open if closes_at.is_some_and(|closes_at| closes_at <= now) => Self::Open,'
mutant 'an archived campaign that is only CLOSED' $CORE/repo/coupons.rs "$E2E" campaign_commands::a_campaign_reads \
  'Some(_) => ShownStatus::Archived,' 'Some(_) => ShownStatus::Closed,'
mutant 'a filter of compensate without a bound' crates/dlq-consumer/src/cli/compensate.rs "$E2E" operator::compensate_has_a_dry_run \
  'if ids.is_empty() && up_to.is_none() {' 'if ids.is_empty() && up_to.is_none() && reason.is_none() {'
mutant 'a bound of compensate for its dry run alone' crates/dlq-consumer/src/cli/compensate.rs "$E2E" operator::compensate_has_a_dry_run \
  'let filter = Filter { ids, up_to, ..filter' 'let filter = Filter { ids, up_to: up_to.filter(|_| dry_run), ..filter'
mutant 'a dry run of compensate that goes on' crates/dlq-consumer/src/cli/compensate.rs "$E2E" operator::compensate_has_a_dry_run \
  '        output::put(&format!("{requests} would be compensated, refused: {refused}"))?;
        return Ok(ExitCode::SUCCESS);' \
  '        output::put(&format!("{requests} would be compensated, refused: {refused}"))?;'
mutant 'a member found without what Redis has of them' crates/coupon-operations/src/lookups/member.rs "$E2E" operator_finds::a_request_and_a_member \
  'let codes: Vec<CouponCode> = with.chain(without).collect' \
  'let codes: Vec<CouponCode> = with.chain(without).take(0).collect'
mutant 'a request found without its entries' crates/coupon-operations/src/lookups.rs "$E2E" operator_finds::a_request_and_a_member \
  'entries: self.database.failed_coupon_issues().of_request(request_id).await?,' 'entries: Vec::new(),'
mutant 'who holds a campaign listed up to one page' crates/dlq-consumer/src/cli/lookups.rs "$E2E" operator_finds::who_holds_a_campaign \
  'let Some(last) = rows.last() else {' 'let Some(last) = rows.last().filter(|_| after.is_none()) else {'
mutant 'an alarm with a command that wants a name and has none' $CORE/repo/alarms/notices.rs "$E2E" alarm_text::a_campaign_that_becomes \
  'dlq-consumer rebuild {code} --by NAME' 'dlq-consumer rebuild {code}'
mutant 'lines of issuer-api that do not name the installation' crates/issuer-api/src/data_loss.rs "$E2E" alarm_text::a_campaign_that_becomes \
  '(!installation.is_empty()).then(|| installation.into())' 'installation.is_empty().then(|| installation.into())'
mutant 'a campaign opened again of which a member was erased' crates/coupon-operations/src/campaigns/open.rs "$E2E" erasure::e_a_member \
  'return Err(CampaignError::MembersErased(code.clone()));' 'let _ = CampaignError::MembersErased(code.clone());'
mutant 'headers of dead letters that keep the member' crates/coupon-operations/src/members/scrub.rs "-p coupon-operations --lib" scrub:: \
  '(new != bytes).then(|| STANDARD.encode(new))' 'None'
mutant 'half of a member id replaced' crates/coupon-operations/src/members/scrub.rs "-p coupon-operations --lib" scrub:: \
  'let is_word = ends_before(before) && begins_after(&rest[encoding.len()..]);' 'let is_word = true;'
mutant 'a member erased while a request of theirs is undecided' crates/coupon-operations/src/members/erase.rs "$E2E" erasure::e_a_member \
  'if plan.in_the_way.is_empty() { Ok(()) }' 'if true { Ok(()) }'
mutant 'a holder entry left twice' crates/coupon-core/lua/rename_holder.lua "$E2E" erasure_ends::e_an_erasure \
  "redis.call('HDEL', KEYS[2], ARGV[1])" ""
mutant 'what operators wrote shown to viewers' crates/coupon-console/src/mask.rs "$E2E" console_masked:: \
  'if !caller.sees_members() && !text.is_empty() {' 'if false {'
mutant 'the texts of stored JSON shown to viewers unless they are known to be typed' crates/coupon-console/src/mask.rs '-p coupon-console --lib' mask:: \
  'Value::String(text) if !CHOSEN.contains(&field) => words(caller, text),' \
  'Value::String(text) if ["reason", "cause"].contains(&field) => words(caller, text),'
mutant 'the examples of a comparison in the events of a viewer' crates/coupon-console/src/pages/campaigns/events.rs "$E2E" console_masked:: \
  '.map(|look| look.seen_by(&caller))' ''
