//! Servers of one test alone, for faults that would strike the others: started, stopped and killed by the same scripts
//! that start the shared ones.

use std::{
    collections::HashSet,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use super::Servers;
use crate::{process::signal, proxy::Proxy};

/// Ports of one set of servers, see scripts/lib/ports.sh.
const PORTS: u16 = 20;
/// Where those begin that scripts/stack never chooses by itself, and the ephemeral ones.
const RANGE: std::ops::Range<u16> = 29_100..32_600;

static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// One of the three servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// PostgreSQL.
    Postgres,
    /// Redis.
    Redis,
    /// Kafka.
    Kafka,
}

/// Servers of one test. They are stopped and their data is deleted when this is dropped.
#[derive(Debug)]
pub struct PrivateServers {
    folder: PathBuf,
    base: u16,
    which: Vec<Server>,
    way: Proxy,
    servers: Servers,
    /// The password of those who come by the way to Kafka, if Kafka asks them for rights.
    password: Option<&'static str>,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "DATABASE_URL",
            Self::Redis => "REDIS_URL",
            Self::Kafka => "KAFKA_BROKERS",
        }
    }
}

impl PrivateServers {
    /// Starts these; for all others the shared ones serve.
    pub async fn start(which: &[Server]) -> Result<Self> {
        Self::start_with(which, None).await
    }

    /// Starts a Kafka that asks those for their rights who come by [`PrivateServers::way_to_kafka`]; they log in with
    /// [`PrivateServers::kafka_login`].
    pub async fn kafka_with_rights() -> Result<Self> {
        Self::start_with(&[Server::Kafka], Some("of a test")).await
    }

    async fn start_with(which: &[Server], password: Option<&'static str>) -> Result<Self> {
        let base = free_base()?;
        let folder = root().join(".local/private").join(format!("{}-{base}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let way = Proxy::before(&format!("kafka://127.0.0.1:{}", base + 8)).await?;
        let servers = Servers::from_env()?;
        let mut private = Self { folder, base, which: which.to_vec(), way, servers, password };
        let names: Vec<&str> = which.iter().map(|server| server.name()).collect();
        private.stack(&[&["up"], names.as_slice()].concat()).await?;
        let env = private.stack(&["env"]).await?;
        for server in which {
            let url = assignment(&env, server.variable()).context("scripts/stack env names its servers")?;
            match server {
                Server::Postgres => private.servers.database_url = url,
                Server::Redis => private.servers.redis_url = url,
                Server::Kafka => private.servers.kafka_brokers = url,
            }
        }
        Ok(private)
    }

    /// Returns the addresses of the servers.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The way to Kafka that can be cut, stalled and delayed; for those who are started with its address.
    pub fn way_to_kafka(&self) -> &Proxy {
        &self.way
    }

    /// The settings of a service that logs in to Kafka.
    pub fn kafka_login(&self) -> [(&'static str, &'static str); 4] {
        [
            ("kafka.properties.security.protocol", "sasl_plaintext"),
            ("kafka.properties.sasl.mechanism", "PLAIN"),
            ("kafka.properties.sasl.username", "services"),
            ("kafka.properties.sasl.password", self.password.unwrap_or_default()),
        ]
    }

    /// Takes the right to read a topic from those who log in, and leaves them all others; or gives it back.
    pub async fn may_read(&self, topic: &str, may: bool) -> Result<()> {
        let acl = async |words: &[&str]| -> Result<()> {
            let jars = format!("{}/*", root().join(".local/kafka/jars").display());
            let mut command = Command::new("java");
            command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", &jars, "org.apache.kafka.tools.AclCommand"]);
            command.args(["--bootstrap-server", &self.servers.kafka_brokers, "--topic", topic]).args(words);
            read(words, &command.stdin(Stdio::null()).output().await?).map(drop)
        };
        let deny = ["--deny-principal", "User:services", "--operation", "Read"];
        if may {
            return acl(&[&["--remove", "--force"], deny.as_slice()].concat()).await;
        }
        // Where there is any rule about a topic, only what a rule allows is allowed.
        acl(&["--add", "--allow-principal", "User:*", "--operation", "All"]).await?;
        acl(&[&["--add"], deny.as_slice()].concat()).await
    }

    /// Stops a server as an operator would.
    pub async fn stop(&self, server: Server) -> Result<()> {
        self.stack(&["down", server.name()]).await.map(drop)
    }

    /// Starts a server again that was stopped or killed.
    pub async fn start_again(&self, server: Server) -> Result<()> {
        self.stack(&["up", server.name()]).await.map(drop)
    }

    /// Kills a server at once (SIGKILL).
    pub fn kill(&self, server: Server) -> Result<()> {
        self.signal(server, "KILL")
    }

    /// Sends a signal such as `STOP` or `CONT` to the process of a server.
    pub fn signal(&self, server: Server, name: &str) -> Result<()> {
        signal::send(name, pid_in(&self.folder, server.name())?)
    }

    /// The file to which Redis appends what is written: the newest, without what came before its last rewrite.
    pub fn append_only_file(&self) -> Result<PathBuf> {
        let folder = self.folder.join("redis/appendonlydir");
        let files = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
        paths.find(|path| path.to_string_lossy().ends_with(".incr.aof")).context("an append-only file")
    }

    /// Takes the last `batches` from the log of a partition, of a broker that does not run: what a machine loses
    /// that had not written them to its disk.
    pub fn cut_log(&self, topic: &str, partition: i32, batches: usize) -> Result<()> {
        let path = self.folder.join(format!("kafka/data/{topic}-{partition}/00000000000000000000.log"));
        let log = std::fs::read(&path).with_context(|| path.display().to_string())?;
        // Of each batch: the first offset in 8 bytes, how many bytes follow in 4, and those.
        let (mut starts, mut at) = (Vec::new(), 0);
        while let Some(length) = log.get(at + 8..at + 12) {
            let length = u32::from_be_bytes(length.try_into()?) as usize;
            if length == 0 {
                break;
            }
            starts.push(at);
            at += 12 + length;
        }
        ensure!(starts.len() > batches, "{} has only {} batches", path.display(), starts.len());
        let end = starts[starts.len() - batches];
        std::fs::File::options().write(true).open(&path)?.set_len(end as u64)?;
        Ok(())
    }

    async fn stack(&self, words: &[&str]) -> Result<String> {
        let output = Command::from(self.command(words)).output().await?;
        read(words, &output)
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(root().join("scripts/stack"));
        command.args(words).stdin(Stdio::null());
        command.env("STACK_LOCAL", &self.folder).env("STACK_PORT_BASE", self.base.to_string());
        command.env("STACK_KAFKA_WAY", self.way.address().port().to_string());
        // Other tests keep the machine busy.
        command.env("STACK_START_SECONDS", "90");
        if let Some(password) = self.password {
            command.env("STACK_KAFKA_RIGHTS", password);
        }
        // Topics are made by each world.
        command.env("STACK_TOPIC", "").env("STACK_DLQ_TOPIC", "").env("STACK_DECISION_TOPIC", "");
        for server in &self.which {
            command.env_remove(server.variable());
        }
        command
    }
}

impl Drop for PrivateServers {
    fn drop(&mut self) {
        // The data goes with them, so nobody has to wait for a soft end.
        for server in &self.which {
            if *server != Server::Postgres {
                self.kill(*server).ok();
            }
        }
        if let Err(error) =
            self.command(&["down"]).output().map_err(Into::into).and_then(|output| read(&["down"], &output))
        {
            eprintln!("private servers in {} may still run: {error:#}", self.folder.display());
        }
        std::fs::remove_dir_all(&self.folder).ok();
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.base);
    }
}

fn read(words: &[&str], output: &Output) -> Result<String> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "scripts/stack {}: {}\n{out}{err}", words.join(" "), output.status);
    Ok(out.into_owned())
}

/// The process that scripts/stack has started in this folder under this name. Its number may long be another program's,
/// which works elsewhere.
fn pid_in(folder: &Path, name: &str) -> Result<u32> {
    let file = folder.join("run").join(format!("{name}.pid"));
    let text = std::fs::read_to_string(&file).with_context(|| format!("{name} does not run"))?;
    let pid = text.split_whitespace().next().context("a pid")?.parse()?;
    let works_in = std::fs::read_link(format!("/proc/{pid}/cwd")).with_context(|| format!("{name} has ended"))?;
    ensure!(works_in.starts_with(folder.canonicalize()?), "{name} has ended; {pid} is another program's number");
    Ok(pid)
}

/// The value of an assignment `export NAME='value'`.
fn assignment(env: &str, name: &str) -> Option<String> {
    let line = env.lines().find_map(|line| line.strip_prefix(&format!("export {name}='")))?;
    Some(line.strip_suffix('\'')?.to_owned())
}

fn free_base() -> Result<u16> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let first = rand::random_range(0..(RANGE.end - RANGE.start) / PORTS);
    for step in 0..(RANGE.end - RANGE.start) / PORTS {
        let slot = (first + step) % ((RANGE.end - RANGE.start) / PORTS);
        let base = RANGE.start + slot * PORTS;
        let is_free = (base..base + 10).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        if is_free && taken.insert(base) {
            return Ok(base);
        }
    }
    bail!("no ten free ports in a row between {} and {}", RANGE.start, RANGE.end)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_ended_server_that_another_program_has_now_is_not_taken_for_it() -> Result<()> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir_all(folder.path().join("run"))?;
        let mut another = std::process::Command::new("sleep").arg("60").spawn()?;
        std::fs::write(folder.path().join("run/kafka.pid"), format!("{} 1\n", another.id()))?;
        let found = pid_in(folder.path(), "kafka");
        another.kill()?;
        another.wait()?;
        assert!(found.is_err_and(|error| error.to_string().contains("another program's number")));
        Ok(())
    }

    #[test]
    fn a_quoted_assignment_is_read() {
        assert_eq!(assignment("export A='1'\nexport URL='x://y'\n", "URL").as_deref(), Some("x://y"));
        assert_eq!(assignment("export A='1'\n", "URL"), None);
    }
}
