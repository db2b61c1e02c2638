//! The URL of PostgreSQL: one login at one host or several, and how each host is verified.

use std::{env, net::IpAddr, str::FromStr};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The parameters of a URL that are read. Any other one is refused: an ignored `channel_binding` is a promise not kept.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "target_session_attrs",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "statement-cache-capacity",
    "options",
];

/// The form of a URL, as a refusal says it.
const FORM: &str =
    "a URL of the form postgres://user:password@host:port/database; several hosts are written host:port,host:port";

/// Reads a URL into the options of each of its hosts. `is_certified`: a root or client certificate is set beside the URL.
///
/// Without `sslmode`, a host that is no loopback is verified as by `verify-full`. The error completes the sentence
/// "must be …", and holds nothing of the URL but the names of its parameters.
pub(super) fn hosts_of(url: &str, is_certified: bool) -> Result<Vec<PgConnectOptions>, String> {
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme)).ok_or(FORM)?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let (login, hosts) = authority.rsplit_once('@').map_or(("", authority), |(login, hosts)| (login, hosts));
    let at = if authority.contains('@') { "@" } else { "" };

    let mut parameters: Vec<(&str, &str)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !PARAMETERS.contains(&name) && !name.starts_with("options[") && !name.starts_with("options%5B") {
            let known = PARAMETERS.join(", ");
            return Err(format!("a URL without the parameter `{name}`, which is not read; the known ones are {known}"));
        }
        parameters.push((name, value));
    }
    let value_of = |name: &str| parameters.iter().rfind(|(other, _)| *other == name).map(|(_, value)| *value);
    if !matches!(value_of("target_session_attrs"), None | Some("read-write" | "primary")) {
        return Err("a URL with target_session_attrs=read-write, or without it: the pipeline writes".to_owned());
    }
    let is_split = ["host", "hostaddr", "port"].iter().any(|name| value_of(name).is_some());
    if is_split && (hosts.contains(',') || query.contains("%2C") || query.contains("%2c")) {
        return Err("a URL that names its hosts before the database, as host:port,host:port/database".to_owned());
    }
    let asked = value_of("sslmode").map(str::to_owned).or_else(|| env::var("PGSSLMODE").ok());
    let is_rooted = is_certified || value_of("sslrootcert").is_some() || env::var_os("PGSSLROOTCERT").is_some();

    let passed: Vec<String> = parameters
        .iter()
        .filter(|(name, _)| !["target_session_attrs", "sslmode"].contains(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let one = |host: &str| {
        let url = format!("postgres://{login}{at}{host}{path}?{}", passed.join("&"));
        let options = PgConnectOptions::from_str(&url).map_err(|_| FORM.to_owned())?;
        let mode = mode(asked.as_deref(), is_local(&options), is_rooted)?;
        Ok(options.ssl_mode(mode))
    };
    hosts.split(',').map(one).collect()
}

/// `prefer` and `allow` send in the clear without a word when the server, or somebody between, says so; so they are for
/// this machine alone. `require` with a root verifies by it, as in libpq.
fn mode(asked: Option<&str>, is_local: bool, is_rooted: bool) -> Result<PgSslMode, String> {
    Ok(match asked {
        None if is_local && !is_rooted => PgSslMode::Prefer,
        None | Some("verify-full") => PgSslMode::VerifyFull,
        Some("verify-ca") => PgSslMode::VerifyCa,
        Some("require") if is_rooted => PgSslMode::VerifyCa,
        Some("require") => PgSslMode::Require,
        Some("disable") if is_rooted => {
            return Err("a URL without sslmode=disable, as certificates are set and would not be used".to_owned());
        }
        Some("disable") => PgSslMode::Disable,
        Some("prefer" | "allow") if is_local => PgSslMode::Prefer,
        Some(mode @ ("prefer" | "allow")) => {
            return Err(format!(
                "a URL without sslmode={mode}, which may send in the clear: use verify-full, or disable where the way is safe"
            ));
        }
        Some(_) => {
            return Err("a URL whose sslmode is verify-full, verify-ca, require or disable".to_owned());
        }
    })
}

/// Whether the way to the server stays on this machine.
pub(super) fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host().trim_start_matches('[').trim_end_matches(']');
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || IpAddr::from_str(host).is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Vec<(String, u16, String)> {
        let hosts = hosts_of(url, false).unwrap_or_else(|refusal| panic!("{url}: {refusal}"));
        let shown = |host: &PgConnectOptions| {
            (host.get_host().to_owned(), host.get_port(), format!("{:?}", host.get_ssl_mode()))
        };
        hosts.iter().map(shown).collect()
    }

    fn mode_of(url: &str) -> String {
        read(url).remove(0).2
    }

    #[test]
    fn a_host_that_is_no_loopback_is_verified_unless_the_url_says_otherwise() {
        for local in ["localhost", "127.0.0.1", "127.8.0.1:6432", "[::1]"] {
            assert_eq!(mode_of(&format!("postgres://me@{local}/db")), "Prefer", "{local}");
        }
        for far in ["postgres", "10.0.0.1", "localhost.example.org", "db.example.org:6432"] {
            assert_eq!(mode_of(&format!("postgres://me:word@{far}/db")), "VerifyFull", "{far}");
            assert_eq!(mode_of(&format!("postgres://me:word@{far}/db?sslmode=disable")), "Disable", "{far}");
            assert_eq!(mode_of(&format!("postgres://me@{far}/db?sslmode=require")), "Require", "{far}");
            assert_eq!(
                mode_of(&format!("postgres://me@{far}/db?sslmode=require&sslrootcert=/ca")),
                "VerifyCa",
                "{far}"
            );
            for loose in ["prefer", "allow"] {
                let refusal = hosts_of(&format!("postgres://me:word@{far}/db?sslmode={loose}"), false).unwrap_err();
                assert!(refusal.contains("in the clear") && !refusal.contains("word"), "{refusal}");
            }
        }
        assert_eq!(mode_of("postgres://me@%2Frun%2Fpostgresql/db"), "Prefer");
        assert_eq!(mode_of("postgres:///db?host=/run/postgresql"), "Prefer");
        let with_root = hosts_of("postgres://me@127.0.0.1/db", true).unwrap();
        assert!(matches!(with_root[0].get_ssl_mode(), PgSslMode::VerifyFull));
        assert!(hosts_of("postgres://me@127.0.0.1/db?sslmode=disable", true).is_err());
    }

    #[test]
    fn each_of_several_hosts_has_its_port_and_the_same_login() {
        let several = "postgres://me:p%40ss@a:5433,b,127.0.0.1:6432/db?target_session_attrs=read-write&sslmode=disable";
        let disable = || "Disable".to_owned();
        let read = read(several);
        assert_eq!(read[0], ("a".to_owned(), 5433, disable()));
        assert_eq!(read[1], ("b".to_owned(), 5432, disable()));
        assert_eq!(read[2], ("127.0.0.1".to_owned(), 6432, disable()));
        for host in hosts_of(several, false).unwrap() {
            assert_eq!((host.get_username(), host.get_database()), ("me", Some("db")));
        }
    }

    #[test]
    fn what_is_not_read_is_refused_by_name_and_without_its_value() {
        for (url, says) in [
            ("postgres://me@h/db?channel_binding=hunter2", "`channel_binding`"),
            ("postgres://me@h/db?pasword=hunter2", "`pasword`"),
            ("postgres://me@h/db?target_session_attrs=any", "target_session_attrs=read-write"),
            ("postgres://me@h/db?sslmode=hunter2", "whose sslmode is"),
            ("postgres://me@/db?host=a,b%2Cc", "before the database"),
            ("postgres://me:hunter2@h:port/db", "of the form"),
            ("redis://me:hunter2@h/db", "of the form"),
            ("hunter2", "of the form"),
        ] {
            let refusal = hosts_of(url, false).unwrap_err();
            assert!(refusal.contains(says) && !refusal.contains("hunter2"), "{url}: {refusal}");
        }
    }
}
