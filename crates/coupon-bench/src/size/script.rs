//! What reserving costs Redis: its own time for each call of `reserve.lua`, and its CPU time.

use anyhow::{Result, bail, ensure};
use chrono::Utc;
use coupon_core::{
    ids::CouponCode,
    runtime::SecretUrl,
    stock::{Held, RedisSettings, Stock},
};
use futures_util::{TryStreamExt, stream};
use redis::{AsyncCommands, aio::MultiplexedConnection};

use super::place::Sized;
use crate::{
    measure::{commands::Commands, servers::Server, spread::as_f64},
    progress,
    seed::{CODE, key, members::Members},
};

/// Calls of the script that are under way at once.
const CALLS_AT_ONCE: usize = 64;

/// Holder entries that are removed by one command.
const ENTRIES_IN_A_COMMAND: usize = 500;

/// Tells the newcomers of a script from those of a drain.
const NO_DRAIN: u32 = 1000;

/// Cost of one call of `reserve.lua` at one size.
#[derive(Clone, Copy, Debug)]
pub struct Called {
    /// Time in which Redis ran the script, in µs, as its `commandstats` tell.
    pub script_us: f64,
    /// CPU time of Redis, in µs: also reading the request, answering it and writing the append-only file.
    pub cpu_us: f64,
}

/// Reserves for so many new members, and gives the units back, so that the size stays.
pub async fn measure(sized: &mut Sized, server: &Server, calls: u32, round: u32) -> Result<Called> {
    let newcomers = sized.members.newcomers(Utc::now(), calls, sized.members.count, NO_DRAIN + round);
    let patience = 10_000;
    let settings = RedisSettings::at(SecretUrl::new(sized.site.world.redis_url.clone()), patience, patience);
    let stock = Stock::new(&settings)?;
    let code: CouponCode = CODE.parse()?;
    // A server that has not seen the script yet is sent it first.
    let early = sized.members.newcomers(Utc::now(), 1, sized.members.count, NO_DRAIN * 2 + round);
    reserve(&stock, &code, &early, 0).await?;
    let (counted, cpu) = (Commands::read(&mut sized.redis).await?, server.cpu_ms());
    let everybody = stream::iter((0..newcomers.count).map(Ok));
    everybody
        .try_for_each_concurrent(CALLS_AT_ONCE, async |number| reserve(&stock, &code, &newcomers, number).await)
        .await?;
    let (ran, cpu) = (Commands::read(&mut sized.redis).await?.since(&counted).of("evalsha"), server.cpu_ms() - cpu);
    ensure!(ran.calls >= u64::from(calls), "Redis counts {} calls of {calls}", ran.calls);
    if ran.calls > u64::from(calls) {
        progress::say(&format!("  somebody else has called scripts: {} times", ran.calls - u64::from(calls)));
    }
    give_back(&mut sized.redis, &early).await?;
    give_back(&mut sized.redis, &newcomers).await?;
    let entries: u64 = sized.redis.hlen(key("issued")).await?;
    ensure!(entries == sized.members.count, "{entries} holder entries are left instead of {}", sized.members.count);
    Ok(Called { script_us: as_f64(ran.micros) / as_f64(ran.calls), cpu_us: as_f64(cpu) * 1000.0 / f64::from(calls) })
}

async fn reserve(stock: &Stock, code: &CouponCode, members: &Members, number: u64) -> Result<()> {
    let one = members.reservation(number);
    let reserved = stock.reserve(code, &one.member.parse()?, one.request_id.into(), u64::from(u32::MAX)).await?;
    match reserved {
        Ok(Held { is_repeat: false, pending: Some(_), .. }) => Ok(()),
        other => bail!("a new member was not given a new coupon: {other:?}"),
    }
}

async fn give_back(redis: &mut MultiplexedConnection, members: &Members) -> Result<()> {
    let names: Vec<String> = (0..members.count).map(|number| members.reservation(number).member).collect();
    let mut gone = 0;
    for some in names.chunks(ENTRIES_IN_A_COMMAND) {
        gone += redis.hdel::<_, _, u64>(key("issued"), some).await?;
    }
    ensure!(gone == members.count, "{gone} of {} holder entries were there to be given back", members.count);
    let _: u64 = redis.unlink(key("outbox")).await?;
    Ok(())
}
