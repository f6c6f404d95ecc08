//! The file of a backup, and the passphrase: what is read and written beside the database.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Trouble;

const PASSPHRASE_VARIABLE: &str = "BACKUP_PASSPHRASE";
const SHORTEST: usize = 12;

/// From the file, else from the environment; `None` where neither is given.
pub(super) fn passphrase(file: Option<&Path>) -> Result<Option<String>, Trouble> {
    let text = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text =
                text.map_err(|error| Trouble::Settings(format!("could not read {}: {error}", path.display())))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => match std::env::var(PASSPHRASE_VARIABLE) {
            Ok(text) if !text.is_empty() => text,
            Ok(_) | Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Trouble::Settings(format!("{PASSPHRASE_VARIABLE} is not UTF-8")));
            }
        },
    };
    match text.chars().count() {
        short if short < SHORTEST => {
            Err(Trouble::Settings(format!("the passphrase has {short} characters and needs at least {SHORTEST}")))
        }
        _ => Ok(Some(text)),
    }
}

/// The standard output, or a file that is replaced once all of it is there.
#[derive(Debug)]
pub(super) enum Target {
    Standard,
    File { file: BufWriter<File>, beside: PathBuf, path: PathBuf },
}

impl Target {
    pub(super) fn open(path: &Path) -> Result<Self, Trouble> {
        if path.as_os_str() == "-" {
            if io::stdout().is_terminal() {
                return Err(Trouble::Settings("a backup is nothing for a terminal; write it to a file".to_owned()));
            }
            return Ok(Self::Standard);
        }
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(Trouble::Settings(format!("{} names no file", path.display())));
        };
        let beside = path.with_file_name(format!(".{name}.{:016x}", rand::random::<u64>()));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
        let file = made.map_err(|error| could_not_write(path, &error))?;
        Ok(Self::File { file: BufWriter::new(file), beside, path: path.to_owned() })
    }

    pub(super) fn is_standard(&self) -> bool {
        matches!(self, Self::Standard)
    }

    pub(super) fn close(mut self) -> Result<(), Trouble> {
        let Self::File { file, beside, path } = &mut self else { return Ok(()) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let closed = file
            .flush()
            .and_then(|()| file.get_ref().sync_all())
            .and_then(|()| std::fs::rename(&*beside, &*path))
            .and_then(|()| File::open(folder)?.sync_all());
        closed.map_err(|error| could_not_write(path, &error))
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard => io::stdout().lock().write(bytes),
            Self::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard => io::stdout().lock().flush(),
            Self::File { file, .. } => file.flush(),
        }
    }
}

impl Drop for Target {
    /// What was not finished goes; what was is not there any more.
    fn drop(&mut self) {
        if let Self::File { beside, .. } = self {
            let _ = std::fs::remove_file(beside);
        }
    }
}

/// Writes a secret to a file that is not there yet, for its owner only.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<(), Trouble> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = made.and_then(|mut file| writeln!(file, "{text}").and_then(|()| file.sync_all()));
    written.map_err(|error| could_not_write(path, &error))
}

fn could_not_write(path: &Path, error: &io::Error) -> Trouble {
    Trouble::failed(format!("could not write {}: {error}", path.display()))
}
