//! Which node this is. A restarted gateway is the same node, or the fleet would wait for the one that is gone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use gateway_config::clock::new_id;
use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

/// A node's id, held as long as this is: gateways that share a directory have one each.
#[derive(Debug)]
pub(crate) struct NodeIdentity {
    pub(crate) id: Uuid,
    _lock: File,
}

impl NodeIdentity {
    /// An id of this directory that no running gateway holds; a new one if there is none.
    pub(crate) fn take(data_dir: &Path) -> io::Result<Self> {
        let dir = data_dir.join("nodes");
        fs::create_dir_all(&dir)?;
        let mut known: Vec<Uuid> = fs::read_dir(&dir)?
            .filter_map(|entry| entry.ok()?.file_name().to_str().and_then(|name| name.parse().ok()))
            .collect();
        known.sort_unstable();
        for id in known.into_iter().chain([new_id()]) {
            let path = dir.join(id.to_string());
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(Self { id, _lock: file });
            }
        }
        Err(io::Error::other("could not lock a node id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_id_and_two_at_once_differ() {
        let dir = tempfile::tempdir().unwrap();
        let first = NodeIdentity::take(dir.path()).unwrap();
        let second = NodeIdentity::take(dir.path()).unwrap();
        assert_ne!(first.id, second.id);
        let id = first.id;
        drop(first);
        assert_eq!(NodeIdentity::take(dir.path()).unwrap().id, id);
    }
}
