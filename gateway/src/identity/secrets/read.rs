//! Reads one secret: a named environment variable, or a plain file in the secrets directory and nowhere else.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

use gateway_config::model::{SECRET_ENV_PREFIX, SecretRef};
use rustix::fs::OFlags;

const MAX_BYTES: u64 = 64 * 1024;

pub(super) fn read(reference: &SecretRef, directory: Option<&Path>) -> Result<Vec<u8>, &'static str> {
    let mut bytes = match reference {
        SecretRef::Env(name) => read_variable(name)?,
        SecretRef::File(name) => read_file(name, directory.ok_or("no secrets directory is set (--secrets-dir)")?)?,
    };
    // Editors and `echo` end a file with a newline that nobody means.
    if bytes.pop_if(|last| *last == b'\n').is_some() {
        bytes.pop_if(|last| *last == b'\r');
    }
    if bytes.is_empty() { Err("it is empty") } else { Ok(bytes) }
}

fn read_variable(name: &str) -> Result<Vec<u8>, &'static str> {
    if !name.starts_with(SECRET_ENV_PREFIX) {
        return Err("only variables that begin with GATEWAY_SECRET_ may be named");
    }
    std::env::var_os(name).map(OsStringExt::into_vec).ok_or("the variable is not set")
}

fn read_file(name: &str, directory: &Path) -> Result<Vec<u8>, &'static str> {
    let mut components = Path::new(name).components();
    if !matches!((components.next(), components.next()), (Some(Component::Normal(_)), None)) {
        return Err("it is not the name of a file");
    }
    let directory = directory.canonicalize().map_err(|_| "the secrets directory can't be read")?;
    // Links are followed, because mounted secrets are links beside each other, but only to what lies inside.
    let path = directory.join(name).canonicalize().map_err(|error| match error.kind() {
        ErrorKind::NotFound => "there is no such file in the secrets directory",
        ErrorKind::PermissionDenied => "the file can't be read: permission denied",
        _ => "the file can't be read",
    })?;
    if !path.starts_with(&directory) {
        return Err("it is a link out of the secrets directory");
    }
    let file = open(&path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => "the file can't be read: permission denied",
        _ => "the file can't be read",
    })?;
    let metadata = file.metadata().map_err(|_| "the file can't be read")?;
    if !metadata.is_file() {
        return Err("it is not a plain file");
    }
    let mut bytes = Vec::new();
    // One byte more than allowed, because a file may grow between a look at its length and the reading.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|_| "the file can't be read")?;
    if bytes.len() as u64 > MAX_BYTES { Err("it is larger than 64 KiB") } else { Ok(bytes) }
}

/// Follows no link, should one have been put in place of the file meanwhile, and does not wait for the other end of a pipe.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn read_in(directory: &Path, name: &str) -> Result<Vec<u8>, &'static str> {
        read(&SecretRef::File(name.to_owned()), Some(directory))
    }

    #[test]
    fn one_newline_at_the_end_is_not_part_of_a_secret() {
        let directory = tempfile::tempdir().unwrap();
        for (content, secret) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("a\r", "a\r")] {
            fs::write(directory.path().join("s"), content).unwrap();
            assert_eq!(read_in(directory.path(), "s").unwrap(), secret.as_bytes(), "{content:?}");
        }
        for content in ["", "\n"] {
            fs::write(directory.path().join("s"), content).unwrap();
            assert_eq!(read_in(directory.path(), "s"), Err("it is empty"));
        }
    }

    #[test]
    fn links_lead_only_to_what_lies_inside() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("database"), "theirs").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path();
        symlink(outside.path().join("database"), inside.join("out")).unwrap();
        symlink(outside.path(), inside.join("folder")).unwrap();
        symlink("out", inside.join("twice")).unwrap();
        for name in ["out", "twice"] {
            assert_eq!(read_in(inside, name), Err("it is a link out of the secrets directory"), "{name}");
        }
        for name in ["folder/database", "../database", "..", ".", "/etc/passwd", ""] {
            assert_eq!(read_in(inside, name), Err("it is not the name of a file"), "{name}");
        }
        // The way in which clusters mount secrets: NAME → ..data/NAME, ..data → a folder of today.
        fs::create_dir(inside.join("..today")).unwrap();
        fs::write(inside.join("..today/mounted"), "ours").unwrap();
        symlink("..today", inside.join("..data")).unwrap();
        symlink("..data/mounted", inside.join("mounted")).unwrap();
        assert_eq!(read_in(inside, "mounted").unwrap(), b"ours");
    }

    #[test]
    fn only_plain_files_of_a_sane_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path();
        fs::write(inside.join("largest"), vec![b'x'; 64 * 1024]).unwrap();
        assert_eq!(read_in(inside, "largest").unwrap().len(), 64 * 1024);
        fs::write(inside.join("larger"), vec![b'x'; 64 * 1024 + 1]).unwrap();
        assert_eq!(read_in(inside, "larger"), Err("it is larger than 64 KiB"));
        fs::create_dir(inside.join("folder")).unwrap();
        assert!(read_in(inside, "folder").is_err());
        let made = rustix::fs::mknodat(
            rustix::fs::CWD,
            inside.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        );
        made.unwrap();
        assert_eq!(read_in(inside, "pipe"), Err("it is not a plain file"));
        assert!(read_in(inside, "absent").is_err());
        let reference = SecretRef::File("any".to_owned());
        assert_eq!(read(&reference, None), Err("no secrets directory is set (--secrets-dir)"));
    }
}
