//! Which addresses a webhook may lead to. A name is resolved once for each connection, and the address that was checked is the
//! one that is connected to, so that a name which leads elsewhere a moment later leads nowhere.

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
};

use ipnet::IpNet;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use tokio::net::lookup_host;
use url::Host;

/// What is not public (IANA's registries of special-purpose addresses). Of IPv6 only `2000::/3` is given out; the parts of it
/// that lead to other addresses, such as 6to4, are not public either.
const NOT_PUBLIC: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "::/3",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "4000::/2",
    "8000::/1",
];

static NETWORKS: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    NOT_PUBLIC.iter().map(|network| network.parse().expect("each is a network in the form of CIDR")).collect()
});

/// A name that leads to an address which is not public.
#[derive(Debug, thiserror::Error)]
#[error("its name leads to {0}, which is not public; allow_private = true allows it")]
struct NotPublic(IpAddr);

/// Whether an address is one of the public internet. One of IPv4 in the form of IPv6 is judged as what it is.
pub fn is_public(address: IpAddr) -> bool {
    let address = address.to_canonical();
    !NETWORKS.iter().any(|network| network.contains(&address))
}

/// Returns the address that stands in a URL in place of a name, however it is written there: `Url` has read `0x7f.1` and
/// `2130706433` as the address that they are.
pub fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// Resolves names to public addresses only. A name with any other among its addresses is refused.
pub struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(public_addresses(name))
    }
}

async fn public_addresses(name: Name) -> Result<Addrs, Box<dyn Error + Send + Sync>> {
    // The client puts the port of the URL in.
    let addresses: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
    match addresses.iter().map(SocketAddr::ip).find(|address| !is_public(*address)) {
        Some(address) => Err(NotPublic(address).into()),
        None => Ok(Box::new(addresses.into_iter())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_internet_routes_is_public() {
        for public in ["1.1.1.1", "93.184.215.14", "172.32.0.1", "100.63.255.255", "2606:4700::1111", "::ffff:1.1.1.1"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        let others = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.0.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2001::1",
            "2002:7f00:1::",
            "fc00::1",
            "fe80::1",
            "ff02::1",
        ];
        for other in others {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_where_it_is_resolved() {
        let refused = PublicOnly.resolve("localhost".parse().unwrap()).await;
        let error = refused.err().unwrap().to_string();
        assert!(error.contains("which is not public"), "{error}");
    }
}
