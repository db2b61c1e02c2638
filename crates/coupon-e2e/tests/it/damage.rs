//! What can happen to the data of a campaign, one damage or two at random.

use anyhow::{Context, Result};
use coupon_e2e::{stock::key, world::World};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use uuid::Uuid;

/// Declares the damages and the list of all of them.
macro_rules! damages {
    ($($(#[$meta:meta])* $variant:ident,)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Damage { $($(#[$meta])* $variant,)+ }
        use Damage::{$($variant),+};
        const ALL: &[Damage] = &[$($variant),+];
    };
}

damages! {
    /// Rows are deleted by hand, and the counter stays.
    Rows,
    /// The counter of issued coupons is a random number.
    Counter,
    /// The highest sequence is anything.
    HighSeq,
    /// A holder entry is gone.
    HolderGone,
    /// One holder entry has a request id that no store knows.
    HolderForged,
    /// One holder entry names the request of another member.
    HolderForeign,
    /// One holder entry has no request id as its value.
    HolderUnreadable,
    /// All holder entries are gone.
    Holders,
    /// A decided request is to be published again.
    OutboxAgain,
    /// An outbox entry names no request.
    OutboxUnreadable,
    /// The whole hash `meta` is gone.
    Meta,
    /// A field of `meta` is gone.
    MetaField,
    /// A field of it is no number.
    MetaRubbish,
    /// The gate says SUSPECT.
    GateSuspect,
    /// The total in Redis differs.
    Total,
    /// The sequence in Redis went back.
    Seq,
    /// Redis is of another epoch.
    RedisEpoch,
    /// The row is of another epoch.
    RowEpoch,
    /// Everything in Redis is gone.
    Flush,
    /// The group's offsets are set back to the beginning.
    OffsetsBack,
    /// The group's offsets are set forward past a member whose record it has not read.
    OffsetsForward,
}

/// Damages of what is known of a request in Redis.
const OF_HOLDERS: [Damage; 5] = [HolderGone, HolderForeign, HolderUnreadable, Holders, Flush];

/// What happens to a campaign, in which state it is, and whether `rebuild` comes first.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub first: Damage,
    pub second: Option<Damage>,
    pub is_closed: bool,
    pub is_sold_out: bool,
    pub rebuild_first: bool,
}

impl Case {
    /// Any two damages of which a campaign can recover, or one.
    pub fn any(chance: &mut StdRng) -> Self {
        let pick = |chance: &mut StdRng| *ALL.choose(chance).unwrap_or(&Rows);
        let (first, mut second) = (pick(chance), chance.random_bool(0.6).then(|| pick(chance)));
        let both = |one: Damage, other: Damage| {
            one == Rows && OF_HOLDERS.contains(&other) || one == OffsetsForward && [Holders, Flush].contains(&other)
        };
        if second.is_some_and(|second| both(first, second) || both(second, first)) {
            second = None;
        }
        let [is_closed, is_sold_out, rebuild_first] = std::array::from_fn(|_| chance.random_bool(0.4));
        Self { first, second, is_closed, is_sold_out, rebuild_first }
    }
}

/// Does this damage to a campaign; offsets are damaged while their group is stopped, and not here.
pub async fn strike(world: &World, code: &str, damage: Damage, chance: &mut StdRng) -> Result<()> {
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
        HolderGone => stock.set_holder(code, member, None).await?,
        HolderForged => stock.set_holder(code, &format!("{code}-forged"), Some(Uuid::now_v7())).await?,
        HolderForeign => {
            // Not the member who asks here: the answer would have the request of another member.
            let member = members.last().context("a member")?;
            let other = held.iter().find(|(holder, _)| *holder != member).and_then(|(_, id)| id.parse().ok());
            stock.set_holder(code, member, other).await?;
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
        OffsetsBack | OffsetsForward => {}
    }
    Ok(())
}
