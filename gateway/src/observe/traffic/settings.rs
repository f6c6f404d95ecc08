//! The settings of what is kept of traffic.

use clap::Args;
use gateway_config::snapshot::{Keeping, Names};

/// Samples of recent requests, on which the admin API tries changes.
#[derive(Args, Clone, Debug)]
pub(crate) struct TrafficSettings {
    /// Parts of paths that samples of requests may show, by the names in routes' patterns, separated by commas; *: all
    #[arg(long, env = "GATEWAY_SAMPLE_CAPTURES", value_delimiter = ',', value_name = "NAME")]
    pub(crate) sample_captures: Vec<String>,
    /// Query parameters whose values samples of requests may show, by name, separated by commas; *: all
    #[arg(long, env = "GATEWAY_SAMPLE_QUERY", value_delimiter = ',', value_name = "NAME")]
    pub(crate) sample_query: Vec<String>,
    /// Keep no samples of requests: changes can't be tried on this gateway's traffic
    #[arg(long, env = "GATEWAY_NO_SAMPLING")]
    pub(crate) no_sampling: bool,
}

impl TrafficSettings {
    pub(super) fn keeping(&self) -> Keeping {
        Keeping::new(Names::new(&self.sample_captures), Names::new(&self.sample_query))
    }
}
