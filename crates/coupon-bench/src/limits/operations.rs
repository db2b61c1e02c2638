//! One operation, repeated by many callers at once on one thread, as the load generator is one.

use std::{
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use tokio::{sync::oneshot, task::LocalSet};

use super::Limit;
use crate::{
    load::middle_rate,
    measure::{servers::Server, spread::each_us, usage},
};

/// Runs `operation` of the numbers 0, 1, 2 … with so many at once for so long.
pub async fn repeat<O>(seconds: f64, callers: usize, server: &Server, operation: O) -> Result<Limit>
where
    O: AsyncFn(usize) -> Result<()> + Send + 'static,
{
    let (own, theirs) = (usage::cpu_ms(std::process::id())?, server.cpu_ms());
    let (tell, told) = oneshot::channel();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, callers_at_once(Duration::from_secs_f64(seconds), callers, operation))
    };
    thread::Builder::new().name("callers".to_owned()).spawn(move || tell.send(work()).ok())?;
    let ended = told.await.map_err(|_| anyhow!("a caller has panicked"))??;
    let (own, theirs) = (usage::cpu_ms(std::process::id())? - own, server.cpu_ms().saturating_sub(theirs));
    let (caller_cpu_us, server_cpu_us) = (each_us(own, ended.len() as u64), each_us(theirs, ended.len() as u64));
    Ok(Limit { per_second: middle_rate(ended), caller_cpu_us, server_cpu_us })
}

async fn callers_at_once<O>(lasts: Duration, callers: usize, operation: O) -> Result<Vec<u64>>
where
    O: AsyncFn(usize) -> Result<()> + 'static,
{
    let (operation, started) = (Rc::new(operation), Instant::now());
    let next = Rc::new(std::cell::Cell::new(0));
    let caller = || {
        let (operation, next) = (Rc::clone(&operation), Rc::clone(&next));
        async move {
            let mut ended = Vec::new();
            while started.elapsed() < lasts {
                let number = next.replace(next.get() + 1);
                operation(number).await.context("an operation has failed")?;
                ended.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
            anyhow::Ok(ended)
        }
    };
    let tasks: Vec<_> = (0..callers).map(|_| tokio::task::spawn_local(caller())).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}
