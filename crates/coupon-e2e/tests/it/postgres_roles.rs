//! The roles of deploy/README.md, and no right more.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{failures::FailMode, world::World};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{AFTER_ALL_ATTEMPTS, SOON, issued_rows, write::accepted};

/// The roles of the recipe; the names are those of the binaries.
const ROLES: [&str; 3] = ["coupon_issuer_api", "coupon_issue_consumer", "coupon_dlq_consumer"];

/// The recipe, with roles of this test alone: roles belong to a whole server.
fn recipe(suffix: &str) -> Result<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/README.md");
    let text = std::fs::read_to_string(page)?;
    let (_, section) = text.split_once("### Roles in PostgreSQL").context("the section")?;
    let (_, sql) = section.split_once("```sql\n").context("the recipe")?;
    let (sql, _) = sql.split_once("```").context("the end of the recipe")?;
    Ok(ROLES.iter().fold(sql.to_owned(), |sql, role| sql.replace(role, &format!("{role}{suffix}"))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pipeline_runs_with_the_roles_of_the_readme_and_they_may_do_nothing_else() -> Result<()> {
    let world = World::new().await?;
    let suffix = format!("_{}", std::process::id());
    let mut admin = PgConnection::connect(&world.database_url).await?;
    sqlx::raw_sql(AssertSqlSafe(recipe(&suffix)?)).execute(&mut admin).await.context("the recipe")?;
    // What makes a member's coupon fail is a trigger of the test, which runs with the rights of whoever inserts.
    sqlx::raw_sql(
        "ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO PUBLIC;
         ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
         ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC",
    )
    .execute(&mut admin)
    .await?;
    let (_, place) = world.database_url.rsplit_once('@').context("a login")?;
    let [api_url, issue_url, dlq_url] = ROLES.map(|role| format!("postgres://{role}{suffix}:word@{place}"));
    for role in ROLES {
        let word = format!("ALTER ROLE {role}{suffix} PASSWORD 'word'");
        sqlx::raw_sql(AssertSqlSafe(word)).execute(&mut admin).await?;
    }
    let as_api = async |words: &[&str]| {
        world.run_with("issuer-api", words, &[("DATABASE_URL", api_url.as_str())]).await?.succeeded()
    };
    let as_dlq = async |words: &[&str]| {
        world.run_with("dlq-consumer", words, &[("DATABASE_URL", dlq_url.as_str())]).await?.succeeded()
    };

    as_api(&["coupon", "create", "RIGHTS", "--total", "20"]).await?;
    as_api(&["coupon", "open", "RIGHTS"]).await?;
    as_api(&["coupon", "create", "DRAFTED", "--total", "20"]).await?;
    as_api(&["coupon", "delete", "DRAFTED"]).await?;
    world.fail_member("RIGHTS", "unlucky", FailMode::Permanently).await?;
    let (api, issue, dlq) = tokio::try_join!(
        world.start_api().env("DATABASE_URL", &api_url).into_future(),
        world.start_issue_consumer().env("DATABASE_URL", &issue_url).into_future(),
        world.start_dlq_consumer().env("DATABASE_URL", &dlq_url).into_future()
    )?;
    as_api(&["doctor"]).await?;
    as_dlq(&["doctor"]).await?;
    world.run_with("issue-consumer", &["doctor"], &[("DATABASE_URL", issue_url.as_str())]).await?.succeeded()?;
    for member in ["unlucky", "one", "two", "three"] {
        accepted(&world, &api, "RIGHTS", member).await?;
    }
    issued_rows(&world, "RIGHTS", 3, SOON).await?;
    let verdict = world.quiet(AFTER_ALL_ATTEMPTS, &[]).await?;
    ensure!((verdict.issued, verdict.compensated) == (3, 1), "{verdict}");
    as_dlq(&["list"]).await?;
    as_dlq(&["stats"]).await?;
    as_dlq(&["rebuild", "RIGHTS", "--yes", "--by", "olga"]).await?;
    as_dlq(&["reconcile", "RIGHTS", "--apply", "--by", "olga"]).await?;
    as_dlq(&["resolve", "--coupon", "RIGHTS", "--up-to", "E99", "--reason", "paid", "--by", "olga", "--yes"]).await?;
    as_dlq(&["purge", "--yes", "--by", "olga"]).await?;
    as_api(&["coupon", "set-total", "RIGHTS", "30"]).await?;
    as_api(&["coupon", "close", "RIGHTS"]).await?;
    for service in [&api, &issue, &dlq] {
        ensure!(!service.log_contains("permission denied"), "{:?}", service.log());
    }

    let denied: [(&str, &[&str]); 2] = [
        (
            issue_url.as_str(),
            &[
                "DELETE FROM coupon_issues",
                "UPDATE coupon_issues SET decision = 'ISSUED'",
                "SELECT FROM operator_audit",
            ],
        ),
        (
            api_url.as_str(),
            &[
                "INSERT INTO coupon_issues SELECT",
                "DELETE FROM operator_audit",
                "UPDATE failed_coupon_issues SET status = 'IGNORED'",
            ],
        ),
    ];
    for (url, statements) in denied
        .into_iter()
        .chain([(dlq_url.as_str(), &["DELETE FROM coupon_issues", "DELETE FROM coupons", "TRUNCATE coupons"][..])])
    {
        let mut raw = PgConnection::connect(url).await?;
        for statement in statements {
            let refused = sqlx::raw_sql(AssertSqlSafe((*statement).to_owned())).execute(&mut raw).await;
            let state = refused.as_ref().err().and_then(|error| error.as_database_error()?.code());
            ensure!(state.as_deref() == Some("42501"), "{statement}: {refused:?}");
        }
    }
    drop((api, issue, dlq));
    for role in ROLES {
        let gone = format!("DROP OWNED BY {role}{suffix}; DROP ROLE {role}{suffix}");
        sqlx::raw_sql(AssertSqlSafe(gone)).execute(&mut admin).await?;
    }
    Ok(())
}
