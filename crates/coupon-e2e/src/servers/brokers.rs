//! A Kafka of one test with certificates, logins and rights: one broker or several, each with a listener for every way in.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command as Spawn, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use tempfile::TempDir;
use tokio::process::Command;

use super::certificates::{Authority, Certificate};
use crate::{process::ports, process::signal, wait::eventually};

/// A JVM starts slowly on a busy machine.
const STARTED_WITHIN: Duration = Duration::from_secs(90);

/// Password of each user who logs in with one.
pub const PASSWORD: &str = "hunter2 of-a-test";
/// The user who may do everything.
pub const ADMIN: &str = "services";
/// Those who may do what they are given, see [`Brokers::grant`].
const USERS: [&str; 4] = [ADMIN, "issuer-api", "issue-consumer", "dlq-consumer"];
/// The issuer of tokens that the brokers believe, and the audience they expect.
pub const ISSUER: &str = "https://identity.test";
/// The audience that the brokers expect in tokens.
pub const AUDIENCE: &str = "kafka";

/// A way in: a listener of each broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Way {
    /// Without TLS, as somebody who may do everything.
    Plain,
    /// For the controllers.
    Controller,
    /// TLS.
    Tls,
    /// TLS, with a certificate of the client.
    Mutual,
    /// TLS and a login: PLAIN, SCRAM or a token.
    Login,
    /// TLS with a certificate that has expired.
    Expired,
    /// TLS with a certificate of another host.
    Elsewhere,
}

const WAYS: [(Way, &str, &str); 7] = [
    (Way::Plain, "PLAIN", "PLAINTEXT"),
    (Way::Controller, "CONTROLLER", "PLAINTEXT"),
    (Way::Tls, "TLS", "SSL"),
    (Way::Mutual, "MUTUAL", "SSL"),
    (Way::Login, "LOGIN", "SASL_SSL"),
    (Way::Expired, "EXPIRED", "SSL"),
    (Way::Elsewhere, "ELSEWHERE", "SSL"),
];

/// The brokers. They end, and their data is deleted, when this value is dropped.
#[derive(Debug)]
pub struct Brokers {
    nodes: Vec<Node>,
    /// Who has signed their certificates.
    pub authority: Authority,
    folder: TempDir,
}

#[derive(Debug)]
struct Node {
    ports: Vec<u16>,
    config: PathBuf,
    child: Option<Child>,
}

impl Brokers {
    /// Starts so many, with topics of as many replicas (three at most). They believe the tokens signed by a key of this set.
    pub async fn start(count: usize, jwks: Option<&str>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new(&folder.path().join("tls"))?;
        std::fs::write(folder.path().join("jwks.json"), jwks.unwrap_or(r#"{"keys":[]}"#))?;
        let mut nodes = Vec::new();
        for number in 1..=count {
            let ports: Vec<u16> = WAYS.iter().map(|_| ports::free()).collect::<Result<_>>()?;
            let config = folder.path().join(format!("{number}.properties"));
            nodes.push(Node { ports, config, child: None });
        }
        let mut brokers = Self { nodes, authority, folder };
        brokers.write_configs()?;
        // 16 bytes in base64url.
        let id = "AAAAAAAAAAAAAAAAAAAAAA";
        for node in &brokers.nodes {
            let mut format = java(256);
            format.args(["kafka.tools.StorageTool", "format", "-t", id, "-c"]).arg(&node.config);
            for user in USERS {
                for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                    format.arg("--add-scram").arg(format!("{mechanism}=[name={user},password={PASSWORD}]"));
                }
            }
            run(Command::from(format)).await?;
        }
        for number in 0..count {
            brokers.launch(number)?;
        }
        brokers.answer().await?;
        Ok(brokers)
    }

    /// Addresses of all brokers by this way.
    pub fn addresses(&self, way: Way) -> String {
        let addresses = self.nodes.iter().map(|node| format!("localhost:{}", node.ports[way as usize]));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Kills a broker at once (SIGKILL).
    pub fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.nodes[number].child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Stops a broker as an operator would, and waits for its end.
    pub async fn stop(&mut self, number: usize) -> Result<()> {
        let Some(mut child) = self.nodes[number].child.take() else { return Ok(()) };
        signal::send("TERM", child.id())?;
        let ended =
            eventually("a broker ends", STARTED_WITHIN, async || child.try_wait().ok().flatten().is_some()).await;
        child.kill().ok();
        ended
    }

    /// Starts a broker that was killed or stopped, and does not wait for it.
    pub fn launch(&mut self, number: usize) -> Result<()> {
        let node = &mut self.nodes[number];
        let log = std::fs::File::create(node.config.with_extension("log"))?;
        let jwks = self.folder.path().join("jwks.json");
        let mut command = java(384);
        command.args(["kafka.Kafka"]).arg(&node.config).env("JAVA_TOOL_OPTIONS", allow(&jwks));
        let child = command.stdout(log.try_clone()?).stderr(log).spawn().context("java does not start")?;
        node.child = Some(child);
        Ok(())
    }

    /// Waits until all brokers answer and know of each other.
    pub async fn answer(&self) -> Result<()> {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", self.addresses(Way::Plain)).create()?;
        let answered = eventually("the brokers answer", STARTED_WITHIN, async || -> Result<bool> {
            Ok(client.fetch_metadata(None, Duration::from_secs(2))?.brokers().len() == self.nodes.len())
        });
        answered.await.with_context(|| {
            let log = std::fs::read_to_string(self.nodes[0].config.with_extension("log")).unwrap_or_default();
            log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
        })
    }

    /// Runs `kafka-acls.sh` with these words.
    pub async fn grant(&self, words: &[&str]) -> Result<()> {
        let mut command = java(256);
        command
            .args(["org.apache.kafka.tools.AclCommand", "--bootstrap-server", &self.addresses(Way::Plain)])
            .args(words);
        run(Command::from(command)).await
    }

    fn write_configs(&self) -> Result<()> {
        let certificates = [
            ("TLS", self.authority.sign("broker", "localhost", false)?),
            ("MUTUAL", self.authority.sign("mutual", "localhost", false)?),
            ("LOGIN", self.authority.sign("login", "localhost", false)?),
            ("EXPIRED", self.authority.sign("expired", "localhost", true)?),
            ("ELSEWHERE", self.authority.sign("elsewhere", "elsewhere.test", false)?),
        ];
        for (index, node) in self.nodes.iter().enumerate() {
            std::fs::write(&node.config, self.config(index, node, &certificates))?;
        }
        Ok(())
    }

    fn config(&self, index: usize, node: &Node, certificates: &[(&str, Certificate)]) -> String {
        let folder = self.folder.path().display();
        let list = |host: &str, skip: Option<Way>| {
            let ways = WAYS.iter().filter(|(way, ..)| Some(*way) != skip);
            let ways = ways.map(|(way, name, _)| format!("{name}://{host}:{}", node.ports[*way as usize]));
            ways.collect::<Vec<_>>().join(",")
        };
        let map = WAYS.iter().map(|(_, name, protocol)| format!("{name}:{protocol}")).collect::<Vec<_>>().join(",");
        let voters = self.nodes.iter().enumerate();
        let voters =
            voters.map(|(index, node)| format!("{}@localhost:{}", index + 1, node.ports[Way::Controller as usize]));
        let voters = voters.collect::<Vec<_>>().join(",");
        let keystores = certificates.iter().map(|(name, certificate)| {
            let name = name.to_lowercase();
            let path = certificate.both.display();
            format!("listener.name.{name}.ssl.keystore.type=PEM\nlistener.name.{name}.ssl.keystore.location={path}\n")
        });
        let keystores = keystores.collect::<Vec<_>>().concat();
        let users = USERS.iter().map(|user| format!(" user_{user}=\"{PASSWORD}\"")).collect::<Vec<_>>().concat();
        let modules = "org.apache.kafka.common.security";
        let (replicas, insync) = (self.nodes.len().min(3), if self.nodes.len() >= 3 { 2 } else { 1 });
        format!(
            "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners={listeners}
advertised.listeners={advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map={map}
inter.broker.listener.name=PLAIN
log.dirs={folder}/data-{id}
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={insync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={insync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={insync}
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=1000
group.initial.rebalance.delay.ms=0
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{ADMIN};User:CN={ADMIN}
ssl.truststore.type=PEM
ssl.truststore.location={root}
{keystores}listener.name.mutual.ssl.client.auth=required
listener.name.login.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.login.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required{users};
listener.name.login.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.login.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.login.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required;
listener.name.login.oauthbearer.sasl.server.callback.handler.class={modules}.oauthbearer.OAuthBearerValidatorCallbackHandler
sasl.oauthbearer.jwks.endpoint.url=file://{folder}/jwks.json
sasl.oauthbearer.expected.issuer={ISSUER}
sasl.oauthbearer.expected.audience={AUDIENCE}
",
            id = index + 1,
            listeners = list("127.0.0.1", None),
            advertised = list("localhost", Some(Way::Controller)),
            root = self.authority.root().display(),
        )
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        for number in 0..self.nodes.len() {
            self.kill(number);
        }
    }
}

/// The system properties without which a broker reads no keys of tokens.
fn allow(jwks: &Path) -> String {
    let jwks = jwks.display();
    format!(
        "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{jwks} -Dorg.apache.kafka.sasl.oauthbearer.allowed.files={jwks}"
    )
}

/// Starts a Java source file with Kafka's client at hand; it ends when what is returned is dropped.
pub fn start_java(source: &Path, words: &[&str]) -> Result<tokio::process::Child> {
    let mut command = java(256);
    command.arg(source).args(words);
    Command::from(command).kill_on_drop(true).spawn().with_context(|| format!("{} does not start", source.display()))
}

fn java(megabytes: u32) -> Spawn {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Spawn::new("java");
    command.arg(format!("-Xmx{megabytes}m")).args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    command.arg(format!("-Dlog4j2.configurationFile={}", root.join("scripts/kafka/log4j2.properties").display()));
    command.arg("-cp").arg(format!("{}/*", root.join(".local/kafka/jars").display())).stdin(Stdio::null());
    command
}

async fn run(mut command: Command) -> Result<()> {
    let output = command.output().await?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
    Ok(())
}
