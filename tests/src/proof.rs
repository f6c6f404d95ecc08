//! The two sizes of proof: `make test` runs every promise with reduced counts in minutes, `make prove` with the full ones.

use std::time::Duration;

/// For what takes as long as a proof is large.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// How many: `reduced`, unless the environment asks for the whole proof with `GATEHOUSE_PROVE=1`.
pub fn count(reduced: usize, full: usize) -> usize {
    if std::env::var_os("GATEHOUSE_PROVE").is_some_and(|value| value == "1") { full } else { reduced }
}
