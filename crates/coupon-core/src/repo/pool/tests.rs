//! When connections are kept, and when they are left. PostgreSQL is needed.

use sqlx::{Connection, Executor};
use tokio::time::Instant;

use super::*;
use crate::runtime::SecretUrl;

fn url() -> String {
    std::env::var("DATABASE_URL").expect("DATABASE_URL is set by `make test`")
}

fn settings() -> DatabaseSettings {
    DatabaseSettings {
        url: SecretUrl::new(url()),
        max_connections: 1,
        acquire_timeout_ms: 5000,
        statement_timeout_ms: 5000,
        lock_timeout_ms: 5000,
        max_lifetime_ms: 60_000,
        ..DatabaseSettings::default()
    }
}

async fn backend(database: &Database) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&database.pool()).await.unwrap()
}

/// What is written on such a connection would report success and never be committed.
#[tokio::test]
async fn a_connection_that_comes_back_inside_a_transaction_is_thrown_away() {
    let database = Database::new(&settings(), "coupon-core tests").unwrap();
    let first = backend(&database).await;
    assert_eq!(backend(&database).await, first, "there is one connection, and it is kept");
    database.pool().connections.acquire().await.unwrap().execute("BEGIN").await.unwrap();
    assert_ne!(backend(&database).await, first);
    database.close().await;
}

/// A rebuild, a replay or a purge is many statements on a way that may be long; only one that is silent is lost.
#[tokio::test]
async fn each_statement_of_a_piece_of_work_has_the_whole_bound_and_the_connections_are_kept() {
    const BOUND: Duration = Duration::from_secs(2);
    let mut database = Database::new(&settings(), "coupon-core tests").unwrap();
    Arc::get_mut(&mut database.0).unwrap().bound = BOUND;
    let first = backend(&database).await;
    let began = Instant::now();
    let work = database.write("sleep often", |pool| async move {
        for _ in 0..3 {
            sqlx::query("SELECT pg_sleep(0.5)").execute(&pool).await?;
        }
        let mut tx = pool.begin().await?;
        for _ in 0..5 {
            sqlx::query("SELECT pg_sleep(0.5)").execute(&mut *tx).await?;
        }
        tx.commit().await
    });
    work.await.unwrap();
    assert!(began.elapsed() > BOUND, "it is no test of the bound");
    assert_eq!(backend(&database).await, first, "the connections are given up");
    database.close().await;
}

#[tokio::test]
async fn a_statement_without_an_answer_within_the_bound_is_silent_and_its_connections_are_left() {
    let mut database = Database::new(&settings(), "coupon-core tests").unwrap();
    let first = backend(&database).await;
    Arc::get_mut(&mut database.0).unwrap().bound = Duration::from_millis(500);
    let silent = database.write("sleep long", |pool| async move {
        sqlx::query("SELECT pg_sleep(0.1)").execute(&pool).await?;
        sqlx::query("SELECT pg_sleep(3)").execute(&pool).await
    });
    assert!(matches!(silent.await, Err(RepoError::Silent { .. })));
    assert_ne!(backend(&database).await, first);
    database.close().await;
}

/// Without that, each statement gets the same answer until a probe is asked, and who asks none waits for ever.
#[tokio::test]
async fn an_answer_of_the_wrong_session_has_the_next_statement_begin_a_new_one() {
    let read_only = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY";
    let taken = "PREPARE twice AS SELECT 1; PREPARE twice AS SELECT 1";
    let gone = "EXECUTE nobody_prepared_this";
    for (before, statement, state) in [
        (read_only, "CREATE TABLE never_made ()", "25006"),
        ("SELECT 1", taken, "42P05"),
        ("SELECT 1", gone, "26000"),
        ("SET search_path = nowhere", "CREATE TABLE never_made ()", "3F000"),
    ] {
        let database = Database::new(&settings(), "coupon-core tests").unwrap();
        let first = backend(&database).await;
        database.pool().connections.acquire().await.unwrap().execute(before).await.unwrap();
        assert_eq!(backend(&database).await, first, "{state}: there is one connection");
        // By the way that asks no probe: a probe may renew the connections too.
        let answer = database.at_once("write in a session", move |pool| async move {
            sqlx::raw_sql(statement).execute(&mut *pool.acquire().await?).await
        });
        assert_eq!(answer.await.unwrap_err().code(), state);
        assert_ne!(backend(&database).await, first, "{state}: the session is kept");
        let well = database.at_once("write in a session", |pool| async move {
            sqlx::raw_sql("CREATE TEMP TABLE made ()").execute(&mut *pool.acquire().await?).await
        });
        well.await.unwrap();
        database.close().await;
    }
}

#[tokio::test]
async fn a_refusal_of_a_row_keeps_the_connections() {
    let database = Database::new(&settings(), "coupon-core tests").unwrap();
    let first = backend(&database).await;
    let refused = database.at_once("divide", |pool| async move { sqlx::query("SELECT 1 / 0").execute(&pool).await });
    assert_eq!(refused.await.unwrap_err().code(), "22012");
    assert_eq!(backend(&database).await, first);
    database.close().await;
}

/// Every release asks; an answer that is always no would make a new connection for every statement.
#[tokio::test]
async fn a_connection_inside_a_transaction_is_told_from_one_outside() {
    let mut connection = PgConnection::connect(&url()).await.unwrap();
    sqlx::query("SELECT 1").execute(&mut connection).await.unwrap();
    assert!(is_outside_a_transaction(&mut connection).await.unwrap());
    connection.execute("BEGIN").await.unwrap();
    assert!(!is_outside_a_transaction(&mut connection).await.unwrap());
    assert!(connection.execute("SELECT no_such_column").await.is_err());
    assert!(is_outside_a_transaction(&mut connection).await.is_err(), "an aborted transaction");
    connection.execute("ROLLBACK").await.unwrap();
    assert!(is_outside_a_transaction(&mut connection).await.unwrap());
}
