//! The settings of how API keys are verified.

use clap::Args;
use gateway_config::api_key::Argon2Settings;

/// How keys are verified, and how many of them are remembered.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct KeySettings {
    #[command(flatten)]
    pub(crate) argon2: Argon2Settings,
    /// API keys whose verification is remembered, so that it is not made again; what it keeps on disk is sealed
    #[arg(
        long,
        env = "GATEWAY_REMEMBERED_KEYS",
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    pub(crate) remembered_keys: u32,
    /// API keys that are hashed at the same time; 0: half as many as there are cores
    #[arg(long, env = "GATEWAY_ARGON2_AT_ONCE", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub(crate) argon2_at_once: u16,
    /// API keys that may wait to be hashed; whoever comes when these are waiting is answered 503
    #[arg(
        long,
        env = "GATEWAY_ARGON2_QUEUE",
        default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub(crate) argon2_queue: u32,
    /// Wrong API keys that an address (for IPv6: a /64) may have hashed in a minute; more are refused without a look
    #[arg(
        long,
        env = "GATEWAY_WRONG_KEYS_PER_MINUTE",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub(crate) wrong_keys_per_minute: u32,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            argon2: Argon2Settings::default(),
            remembered_keys: 100_000,
            argon2_at_once: 0,
            argon2_queue: 512,
            wrong_keys_per_minute: 30,
        }
    }
}

impl KeySettings {
    pub(super) fn at_once(&self) -> usize {
        match self.argon2_at_once {
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            given => usize::from(given),
        }
    }
}
