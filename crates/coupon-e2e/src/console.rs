//! The operators' console of a dlq-consumer, as programs and browsers ask it.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use reqwest::{Client, Method, RequestBuilder, Response, header, redirect::Policy};
use serde_json::Value;

use crate::{
    process::{Process, ports},
    wait::eventually,
    world::World,
};

/// Longest time that an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// The roles, the one that may least first.
pub const ROLES: [&str; 4] = ["viewer", "support", "operator", "admin"];

/// Name of the cookie of a session.
const COOKIE: &str = "__Host-coupon-session";

/// Where a console is.
#[derive(Clone, Debug)]
pub struct Console {
    address: SocketAddr,
    client: Client,
}

/// What the console can do, as `dlq-consumer console roles` prints it.
#[derive(Clone, Debug)]
pub struct Verb {
    /// Name.
    pub name: String,
    /// `GET` or `POST`.
    pub method: Method,
    /// Path, each parameter filled with the number 1.
    pub path: String,
    /// Least role that may, as its place in [`ROLES`].
    pub role: usize,
}

impl Console {
    /// A place for a console, on a free port. A launch serves it with `.set("console.listen", console.address())`.
    pub fn new() -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder().no_proxy().tls_certs_only([]).redirect(Policy::none()).timeout(ANSWER_WITHIN);
        Ok(Self { address, client: client.build()? })
    }

    /// Address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts a dlq-consumer that serves this console.
    pub async fn start(&self, world: &World) -> Result<Process> {
        world.start_dlq_consumer().set("console.listen", self.address).await
    }

    /// Waits until the console answers.
    pub async fn answers(&self) -> Result<()> {
        let asked = async || self.get("/login").send().await.is_ok();
        eventually("the console answers", ANSWER_WITHIN, asked).await
    }

    /// A request for a path.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.ask(Method::GET, path)
    }

    /// A change, as a page of the console itself sends it.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.ask(Method::POST, path).header("sec-fetch-site", "same-origin")
    }

    /// A request without any header of its own.
    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// Logs in as a browser does, with a field of the form: `token` or `code`. Returns the answer.
    pub async fn log_in(&self, field: &str, secret: &str) -> Result<Response> {
        Ok(form(self.post("/login"), &[(field, secret)]).send().await?)
    }

    /// Logs in with a token and returns the header `Cookie` of the session.
    pub async fn session(&self, token: &str) -> Result<String> {
        let answer = self.log_in("token", token).await?;
        cookie(&answer).with_context(|| format!("{} without a session", answer.status()))
    }
}

/// Puts a form into a request. Names and values need no encoding.
pub fn form(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(pairs.join("&"))
}

/// Returns the header `Cookie` of the session that an answer begins.
pub fn cookie(answer: &Response) -> Option<String> {
    let set = answer.headers().get(header::SET_COOKIE)?.to_str().ok()?;
    let pair = set.split(';').next()?;
    pair.starts_with(COOKIE).then(|| pair.to_owned())
}

/// Adds an operator by command line for an hour and returns the token.
pub async fn operator(world: &World, name: &str, role: &str) -> Result<String> {
    let add = ["operator", "add", name, "--role", role, "--expires", "1h", "--by", "e2e"];
    Ok(world.run("dlq-consumer", &add).await?.succeeded()?.trim().to_owned())
}

/// Returns the table of verbs, as the binary prints it.
pub async fn verbs(world: &World) -> Result<Vec<Verb>> {
    let printed = world.run("dlq-consumer", &["console", "roles", "--output", "json"]).await?.succeeded()?;
    let rows: Vec<Value> = serde_json::from_str(&printed)?;
    rows.iter().map(|row| verb(row).with_context(|| format!("{row} is no verb"))).collect()
}

fn verb(row: &Value) -> Option<Verb> {
    let path = row["path"].as_str()?.split('/');
    let path: Vec<&str> = path.map(|part| if part.starts_with('{') { "1" } else { part }).collect();
    Some(Verb {
        name: row["name"].as_str()?.to_owned(),
        method: row["method"].as_str()?.parse().ok()?,
        path: path.join("/"),
        role: ROLES.iter().position(|role| row["role"].as_str() == Some(role))?,
    })
}
