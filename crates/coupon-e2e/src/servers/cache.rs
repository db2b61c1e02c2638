//! A shared cache in front of `issuer-api`, as shops have one: Debian's nginx.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{process::ports, wait::eventually};

/// Longest time until it answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

/// Where nginx is: beside the servers of Debian, which stand in no `PATH` of a user.
const PATHS: [&str; 2] = ["/usr/sbin/nginx", "/usr/bin/nginx"];

/// An nginx that caches what the origin allows, asks it once for many, and answers with what it has meanwhile. It ends, and
/// its files are deleted, when this value is dropped.
#[derive(Debug)]
pub struct Cache {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Cache {
    /// Starts one in front of an origin, `http://host:port`, and waits until it answers.
    pub async fn before(origin: &str) -> Result<Self> {
        let nginx = PATHS.into_iter().find(|path| fs::exists(path).is_ok_and(|is_there| is_there));
        let nginx = nginx.context("nginx is not there; run scripts/stack install nginx")?;
        let (port, folder) = (ports::free()?, tempfile::tempdir()?);
        let at = folder.path().display();
        let config = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr warn;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n\
               access_log off;\n\
               client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;\n\
               uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
               proxy_cache_path {at}/cache keys_zone=campaigns:1m;\n\
               server {{\n\
                 listen 127.0.0.1:{port};\n\
                 location / {{\n\
                   proxy_pass {origin};\n\
                   proxy_set_header Authorization '';\n\
                   proxy_cache campaigns; proxy_cache_key $uri; proxy_cache_lock on;\n\
                   proxy_cache_use_stale updating; proxy_cache_background_update on;\n\
                 }}\n\
               }}\n\
             }}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config)?;
        let child = Command::new(nginx)
            .arg("-c")
            .arg(&file)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("nginx does not start")?;
        let mut cache = Self { child, url: format!("http://127.0.0.1:{port}"), _folder: folder };
        eventually("nginx answers", ANSWERS_WITHIN, async || -> Result<bool> {
            if let Some(status) = cache.child.try_wait()? {
                bail!("it ended: {status}");
            }
            Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
        })
        .await?;
        Ok(cache)
    }

    /// `http://host:port` of the cache.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
