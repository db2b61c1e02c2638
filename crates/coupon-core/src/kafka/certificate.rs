//! What is wrong with the certificate of a broker. librdkafka says only that it could not be verified, so the broker is asked
//! for it once more, by a library that says why.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use rdkafka::ClientConfig;
use rustls::{
    CertificateError, ClientConnection, Error, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::reason::Reason;

/// How long the broker may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Where images and most systems keep root certificates.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The setting of the root certificates.
const ROOTS: &str = "kafka.properties.ssl.ca.location";

/// Says why the certificate of `broker` (`host:port`) was refused.
pub(super) fn why_refused(broker: &str, config: &ClientConfig) -> Reason {
    let location = config.get("ssl.ca.location").filter(|path| *path != "probe");
    let roots = location.map_or("the root certificates of the system".to_owned(), |path| format!("those in {path}"));
    let (what, fix) = match verify(broker, config) {
        Some(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            ("has expired".to_owned(), "renew it at the broker; until then nothing is sent".to_owned())
        }
        Some(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            ("is not valid yet".to_owned(), "check the clocks of the broker and of this machine".to_owned())
        }
        Some(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => (
            "is for another host name".to_owned(),
            "name the broker in kafka.brokers, and in its advertised.listeners, as its certificate does (no IP address)".to_owned(),
        ),
        Some(CertificateError::UnknownIssuer) => {
            (format!("is signed by an authority that is not among {roots}"), format!("set {ROOTS} to the file of its root certificate"))
        }
        _ => ("could not be verified".to_owned(), format!("check {ROOTS} and the certificate of the broker")),
    };
    Reason { what: format!("the certificate of {broker} {what}"), fix, is_refusal: true }
}

/// Why a handshake with this broker fails; `None` if it does not, or for a reason that is not the certificate.
fn verify(broker: &str, config: &ClientConfig) -> Option<CertificateError> {
    let (host, _) = broker.rsplit_once(':')?;
    let mut roots = RootCertStore::empty();
    let path = config.get("ssl.ca.location").filter(|path| *path != "probe").unwrap_or(SYSTEM_ROOTS);
    match config.get("ssl.ca.pem") {
        Some(pem) => roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem.as_bytes()).flatten()),
        None => roots.add_parsable_certificates(CertificateDer::pem_file_iter(path).ok()?.flatten()),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
    let connection = ClientConnection::new(client, ServerName::try_from(host.to_owned()).ok()?).ok()?;
    let stream =
        broker.to_socket_addrs().ok()?.find_map(|address| TcpStream::connect_timeout(&address, TIMEOUT).ok())?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(TIMEOUT)).ok()?;
    let mut stream = StreamOwned::new(connection, stream);
    // A handshake is made by the first that is written; the broker waits for more, or hangs up.
    let failed = stream.write_all(&[0]).and_then(|()| stream.read(&mut [0]).map(drop)).err()?;
    match failed.into_inner()?.downcast::<Error>().ok().map(|error| *error)? {
        Error::InvalidCertificate(error) => Some(error),
        _ => None,
    }
}
