//! The address from which a request comes, also behind proxies.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The networks of the proxies whose word counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Reads networks such as `10.0.0.0/8`, and single addresses; or returns the first text that is neither.
    pub(crate) fn read(texts: &[String]) -> Result<Self, &str> {
        let network = |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
        texts.iter().map(|text| network(text).ok_or(text.as_str())).collect::<Result<_, _>>().map(Self)
    }

    /// Returns whom the connection of `peer` speaks for: the right-most address of `X-Forwarded-For` that is no trusted proxy.
    /// What stands left of it anybody may have written, and the header of a peer that is no proxy too.
    pub(crate) fn source(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut source = peer.to_canonical();
        let texts: Vec<&str> = headers.get_all("x-forwarded-for").iter().map(|it| it.to_str().unwrap_or("?")).collect();
        for text in texts.iter().rev().flat_map(|text| text.rsplit(',')) {
            if !self.0.iter().any(|network| network.contains(&source)) {
                break;
            }
            // A proxy that writes something else is not followed further.
            let Some(address) = address(text.trim()) else { break };
            source = address;
        }
        source
    }
}

/// An address, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip())).ok()?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The source of a request of `peer` with these headers, behind proxies in 10.0.0.0/8 and at one IPv6 address.
    fn source(peer: &str, headers: &[&str]) -> String {
        let proxies = Proxies::read(&["10.0.0.0/8".to_owned(), "2001:db8::1".to_owned()]).unwrap();
        let mut map = HeaderMap::new();
        for value in headers {
            map.append("x-forwarded-for", value.parse().unwrap());
        }
        proxies.source(peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_what_it_has_seen_itself() {
        for (peer, headers, expected) in [
            ("203.0.113.1", &[][..], "203.0.113.1"),
            ("203.0.113.1", &["198.51.100.7"], "203.0.113.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            // The client wrote the first one itself.
            ("10.0.0.1", &["192.0.2.9, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["192.0.2.9", "198.51.100.7, 10.9.9.9"], "198.51.100.7"),
            ("2001:db8::1", &["[2001:db8::77]:4711"], "2001:db8::77"),
            ("10.0.0.1", &["198.51.100.7:8080"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["  "], "10.0.0.1"),
        ] {
            assert_eq!(source(peer, headers), expected, "{peer} {headers:?}");
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        assert_eq!(Proxies::read(&["10.0.0.1".to_owned(), "10.0.0.0/33".to_owned()]).unwrap_err(), "10.0.0.0/33");
    }
}
