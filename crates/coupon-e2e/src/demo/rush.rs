//! The rush: all members ask at once.

use std::{
    io::{IsTerminal, stderr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use super::{
    cast::{LATER, NEVER},
    screen::count,
    stage::Stage,
};
use crate::{answers::Answer, member::Member};

/// Connections over which the members ask; each carries one request at a time and is kept open.
pub(super) const CONNECTIONS: usize = 256;

/// Answers of the rush, as the clients got them.
pub(super) struct Rush {
    /// Answers in the order of their arrival.
    pub answers: Vec<Answer>,
    /// Time from the first request to the last answer.
    pub took: Duration,
}

impl Rush {
    /// Returns the answers that accept a request.
    pub fn accepted(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(|answer| answer.is_held())
    }

    /// Returns the answers that refuse a request because none is left.
    pub fn sold_out(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(|answer| answer.is_refused_as(409, "SOLD_OUT"))
    }

    /// Returns the answer to one member.
    pub fn of(&self, member: &str) -> Option<&Answer> {
        self.answers.iter().find(|answer| answer.member == member)
    }

    /// Time in ms within which this share of the answers came.
    pub fn percentile(&self, share: usize) -> u128 {
        let mut times: Vec<_> = self.answers.iter().map(|answer| answer.took).collect();
        times.sort();
        times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).map_or(0, Duration::as_millis)
    }
}

/// Lets the two members with a part of their own ask, then everybody else at once.
pub(super) async fn rush(stage: &Stage) -> Result<Rush> {
    let everybody = (1..=stage.size.members).map(|number| number.to_string());
    let others: Vec<String> = everybody.filter(|id| id != NEVER && id != LATER).collect();
    let others = others.iter().map(|id| stage.member(id)).collect::<Result<Vec<_>>>()?;
    let bar = bar(others.len() + 2);
    let started = Instant::now();
    for id in [NEVER, LATER] {
        stage.member(id)?.ask(&stage.code).await;
        bar.inc(1);
    }
    all_at_once(others, &stage.code, &bar).await;
    let took = started.elapsed();
    bar.finish_and_clear();
    Ok(Rush { answers: stage.answers.read(), took })
}

async fn all_at_once(members: Vec<Member>, code: &str, bar: &ProgressBar) {
    let (members, next) = (Arc::new(members), Arc::new(AtomicUsize::new(0)));
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (members, next, bar, code) = (members.clone(), next.clone(), bar.clone(), code.to_owned());
        connections.spawn(async move {
            while let Some(member) = members.get(next.fetch_add(1, Ordering::Relaxed)) {
                member.ask(&code).await;
                bar.inc(1);
            }
        });
    }
    connections.join_all().await;
}

fn bar(members: usize) -> ProgressBar {
    if !stderr().is_terminal() {
        println!("  {} members are asking …", count(members));
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("  asking {bar:50} {human_pos} of {human_len}  {per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(members as u64).with_style(style)
}
