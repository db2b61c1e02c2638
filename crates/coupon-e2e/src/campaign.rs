//! Campaigns, made by the real operator commands of `issuer-api`.

use anyhow::{Context, Result};

use crate::{process::command::Output, world::World};

impl World {
    /// Creates a campaign and opens it at once.
    pub async fn open_campaign(&self, code: &str, total: u64) -> Result<()> {
        self.create_campaign(code, total, &[]).await?;
        self.coupon(&["open", code]).await?.succeeded().context("coupon open")?;
        Ok(())
    }

    /// Creates a campaign without opening it; further arguments go to `coupon create`.
    pub async fn create_campaign(&self, code: &str, total: u64, further: &[&str]) -> Result<()> {
        let total = total.to_string();
        let arguments = [&create(code, &total)[..], further].concat();
        self.coupon(&arguments[1..]).await?.succeeded().context("coupon create")?;
        Ok(())
    }

    /// Sets the total of a campaign.
    pub async fn set_total(&self, code: &str, total: u64) -> Result<Output> {
        self.coupon(&["set-total", code, &total.to_string()]).await
    }

    /// An `issuer-api coupon …` command.
    pub async fn coupon(&self, arguments: &[&str]) -> Result<Output> {
        self.run("issuer-api", &[&["coupon"], arguments].concat()).await
    }
}

/// The arguments of `issuer-api` that create a campaign.
pub fn create<'a>(code: &'a str, total: &'a str) -> [&'a str; 5] {
    ["coupon", "create", code, "--total", total]
}
