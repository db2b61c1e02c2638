//! Why the brokers do not answer this client, in a sentence, and what to do about it.

use rdkafka::{ClientConfig, types::RDKafkaErrorCode as Code};

use super::{PublishError, certificate};

/// Why the brokers do not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// What was seen.
    pub(super) what: String,
    /// What to do about it, with the setting.
    pub(super) fix: String,
    /// Somebody has to put something right; waiting alone does not help.
    pub(super) is_refusal: bool,
}

impl Reason {
    fn refusal(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into(), is_refusal: true }
    }
}

impl From<Reason> for PublishError {
    fn from(reason: Reason) -> Self {
        Self::Refused { what: reason.what, fix: reason.fix }
    }
}

/// A right that is missing.
pub(super) fn of_rights(code: Code) -> Option<Reason> {
    let what = match code {
        Code::TopicAuthorizationFailed => "topic",
        Code::GroupAuthorizationFailed => "consumer group",
        Code::ClusterAuthorizationFailed => "cluster",
        Code::TransactionalIdAuthorizationFailed => "transactional id",
        _ => return None,
    };
    let fix = "give its user the rights that deploy/README.md lists under `Rights in Kafka`";
    Some(Reason::refusal(format!("the brokers refuse this client a right on the {what}"), fix))
}

/// What the client says of its connection to a broker, such as `ssl://host:9093/bootstrap: SSL handshake failed: …`.
pub(super) fn of_connection(code: Code, words: &str, config: &ClientConfig) -> Reason {
    // How long it took is different each time.
    let (words, state) = words.split_once(" (after ").unwrap_or((words, ""));
    let words = words.trim();
    let address = words.split_once("://").map_or(words, |(_, rest)| rest);
    let broker = address.split_once('/').map_or("a broker", |(at, _)| at);
    let protocol = config.get("security.protocol").unwrap_or("plaintext").to_ascii_lowercase();
    let is = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if is(&["certificate verify failed", "certificate could not be verified"]) {
        return certificate::why_refused(broker, config);
    }
    if is(&["SSL handshake failed"]) && is(&["PLAINTEXT", "wrong version number", "packet length too long"]) {
        return Reason::refusal(
            format!("{broker} speaks no TLS at this port"),
            "set kafka.brokers to the port of a TLS listener, or kafka.properties.security.protocol to plaintext or sasl_plaintext",
        );
    }
    if is(&["SSL alert", "unexpected message"]) {
        return Reason::refusal(
            format!(
                "{broker} ends the TLS connection and does not take this client's certificate, or misses one ({})",
                tail(words)
            ),
            "set kafka.properties.ssl.certificate.location and kafka.properties.ssl.key.location to a certificate that the \
             brokers' authority has signed",
        );
    }
    let hangs_up = is(&["Disconnected"]);
    let is_first_question = hangs_up && state.contains("APIVERSION_QUERY") && protocol.ends_with("plaintext");
    if is(&["connecting to a SSL listener"]) || is_first_question {
        return Reason::refusal(
            format!("{broker} does not answer a client without TLS: its port wants TLS"),
            "set kafka.properties.security.protocol to ssl or sasl_ssl, or kafka.brokers to the port of a plain listener",
        );
    }
    if is(&["SASL OAUTHBEARER token"]) {
        let why = words.split_once("token: ").map_or(words, |(_, why)| why);
        return Reason::refusal(
            format!("there is no token to log in to the brokers: {why}"),
            "then it goes on by itself",
        );
    }
    if is(&["mechanism handshake failed", "Unsupported SASL mechanism"]) {
        return Reason::refusal(
            format!("{broker} does not take this way of login ({})", tail(words)),
            "set kafka.properties.sasl.mechanism to one that the listener has; if it wants no login, set \
             kafka.properties.security.protocol to ssl",
        );
    }
    if is(&["SASL"]) || matches!(code, Code::Authentication | Code::SaslAuthenticationFailed) {
        let mechanism = config.get("sasl.mechanism").or_else(|| config.get("sasl.mechanisms")).unwrap_or("GSSAPI");
        let fix = if mechanism == "OAUTHBEARER" {
            "check the issuer, audience and scope that the brokers expect against kafka.oauth.client_id and kafka.oauth.scope"
        } else {
            "check kafka.properties.sasl.username and sasl.password (kafka.property_files.sasl.password), and that the user \
             exists for this mechanism"
        };
        return Reason::refusal(format!("{broker} refuses the login by {mechanism}"), fix);
    }
    if hangs_up && state.contains("in state UP") && !protocol.starts_with("sasl") {
        let what = format!("{broker} hangs up on a client that does not log in");
        let fix = "set kafka.properties.security.protocol to sasl_ssl or sasl_plaintext if its port wants a login, and check \
                   that the brokers run";
        return Reason { what, fix: fix.to_owned(), is_refusal: false };
    }
    let fix = "check kafka.brokers, that the brokers run, and kafka.properties.security.protocol";
    Reason { what: words.to_owned(), fix: fix.to_owned(), is_refusal: false }
}

/// The last part of what the client says.
fn tail(words: &str) -> &str {
    match words.rsplit_once("routines::") {
        Some((_, why)) => why,
        None => words.rsplit(": ").next().unwrap_or(words),
    }
}

/// The coordinator of a group is not told. Whoever has no right on the group is not told that this is why.
pub(super) fn of_group(group: &str) -> Reason {
    Reason {
        what: format!("the brokers do not say how far the group {group} is: this client lacks a right on the consumer group, or the group's coordinator is away"),
        fix: "give its user the rights that deploy/README.md lists under `Rights in Kafka`, and check that the brokers run".to_owned(),
        is_refusal: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_a_connection_names_its_setting_and_no_duration() {
        let at = "sasl_ssl://kafka-1.test:9093/bootstrap: ";
        for (words, named) in [
            (
                "Disconnected: connection closed by peer: receive 0 after POLLIN (after 1ms in state APIVERSION_QUERY)",
                "kafka.properties.security.protocol",
            ),
            (
                "Disconnected: requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?) or broker version is < 0.10",
                "kafka.properties.security.protocol",
            ),
            (
                "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener? (after 2ms in state SSL_HANDSHAKE)",
                "kafka.brokers",
            ),
            ("SSL handshake failed: error:0A00010B:SSL routines::wrong version number", "kafka.brokers"),
            (
                "SSL handshake failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42",
                "kafka.properties.ssl.certificate.location",
            ),
            (
                "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512",
                "kafka.properties.sasl.mechanism",
            ),
            ("SASL authentication error: Authentication failed (after 312ms in state AUTH_REQ)", "sasl.password"),
            (
                "Failed to acquire SASL OAUTHBEARER token: the token server of kafka.oauth.token_url refuses",
                "kafka.oauth.token_url",
            ),
        ] {
            let reason = of_connection(Code::BrokerTransportFailure, &format!("{at}{words}"), &ClientConfig::new());
            let sentence = format!("{}; {}", reason.what, reason.fix);
            assert!(reason.is_refusal && sentence.contains(named) && !sentence.contains("(after"), "{sentence}");
        }
        let away =
            format!("{at}Connect to ipv4#127.0.0.1:9093 failed: Connection refused (after 0ms in state CONNECT)");
        let away = of_connection(Code::BrokerTransportFailure, &away, &ClientConfig::new());
        assert!(!away.is_refusal && away.what.ends_with("Connection refused"), "{away:?}");
    }
}
