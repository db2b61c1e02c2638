//! The Sentinels: which server is the master now.

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{ConnectionInfo, ErrorKind, RedisConnectionInfo, RedisError, RedisResult};

use super::dial::{Address, Dialer, at, text};

/// The address that most Sentinels name, as soon as no other one can have more: one that was cut off may still name a
/// former master. They are asked over connections like that to Redis (plain or TLS), all at once.
pub(super) async fn master(dialer: &Dialer, redis: &ConnectionInfo) -> RedisResult<Address> {
    let settings = &dialer.settings.sentinel;
    let mut asked: FuturesUnordered<_> =
        settings.addresses.iter().map(async |sentinel| (sentinel, ask(dialer, redis, sentinel).await)).collect();
    let (mut votes, mut failures, mut is_unknown) = (Vec::<(Address, usize)>::new(), Vec::new(), false);
    while let Some((sentinel, answer)) = asked.next().await {
        match answer {
            Ok(Some(address)) => match votes.iter_mut().find(|(named, _)| *named == address) {
                Some((_, count)) => *count += 1,
                None => votes.push((address, 1)),
            },
            Ok(None) => {
                is_unknown = true;
                failures.push(format!("{sentinel} knows no master of that name"));
            }
            Err(error) => failures.push(format!("{sentinel}: {error}")),
        }
        if let Some((address, _)) = votes.iter().find(|(_, count)| *count * 2 > settings.addresses.len()) {
            return Ok(address.clone());
        }
    }
    if let Some((address, _)) = votes.into_iter().max_by_key(|(_, count)| *count) {
        return Ok(address);
    }
    let kind = if is_unknown { ErrorKind::MasterNameNotFoundBySentinel } else { ErrorKind::Io };
    let detail = format!("`{}`: {}", settings.master, failures.join("; "));
    Err(RedisError::from((kind, "no Sentinel names the master of redis.sentinel.master", detail)))
}

/// The address of the master as one Sentinel knows it; `None` when it knows no master of that name.
async fn ask(dialer: &Dialer, redis: &ConnectionInfo, sentinel: &str) -> RedisResult<Option<Address>> {
    let settings = &dialer.settings.sentinel;
    let invalid = || RedisError::from((ErrorKind::InvalidClientConfig, "redis.sentinel.addresses holds no host:port"));
    let address: Address = sentinel.parse().map_err(|()| invalid())?;
    let mut login = RedisConnectionInfo::default();
    if !settings.username.is_empty() {
        login = login.set_username(&settings.username);
    }
    let password = match settings.password_file.as_str() {
        "" => settings.password.expose().to_owned(),
        file => text("redis.sentinel.password_file cannot be read", file)?,
    };
    if !password.is_empty() {
        login = login.set_password(password);
    }
    let mut connection = dialer.connect(at(redis.clone(), &address).set_redis_settings(login)).await?;
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(&settings.master);
    let found: Option<(String, u16)> = command.query_async(&mut connection).await?;
    Ok(found.map(|(host, port)| Address { host, port }))
}
