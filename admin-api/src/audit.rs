//! `admin-api audit verify`: whether the audit is whole, asked of the database itself.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use gateway_config::master_key::MasterKey;
use gateway_config::model::ChainKey;
use gateway_config::settings::CommonSettings;
use gateway_config::store::{self, AuditHead, Audited, Options, verify_audit};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Walk the whole audit and name the first entry that was altered or is missing
    Verify(VerifySettings),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct VerifySettings {
    /// An entry that must be there, as an earlier run printed it: without it nobody can tell when the newest entries were deleted
    #[arg(long, value_name = "NUMBER:HASH")]
    expect: Option<Noted>,
    #[command(flatten)]
    pub(crate) common: CommonSettings,
}

/// `1234:HASH`
#[derive(Clone, Debug, PartialEq, Eq)]
struct Noted(AuditHead);

impl FromStr for Noted {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let (number, hash) = text.split_once(':').ok_or("must be NUMBER:HASH")?;
        let number = number.parse().map_err(|_| "must begin with the entry's number")?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_hash {
            return Err("must end with the entry's hash, 64 hexadecimal digits");
        }
        Ok(Self(AuditHead { number, hash: hash.to_ascii_lowercase() }))
    }
}

pub(crate) async fn verify(settings: &VerifySettings) -> Result<()> {
    let url = &settings.common.database_url;
    // Never a new one: the entries were not made with it.
    let master = MasterKey::find(url)?.context("there is no master key: it stands beside the database")?;
    let store = store::open_with(url, Options { may_create: false, ..Options::default() }).await?;
    let expected = settings.expect.as_ref().map(|Noted(head)| head);
    match verify_audit(&*store, &ChainKey::of(&master), expected).await? {
        Audited::Broken(why) => bail!("the audit is broken: {why}"),
        Audited::Unbroken(AuditHead { number: 0, .. }) => println!("audit: 0 entries, unbroken"),
        Audited::Unbroken(AuditHead { number, hash }) => {
            println!("audit: {number} entries, unbroken; newest {number}:{hash}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_and_nothing_else_is() {
        let hash = "0123456789abcdef".repeat(4);
        let read = format!("7:{}", hash.to_uppercase()).parse::<Noted>().unwrap();
        assert_eq!(read, Noted(AuditHead { number: 7, hash: hash.clone() }));
        for bad in ["", "7", ":", "7:", "x:{hash}", &format!("-1:{hash}"), &format!("7:{hash}0"), &format!("7:x{hash}")]
        {
            assert!(bad.parse::<Noted>().is_err(), "{bad}");
        }
    }
}
