//! The file itself: its folder, its mode, and where it may not lie.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// File systems on which SQLite's locks and its shared memory don't hold between hosts, by the magic numbers of statfs(2).
const NETWORK: [(u32, &str); 9] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFE53_4D42, "SMB2"),
    (0xFF53_4D42, "CIFS"),
    (0x0102_1997, "9P"),
    (0x5346_414F, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00C3_6400, "Ceph"),
    (0x0BD0_0BD0, "Lustre"),
];

/// Makes the folder and the file if they are missing, readable by their owner only: the file holds the hashes of keys.
pub(super) fn prepare(file: &Path) -> Result<(), String> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| format!("could not make the folder {}: {error}", folder.display()))?;
    if let Some(network) = network_file_system(folder) {
        return Err(format!("{} lies on a network file system ({network}), where SQLite loses data", folder.display()));
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(format!("could not make the file: {error}")),
    }
}

/// Locks the file's folder until what is returned is dropped.
pub(super) async fn take_turn(file: &Path) -> std::io::Result<File> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let lock = || {
        let folder = File::open(folder)?;
        folder.lock().map(|()| folder)
    };
    tokio::task::spawn_blocking(lock).await.map_err(std::io::Error::other)?
}

#[cfg(target_os = "linux")]
fn network_file_system(folder: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(folder).ok()?.f_type;
    named(kind)
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_: &Path) -> Option<&'static str> {
    None
}

/// The type of `f_type` differs between platforms; the numbers are 32 bits wide everywhere.
fn named(kind: impl TryInto<i64>) -> Option<&'static str> {
    let kind = kind.try_into().ok()? & 0xFFFF_FFFF;
    NETWORK.iter().find(|(magic, _)| i64::from(*magic) == kind).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!(named(0x6969_i64), Some("NFS"));
        assert_eq!(named(0xFF53_4D42_i64), Some("CIFS"));
        assert_eq!(named(0xEF53_i64), None, "ext4");
    }
}
