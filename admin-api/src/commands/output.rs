//! Where a document goes: the standard output, or a file that is replaced once all of it is there.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::Trouble;

#[derive(Debug)]
pub(super) enum Output {
    Standard,
    File { file: BufWriter<File>, beside: PathBuf, path: PathBuf },
}

impl Output {
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Trouble> {
        let Some(path) = path else { return Ok(Self::Standard) };
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(Trouble::Settings(format!("{} names no file", path.display())));
        };
        let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let file = File::create(&beside).map_err(|error| could_not_write(path, &error))?;
        Ok(Self::File { file: BufWriter::new(file), beside, path: path.to_owned() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        match self {
            Self::Standard => print_bytes(bytes),
            Self::File { file, path, .. } => file.write_all(bytes).map_err(|error| could_not_write(path, &error)),
        }
    }

    pub(super) fn close(mut self) -> Result<(), Trouble> {
        let Self::File { file, beside, path } = &mut self else { return Ok(()) };
        let closed =
            file.flush().and_then(|()| file.get_ref().sync_all()).and_then(|()| std::fs::rename(beside, &*path));
        closed.map_err(|error| could_not_write(path, &error))
    }
}

impl Drop for Output {
    /// What was not finished goes; what was is not there any more.
    fn drop(&mut self) {
        if let Self::File { beside, .. } = self {
            let _ = std::fs::remove_file(beside);
        }
    }
}

/// To the standard output.
pub(super) fn print(text: &str) -> Result<(), Trouble> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<(), Trouble> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        // Whoever reads has enough, as `head` has.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Trouble::Failed(format!("could not write the standard output: {error}"))),
    }
}

fn could_not_write(path: &Path, error: &std::io::Error) -> Trouble {
    Trouble::Failed(format!("could not write {}: {error}", path.display()))
}
