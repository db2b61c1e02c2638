//! X: whatever anybody has written into a field that operators fill stays text on every page that shows it.

use anyhow::{Result, ensure};
use coupon_e2e::world::World;
use serde_json::json;

use crate::{
    console_work::Desk,
    rows::{Entry, Letter},
};

/// Texts that a page would run, or by which they would leave their place, if it did not escape them.
const CORPUS: [&str; 7] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' autofocus onfocus='alert(1)",
    "</dd></textarea></title><svg onload=alert(1)>",
    "<!--<a href=javascript:alert(1)>-->",
    "{{7*7}}{% raw %}<b>",
    "&#60;i&#62;&amp;<i>",
];

/// The text as a page has to have it.
fn escaped(text: &str) -> String {
    let escape = |character: char| match character {
        '&' | '<' | '>' | '"' | '\'' => format!("&#{};", u32::from(character)),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Writes the text into every field of a plan, a job, a replay, a view, a claim, a note and the audit, whoever may write it
/// there. Returns the pages that show it.
async fn plant(world: &World, text: &str) -> Result<Vec<String>> {
    let cause = Some(text);
    let entry = Entry { member: text, cause, reason: text, ..Entry::default() }.plant(world).await?;
    let letter = Letter { text, ..Letter::default() }.plant(world).await?;
    let by =
        json!({ "name": text, "login": "ASSERTION", "role": "admin", "source": text, "plan_id": null, "reason": text });
    let filter = json!({ "cause": text, "reason": text, "claimed_by": text });
    let change = json!({ "verb": "resolve", "list": "failed_coupon_issues", "filter": filter });
    let sample = json!([{ "number": text, "coupon_code": text, "member_id": text, "cause": text }]);
    let counts = json!({ text: 3 });
    let plan: i64 = sqlx::query_scalar(
        "INSERT INTO plans (verb, parameters, predicate, up_to_id, eligible, refused, sample, typed, created_by, created_at,
                            expires_at, needs_second, first_by, reason)
         VALUES ('resolve', $1, $2, 1, 1, $3, $4, $2, $2, now(), now() + interval '1 hour', true, $2, $2) RETURNING plan_id",
    )
    .bind(&change)
    .bind(text)
    .bind(&counts)
    .bind(&sample)
    .fetch_one(&world.db)
    .await?;
    let progress = json!({ "done": 1, "total": 2, "refused": counts, text: text });
    let job: i64 = sqlx::query_scalar(
        "INSERT INTO jobs (kind, status, parameters, progress, note, reason, asked_by, worker, created_at, updated_at)
         VALUES ('SETTLE', 'FAILED', $1, $2, $3, $3, $4, $3, now(), now()) RETURNING job_id",
    )
    .bind(&change)
    .bind(&progress)
    .bind(text)
    .bind(&by)
    .fetch_one(&world.db)
    .await?;
    let replay: i64 = sqlx::query_scalar(
        "INSERT INTO replay_jobs (kind, status, filter, up_to_id, per_second, after_close, eligible, refused, note, reason,
                                  created_by, created_at, updated_at, worker, in_service, asked_by)
         VALUES ('REQUESTS', 'PAUSED', $1, 1, 1, false, 1, $2, $3, $3, $3, now(), now(), $3, true, $4) RETURNING job_id",
    )
    .bind(&filter)
    .bind(&counts)
    .bind(text)
    .bind(&by)
    .fetch_one(&world.db)
    .await?;
    sqlx::query("UPDATE failed_coupon_issues SET claimed_by = $1, claimed_at = now() WHERE id = $2")
        .bind(text)
        .bind(entry)
        .execute(&world.db)
        .await?;
    for subject in [format!("failed_coupon_issues/{entry}"), format!("dlq_events/{letter}")] {
        sqlx::query("INSERT INTO row_notes (subject, written_by, written_at, note) VALUES ($1, $2, now(), $2)")
            .bind(&subject)
            .bind(text)
            .execute(&world.db)
            .await?;
        sqlx::query(
            "INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
             VALUES (now(), $1, $1, $2, $3, $1, $4)",
        )
        .bind(text)
        .bind(&subject)
        .bind(json!({ "from": text, "to": { text: text } }))
        .bind(&by)
        .execute(&world.db)
        .await?;
    }
    sqlx::query("INSERT INTO saved_filters (operator_name, name, view, created_at) VALUES ('ada', $1, $2, now())")
        .bind(text)
        .bind(format!("/work?cause={text}"))
        .execute(&world.db)
        .await?;
    // A name of its own is bound to plain characters; who added an operator may be called anything by an identity provider.
    sqlx::query(
        "INSERT INTO operators (name, role, token_hash, created_by, created_at, expires_at)
         VALUES ('op' || md5($1::text), 'viewer', sha256(convert_to($1, 'UTF8')), $1, now(), now() + interval '1 hour')",
    )
    .bind(text)
    .execute(&world.db)
    .await?;
    Ok(vec![
        format!("/plans/{plan}"),
        format!("/jobs/{job}"),
        format!("/replays/{replay}"),
        format!("/work/E{entry}"),
        format!("/dead-letters/D{letter}"),
        "/jobs".to_owned(),
        "/replays".to_owned(),
        "/work".to_owned(),
        "/dead-letters".to_owned(),
        "/audit".to_owned(),
        "/operators".to_owned(),
        "/causes".to_owned(),
    ])
}

/// A page as a browser comes to it, with its status: a list leads to itself, bound to the rows of now.
async fn opened(desk: &Desk, path: &str) -> Result<(u16, String)> {
    let request = desk.console.get(path).bearer_auth(&desk.token).header("accept", "text/html");
    let answer = request.send().await?;
    if answer.status() != 303 {
        return Ok((answer.status().as_u16(), answer.text().await?));
    }
    let to = answer.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or_default();
    ensure!(to.starts_with(&format!("{path}?up_to=")), "{path} leads to {to}");
    desk.html(to).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_write_stays_text_on_every_page() -> Result<()> {
    let world = World::new().await?;
    let desk = Desk::new(&world, "ada", "admin").await?;
    let refused = ["operator", "add", CORPUS[0], "--role", "viewer", "--expires", "1h", "--by", "e2e"];
    ensure!(world.run("dlq-consumer", &refused).await?.code != Some(0), "a name is plain");
    for text in CORPUS {
        for path in plant(&world, text).await? {
            let (status, page) = opened(&desk, &path).await?;
            ensure!(status == 200, "{path}: {status} {page}");
            ensure!(page.contains(&escaped(text)), "{path} shows {text:?} nowhere: {page}");
            for planted in CORPUS {
                ensure!(!page.contains(planted), "{path} has {planted:?} as it was written: {page}");
            }
            // As JSON it is data, and no browser takes it for a page.
            let answer = desk.console.get(&path).bearer_auth(&desk.token).header("accept", "application/json");
            let headers = answer.send().await?.headers().clone();
            let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            ensure!(kind.starts_with("application/json") && headers["x-content-type-options"] == "nosniff", "{path}");
        }
    }
    Ok(())
}
