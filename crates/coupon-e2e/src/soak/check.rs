//! The oracle: what can be judged while the run goes on, and everything at its end.

use std::{
    io::{BufRead, BufReader, Seek, SeekFrom},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use chrono::Utc;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Run, operator::Operator};
use crate::{
    answers::Answer,
    oracle::{self, Sources, Verdict},
    wait::pause,
};

/// Campaigns with more coupons than their total, or with a counter that is wrong.
const OVERSOLD: &str = "
    SELECT coupon_code || ': ' || n || ' rows, counter ' || issued_quantity || ' of ' || total_quantity
      FROM coupons JOIN (SELECT coupon_id, count(*) AS n FROM coupon_issues WHERE decision = 'ISSUED' GROUP BY 1) i
           USING (coupon_id)
     WHERE n > total_quantity OR n <> issued_quantity";
/// Members with two coupons of a campaign.
const DOUBLED: &str = "
    SELECT coupon_id || ': ' || member_id FROM coupon_issues WHERE decision = 'ISSUED'
     GROUP BY coupon_id, member_id HAVING count(*) > 1";
/// Requests with two decisions.
const DECIDED_TWICE: &str = "SELECT request_id::text FROM coupon_issues GROUP BY request_id HAVING count(*) > 1";
/// Decisions that were told and are not written.
const UNTRUE: &str = "
    SELECT told.id::text || ' was told to be ' || told.decision || ', it is ' || coalesce(i.decision, 'undecided')
      FROM unnest($1::uuid[], $2::text[]) AS told (id, decision) LEFT JOIN coupon_issues i ON i.request_id = told.id
     WHERE i.decision IS DISTINCT FROM told.decision";

/// How far the file of answers has been looked through.
#[derive(Debug, Default)]
pub(super) struct Told {
    read: u64,
    decisions: Vec<(Uuid, String)>,
}

impl Told {
    /// Reads the decisions that answers have told since the last time.
    fn read_on(&mut self, run: &Run) -> Result<()> {
        let Ok(mut file) = std::fs::File::open(run.kept.folder().join("answers.jsonl")) else { return Ok(()) };
        file.seek(SeekFrom::Start(self.read))?;
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        // A line that is not whole yet is read the next time.
        while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
            self.read += line.len() as u64;
            if line.contains(r#""state":"issued""#) || line.contains(r#""state":"compensated""#) {
                let answer: Value = serde_json::from_str(&line)?;
                let id = answer["request_id"].as_str().context("a state has a request")?.parse()?;
                self.decisions.push((id, answer["state"].as_str().unwrap_or_default().to_uppercase()));
            }
            line.clear();
        }
        Ok(())
    }
}

/// Judges what has to hold at any moment. While PostgreSQL is away nothing is judged, and that is noted.
pub(super) async fn while_running(run: &Run, told: &mut Told) -> Result<()> {
    told.read_on(run)?;
    let (ids, decisions): (Vec<Uuid>, Vec<String>) = told.decisions.iter().cloned().unzip();
    let db = &run.fleet.world.db;
    let found = async {
        let mut found: Vec<String> = Vec::new();
        for (what, query) in [("oversold", OVERSOLD), ("doubled", DOUBLED), ("decided twice", DECIDED_TWICE)] {
            let rows: Vec<String> = sqlx::query_scalar(query).fetch_all(db).await?;
            found.extend(rows.into_iter().map(|row| format!("{what}: {row}")));
        }
        let rows: Vec<String> = sqlx::query_scalar(UNTRUE).bind(&ids).bind(&decisions).fetch_all(db).await?;
        found.extend(rows.into_iter().map(|row| format!("untrue state: {row}")));
        let issued = "SELECT count(*) FROM coupon_issues";
        anyhow::Ok((found, sqlx::query_scalar::<_, i64>(issued).fetch_one(db).await?))
    };
    let second = run.started.elapsed().as_secs();
    match found.await {
        Ok((found, rows)) => {
            let asked = run.crowd.asked();
            println!("{second:>5} s  {asked} asked, {rows} decided, {} do not hold", found.len());
            run.kept.line("checks.jsonl", &json!({"at": Utc::now(), "asked": asked, "decided": rows}))?;
            told.decisions.clear();
            for violation in found {
                run.note_wrong(violation)?;
            }
        }
        // What was told is judged the next time.
        Err(error) => run.kept.line("checks.jsonl", &json!({"at": Utc::now(), "unjudged": format!("{error:#}")}))?,
    }
    Ok(())
}

/// Repairs what takes a repair, and waits until every promise holds and everything is told; the last verdict, whatever it is.
pub(super) async fn at_rest(run: &Run, operator: &mut Operator, deadline: Instant) -> Result<Verdict> {
    run.kept.answers(&run.fleet.world.answers.take())?;
    let answers = run.kept.read_answers()?;
    loop {
        let sick = operator.repair().await?;
        let is_late = Instant::now() > deadline;
        match look(run, answers.clone()).await {
            Ok((verdict, untold)) => {
                let broken = verdict.violations.len();
                let second = run.started.elapsed().as_secs();
                println!("{second:>5} s  {verdict} violations={broken} untold={untold} sick={sick}");
                if (broken, untold, sick) == (0, 0, 0) || is_late {
                    for (what, number) in [
                        ("dead letters or notices of which nobody has heard", untold),
                        ("campaigns that take a repair", sick),
                    ] {
                        if number > 0 {
                            run.note_wrong(format!("{number} {what}"))?;
                        }
                    }
                    return Ok(verdict);
                }
            }
            Err(error) if is_late => return Err(error),
            Err(_) => {}
        }
        pause(Duration::from_secs(2)).await;
    }
}

/// The verdict of the oracle, and the number of dead letters and notices of which nobody has heard.
async fn look(run: &Run, answers: Vec<Answer>) -> Result<(Verdict, usize)> {
    let sources = Sources { stock: run.fleet.stock().await?, answers, ..run.fleet.world.sources() };
    let verdict = oracle::verdict(&sources.collect(None).await?);
    let untold = "SELECT (SELECT count(*) FROM dlq_events WHERE NOT alarm_sent)
                       + (SELECT count(*) FROM alarm_notices WHERE NOT alarm_sent)";
    let untold: i64 = sqlx::query_scalar(untold).fetch_one(&run.fleet.world.db).await?;
    Ok((verdict, usize::try_from(untold)?))
}
