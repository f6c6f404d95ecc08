//! Files that are replaced as one step: written beside, synced, renamed. Whatever happens, a whole file stands under the name.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Replaces the file at `path` with what `write` writes, readable to this user only. What processes that are gone left half-written
/// beside it is taken away.
pub(crate) fn replace<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().and_then(OsStr::to_str).ok_or(io::ErrorKind::InvalidFilename)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    sweep(dir, name);
    // Gateways that share a directory must not write into one another's half-written file.
    let beside = dir.join(format!(".{name}.{}.{:016x}.tmp", std::process::id(), rand::random::<u64>()));
    let written = write_beside(&beside, write).and_then(|written| fs::rename(&beside, path).map(|()| written));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    let written = written?;
    File::open(dir)?.sync_all()?;
    Ok(written)
}

fn write_beside<T>(beside: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    let written = write(&mut file)?;
    file.sync_all()?;
    Ok(written)
}

/// Only what nobody writes any more; whatever fails is left for the next time.
fn sweep(dir: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let left = entry.file_name();
        let writer = left.to_str().and_then(|left| writer_of(left, name));
        if writer.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The process that wrote this beside `name`.
fn writer_of(left: &str, name: &str) -> Option<u32> {
    let rest = left.strip_prefix('.')?.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp")?;
    rest.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_whole_or_as_it_was_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below/x.json");
        replace(&path, |file| file.write_all(b"one")).unwrap();
        let failed =
            replace(&path, |file| file.write_all(b"half").and(Err::<(), _>(io::ErrorKind::StorageFull.into())));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(path.parent().unwrap()), ["x.json"]);
    }

    #[test]
    fn what_the_dead_left_is_taken_away_and_what_others_write_is_not() {
        let dir = tempfile::tempdir().unwrap();
        // No process has a number beyond the kernel's largest, 2^22.
        let (dead, alive) = (format!(".x.{}.0.tmp", u32::MAX), format!(".x.{}.0.tmp", std::process::id()));
        for name in [&*dead, &*alive, ".y.4294967295.0.tmp", "x.tmp"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        replace(&dir.path().join("x"), |_| Ok(())).unwrap();
        assert_eq!(names(dir.path()), [&*alive, ".y.4294967295.0.tmp", "x", "x.tmp"]);
    }
}
