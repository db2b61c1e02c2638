//! Where the demo plays: the running stack, and a fresh campaign on it.

use std::{env, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use reqwest::Client;
use sqlx::{PgConnection, PgPool};

use super::Size;
use crate::{
    answers::AnswerLog,
    campaign,
    kafka::Topic,
    member::{self, Member, token::Signer},
    oracle::{Sources, Verdict, verdict},
    process::command::Command,
    servers::{Servers, variable},
    stock::Stock,
    wait::eventually,
};

/// Advisory lock of the one demo that may run on a database.
const DEMO_LOCK: i64 = 0x_6465_6d6f;

/// The running stack and the campaign of this run.
pub(super) struct Stage {
    pub code: String,
    pub size: Size,
    pub db: PgPool,
    pub stock: Stock,
    pub dlq: Topic,
    pub logs: PathBuf,
    pub answers: AnswerLog,
    topic: Topic,
    api_url: String,
    signer: Signer,
    http: Client,
    /// Holds the lock; the campaign's trigger is taken away before it ends.
    _lock: PgConnection,
}

impl Stage {
    /// Finds the stack by the environment, and creates and opens a campaign with the real commands.
    pub async fn set(size: Size) -> Result<Self> {
        let servers = Servers::from_env()?;
        let db = PgPool::connect(&servers.database_url).await.context("PostgreSQL of DATABASE_URL does not answer")?;
        let lock = lock(&db).await?;
        let code = format!("DEMO-{}", Utc::now().format("%m%d-%H%M%S"));
        let total = size.coupons.to_string();
        for arguments in [&campaign::create(&code, &total)[..], &["coupon", "open", &code]] {
            let arguments = [arguments, &["--by", "coupon-demo"]].concat();
            let done = Command::new("issuer-api", &arguments)?.inherit().run().await?;
            done.succeeded().with_context(|| format!("issuer-api {}", arguments.join(" ")))?;
        }
        let named = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
        let topic = named("ISSUER_API__KAFKA__TOPIC", "coupon-issued");
        let dlq = named("DLQ_CONSUMER__KAFKA__DLQ_TOPIC", "coupon-issued.DLQ");
        Ok(Self {
            code,
            size,
            db,
            stock: Stock::connect(&servers.redis_url).await?,
            topic: Topic::new(&servers.kafka_brokers, &topic),
            dlq: Topic::new(&servers.kafka_brokers, &dlq),
            logs: variable("STACK_LOG_DIR")?.into(),
            answers: AnswerLog::default(),
            api_url: variable("ISSUER_API_URL")?,
            signer: signer()?,
            http: member::http_client()?,
            _lock: lock,
        })
    }

    /// Returns a member with a valid token.
    pub fn member(&self, id: &str) -> Result<Member> {
        let token = self.signer.token(id).sign()?;
        Ok(Member::with_client(id, &token, &self.api_url, self.answers.clone(), self.http.clone()))
    }

    /// What the oracle says about this campaign, and no other, as soon as it is quiet.
    pub async fn verdict(&self) -> Result<Verdict> {
        let sources = Sources {
            decisions: None,
            db: self.db.clone(),
            stock: self.stock.clone(),
            topic: self.topic.clone(),
            dlq: self.dlq.clone(),
            groups: None,
            answers: self.answers.read(),
        };
        let judge = async || -> Result<Verdict> { Ok(verdict(&sources.collect(Some(&self.code)).await?)) };
        let quiet = eventually("every promise holds", Duration::from_secs(10), async || -> Result<_> {
            let verdict = judge().await?;
            Ok(verdict.violations.is_empty().then_some(verdict))
        });
        // If it never holds, the verdict says what does not.
        match quiet.await {
            Ok(verdict) => Ok(verdict),
            Err(_) => judge().await,
        }
    }
}

/// Signs with the secret of the stack.
pub(super) fn signer() -> Result<Signer> {
    let file = variable("ISSUER_API__AUTH__HMAC_SECRET_FILE")?;
    let secret = fs::read_to_string(&file).with_context(|| format!("{file} cannot be read"))?;
    let (issuer, audience) = (variable("ISSUER_API__AUTH__ISSUER")?, variable("ISSUER_API__AUTH__AUDIENCE")?);
    Ok(Signer::new(secret.trim_end(), &issuer, &audience))
}

async fn lock(db: &PgPool) -> Result<PgConnection> {
    let mut connection = db.acquire().await?.detach();
    let free: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(DEMO_LOCK).fetch_one(&mut connection).await?;
    ensure!(free, "another demo runs on this database; wait until it has ended");
    Ok(connection)
}
