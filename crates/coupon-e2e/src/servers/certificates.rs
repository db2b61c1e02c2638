//! Certificates that are made for one test, by an authority that nobody else knows.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use tokio::process::Command;

/// An authority, and the folder of what it has signed.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// File of the certificate (PEM).
    pub certificate: PathBuf,
    /// File of its key (PEM), not encrypted.
    pub key: PathBuf,
    /// File with both, as a Java server reads them.
    pub both: PathBuf,
}

impl Authority {
    /// An authority that keeps its files in this folder, and is called after it.
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        params.distinguished_name.push(DnType::CommonName, format!("the authority {name} of a test"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        std::fs::write(folder.join("root.pem"), params.self_signed(&key)?.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), folder: folder.to_owned() })
    }

    /// File of the root certificate.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.pem")
    }

    /// Signs a certificate of this name: of the host, or of the client.
    pub fn sign(&self, file: &str, name: &str, is_expired: bool) -> Result<Certificate> {
        self.sign_for(file, name, name, is_expired)
    }

    /// Signs a certificate of a host, whose subject has a name of its own.
    pub fn sign_for(&self, file: &str, host: &str, subject: &str, is_expired: bool) -> Result<Certificate> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, subject);
        if is_expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let at = |end: &str| self.folder.join(format!("{file}.{end}"));
        let signed = Certificate { certificate: at("crt"), key: at("key"), both: at("pem") };
        std::fs::write(&signed.certificate, &certificate)?;
        std::fs::write(&signed.key, key.serialize_pem())?;
        std::fs::write(&signed.both, format!("{}{certificate}", key.serialize_pem()))?;
        Ok(signed)
    }

    /// The same key, encrypted with this password.
    pub async fn encrypt(&self, certificate: &Certificate, password: &str) -> Result<PathBuf> {
        let to = certificate.key.with_extension("encrypted");
        let mut command = Command::new("openssl");
        command.args(["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", &format!("pass:{password}")]);
        let output = command.arg("-in").arg(&certificate.key).arg("-out").arg(&to).output().await.context("openssl")?;
        ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(to)
    }
}
