//! A verb that an alarm asks for leads out, whatever state it finds.
//!
//! A campaign is damaged at random, once or twice. Then only what the alarm of it says is done, at most three commands:
//! `rebuild` for a SUSPECT one, `reconcile --apply` otherwise, and `rebuild` for what reconcile says takes it; in half of
//! the cases the other verb comes first. Afterwards the campaign is OPEN or CLOSED as before, and I1 to I6 hold.
//!
//! One pair is left out: a row and its holder entry that are both lost are known to Kafka alone, and neither side misses
//! anything. That takes the runbook's reset of the offsets.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{chance, process::Process, stock::key, world::World};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use uuid::Uuid;

use crate::{SOON, Services, issued_rows, rebuild::status, reconcile::drift, write::accepted};

/// Commands that an operator may need.
const COMMANDS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// Rows are deleted by hand, and the counter stays.
    Rows,
    /// The counter is anything.
    Counter,
    /// The highest sequence is anything.
    HighSeq,
    /// A holder entry is gone.
    HolderGone,
    /// One is there of which nobody has heard.
    HolderForged,
    /// One names the request of somebody else.
    HolderForeign,
    /// One is no request id.
    HolderUnreadable,
    /// All are gone.
    Holders,
    /// A decided request is to be published again.
    OutboxAgain,
    /// An outbox entry names no request.
    OutboxUnreadable,
    /// All of meta is gone.
    Meta,
    /// A field of it is gone.
    MetaField,
    /// A field of it is no number.
    MetaRubbish,
    /// The gate says SUSPECT.
    GateSuspect,
    /// The total differs.
    Total,
    /// The sequence went back.
    Seq,
    /// Redis is of another epoch.
    RedisEpoch,
    /// The row is of another epoch.
    RowEpoch,
    /// Everything in Redis is gone.
    Flush,
    /// A group's offsets are set back to the beginning, or forward past what it has not read.
    Offsets,
}

use Damage::{
    Counter, Flush, GateSuspect, HighSeq, HolderForeign, HolderForged, HolderGone, HolderUnreadable, Holders, Meta,
    MetaField, MetaRubbish, Offsets, OutboxAgain, OutboxUnreadable, RedisEpoch, RowEpoch, Rows, Seq, Total,
};

const ALL: [Damage; 20] = [
    Rows,
    Counter,
    HighSeq,
    HolderGone,
    HolderForged,
    HolderForeign,
    HolderUnreadable,
    Holders,
    OutboxAgain,
    OutboxUnreadable,
    Meta,
    MetaField,
    MetaRubbish,
    GateSuspect,
    Total,
    Seq,
    RedisEpoch,
    RowEpoch,
    Flush,
    Offsets,
];

/// Damages of what is known of a request in Redis.
const OF_HOLDERS: [Damage; 5] = [HolderGone, HolderForeign, HolderUnreadable, Holders, Flush];

#[derive(Clone, Copy, Debug)]
struct Case {
    first: Damage,
    second: Option<Damage>,
    is_closed: bool,
    is_sold_out: bool,
    rebuild_first: bool,
}

impl Case {
    fn any(chance: &mut StdRng) -> Self {
        let pick = |chance: &mut StdRng| *ALL.choose(chance).unwrap_or(&Rows);
        let (first, mut second) = (pick(chance), chance.random_bool(0.6).then(|| pick(chance)));
        let both = |one: Damage, other: Damage| one == Rows && OF_HOLDERS.contains(&other);
        if second.is_some_and(|second| both(first, second) || both(second, first)) {
            second = None;
        }
        let [is_closed, is_sold_out, rebuild_first] = std::array::from_fn(|_| chance.random_bool(0.4));
        Self { first, second, is_closed, is_sold_out, rebuild_first }
    }
}

/// Runs so many cases, one after the other in one world.
pub(crate) async fn every_case_leads_out(cases: usize) -> Result<()> {
    let mut chance = chance::seeded("damage");
    let world = World::new().await?;
    let mut services = Services::start(&world).await?;
    for number in 0..cases {
        let case = Case::any(&mut chance);
        let code = format!("CASE-{number}");
        println!("{code}: {case:?}");
        services =
            leads_out(&world, services, &code, case, &mut chance).await.with_context(|| format!("{code}: {case:?}"))?;
    }
    Ok(())
}

async fn leads_out(
    world: &World,
    mut services: Services,
    code: &str,
    case: Case,
    chance: &mut StdRng,
) -> Result<Services> {
    let members = if case.is_sold_out { 6 } else { 4 };
    world.open_campaign(code, 6).await?;
    for number in 0..members {
        accepted(world, &services.api, code, &format!("{code}-{number}")).await?;
    }
    issued_rows(world, code, members, SOON).await?;
    if case.is_closed {
        world.coupon(&["close", code]).await?.succeeded()?;
    }
    let before = status(world, code).await?;
    for damage in std::iter::once(case.first).chain(case.second) {
        if damage == Offsets {
            services = damage_offsets(world, services, chance).await?;
        } else {
            strike(world, code, damage, chance).await?;
        }
    }
    let mut did = Vec::new();
    let mut verb = if case.rebuild_first { "rebuild" } else { said_by_alarm(world, &services.api, code).await? };
    while did.len() < COMMANDS {
        let output = if verb == "rebuild" {
            world.run("dlq-consumer", &["rebuild", code, "--yes", "--by", "olga", "--wait", "20"]).await?
        } else {
            world.run("dlq-consumer", &["reconcile", code, "--apply", "--output", "json", "--by", "olga"]).await?
        };
        did.push(format!("{verb}: {:?} {} {}", output.code, output.stdout, output.stderr));
        let asks_for_rebuild = verb == "reconcile"
            && drift(&output)?.get(code).is_some_and(|kinds| {
                ["DATA_LOST", "FOREIGN_MARK", "UNREADABLE_MARK"].iter().any(|kind| kinds.contains_key(*kind))
            });
        if output.code == Some(0) && said_by_alarm(world, &services.api, code).await? == "reconcile" {
            // What was published again arrives, and the next comparison finds nothing.
            if world.quiet(SOON, &[]).await.is_ok() && status(world, code).await? == before {
                return Ok(services);
            }
        }
        verb = if asks_for_rebuild { "rebuild" } else { said_by_alarm(world, &services.api, code).await? };
    }
    let verdict = world.quiet(SOON, &[]).await.map(|_| ());
    ensure!(status(world, code).await? == before, "{} instead of {before}: {did:#?}", status(world, code).await?);
    verdict.with_context(|| format!("{did:#?}"))?;
    Ok(services)
}

/// What the alarm names: a SUSPECT campaign takes a rebuild, and so does one whose data Redis has lost; drift a
/// reconciliation.
async fn said_by_alarm(world: &World, api: &Process, code: &str) -> Result<&'static str> {
    // A member who asks is what makes a loss be noticed while the campaign is open.
    world.member(api, &format!("{code}-0"))?.ask(code).await;
    let stock = world.stock.of(code).await?;
    let fields = ["epoch", "total", "total_version", "opens_at", "closes_at", "seq"];
    let is_whole = fields.iter().all(|field| stock.number(field).is_some());
    let is_suspect = stock.meta.get("status").is_none_or(|gate| gate == "SUSPECT");
    let is_told = !is_whole || is_suspect || status(world, code).await? == "SUSPECT";
    Ok(if is_told { "rebuild" } else { "reconcile" })
}

async fn strike(world: &World, code: &str, damage: Damage, chance: &mut StdRng) -> Result<()> {
    let stock = &world.stock;
    let mut redis = stock.redis();
    let held = stock.of(code).await?.issued;
    let members: Vec<String> = (0..4).map(|number| format!("{code}-{number}")).collect();
    let member = members.choose(chance).context("a member")?.as_str();
    let update = async |change: &str, number: i64| -> Result<()> {
        let statement = format!("UPDATE coupons SET {change} WHERE coupon_code = $1");
        sqlx::query(sqlx::AssertSqlSafe(statement)).bind(code).bind(number).execute(&world.db).await?;
        Ok(())
    };
    match damage {
        Rows => {
            let some = chance.random_range(1..=members.len());
            sqlx::query(
                "DELETE FROM coupon_issues WHERE member_id = ANY($1) AND coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $2)",
            )
            .bind(&members[..some])
            .bind(code)
            .execute(&world.db)
            .await?;
        }
        Counter => update("issued_quantity = $2", chance.random_range(0..=6)).await?,
        HighSeq => update("high_seq = $2", *[0, 9, 1_000, (1 << 53) - 1].choose(chance).context("one")?).await?,
        HolderGone => stock.set_mark(code, member, None).await?,
        HolderForged => stock.set_mark(code, &format!("{code}-forged"), Some(Uuid::now_v7())).await?,
        HolderForeign => {
            // Not the one who asks here: they would be told somebody else's request.
            let member = members.last().context("a member")?;
            let other = held.iter().find(|(holder, _)| *holder != member).and_then(|(_, id)| id.parse().ok());
            stock.set_mark(code, member, other).await?;
        }
        HolderUnreadable => {
            redis::cmd("HSET").arg(key(code, "issued")).arg(member).arg("rubbish").exec_async(&mut redis).await?;
        }
        Holders => redis::cmd("DEL").arg(key(code, "issued")).exec_async(&mut redis).await?,
        OutboxAgain => {
            if let Some(id) = held.get(member) {
                stock.set_outbox(code, &format!("{id}|1|{member}")).await?;
            }
        }
        OutboxUnreadable => stock.set_outbox(code, "rubbish").await?,
        Meta => redis::cmd("DEL").arg(key(code, "meta")).exec_async(&mut redis).await?,
        MetaField | MetaRubbish => {
            let fields = ["epoch", "total", "total_version", "opens_at", "closes_at", "seq"];
            let field = *fields.choose(chance).context("a field")?;
            let mut command = redis::cmd(if damage == MetaField { "HDEL" } else { "HSET" });
            command.arg(key(code, "meta")).arg(field);
            if damage == MetaRubbish {
                command.arg("rubbish");
            }
            command.exec_async(&mut redis).await?;
        }
        GateSuspect => stock.set_meta(code, &[("status", "SUSPECT")]).await?,
        Total => stock.set_meta(code, &[("total", &chance.random_range(0..=9).to_string())]).await?,
        Seq => stock.set_meta(code, &[("seq", "0")]).await?,
        RedisEpoch => stock.set_meta(code, &[("epoch", &chance.random_range(0..=4).to_string())]).await?,
        RowEpoch => update("epoch = $2", chance.random_range(2..=5)).await?,
        Flush => {
            let keys = ["meta", "issued", "outbox"].map(|part| key(code, part));
            redis::cmd("DEL").arg(&keys).exec_async(&mut redis).await?;
        }
        Offsets => {}
    }
    Ok(())
}

/// A group is only told other offsets while it has no members.
async fn damage_offsets(world: &World, services: Services, chance: &mut StdRng) -> Result<Services> {
    let Services { api, issue_consumer, dlq_consumer } = services;
    drop(issue_consumer);
    let group = world.group_of("issue-consumer");
    let ends = world.topic.committed(&group).await?;
    let is_back = chance.random_bool(0.5);
    let commit = async || -> Result<bool> {
        for (partition, end) in &ends {
            // Far ahead of what is there is out of range, and read from the beginning.
            let offset = if is_back { 0 } else { *end };
            if world.topic.commit(&group, *partition, offset).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    };
    coupon_e2e::wait::eventually("the group has no members", SOON, commit).await?;
    let issue_consumer = world.start_issue_consumer().await?;
    Ok(Services { api, issue_consumer, dlq_consumer })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verb_that_an_alarm_asks_for_leads_out_whatever_was_damaged() -> Result<()> {
    every_case_leads_out(8).await
}
