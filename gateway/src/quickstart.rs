//! Everything on this machine for a first look.

use crate::settings::QuickstartSettings;

pub(crate) fn run(_settings: &QuickstartSettings) -> anyhow::Result<()> {
    anyhow::bail!("the quickstart is being written")
}
