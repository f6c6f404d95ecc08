//! The messages of one queue on disk: segments that are only ever appended to, and a cursor before which everything was published.
//!
//! What was appended counts once it was synced. A torn end is what a crash leaves of a message that nobody was told was taken: it is
//! cut off. After a failed write or sync the segment is cut back and left alone, for nobody knows what the disk has of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Record;
use super::frame::{Found, decode};
use crate::replace::replace;

const CURSOR: &str = "cursor";
/// Events that no broker takes, one behind the other.
const REFUSED: &str = "refused.json";
/// A segment that has grown beyond this is followed by the next.
const SEGMENT_BYTES: u64 = 16 << 20;

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    segment: u64,
    offset: u64,
}

#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    /// Open for appending, once something was appended.
    writing: Option<File>,
    /// Everything before it is published.
    start: Position,
    /// Everything before it is synced.
    end: Position,
    waiting: u64,
    bytes: u64,
}

impl Log {
    /// Opens or makes it, and mends what a crash has left. The second answer says what could not be read.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Vec<String>)> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // The name of the folder must be as durable as what stands in it.
        if let Some(above) = dir.parent() {
            File::open(above)?.sync_all()?;
        }
        let mut log = Self {
            dir: dir.to_owned(),
            writing: None,
            start: read_cursor(&dir.join(CURSOR)),
            end: Position::default(),
            waiting: 0,
            bytes: 0,
        };
        let mut troubles = Vec::new();
        let segments = log.segments()?;
        for segment in segments.iter().copied().filter(|segment| *segment < log.start.segment) {
            fs::remove_file(log.path(segment))?;
        }
        let first = log.start.segment;
        if log.start.offset > 0 && !segments.contains(&first) {
            // It went before the cursor could be written: all of it was published.
            log.start = Position { segment: first + 1, offset: 0 };
        }
        log.end = log.start;
        for segment in segments.into_iter().filter(|segment| *segment >= first) {
            log.recover(segment, &mut troubles)?;
        }
        Ok((log, troubles))
    }

    fn recover(&mut self, segment: u64, troubles: &mut Vec<String>) -> io::Result<()> {
        let path = self.path(segment);
        let bytes = fs::read(&path)?;
        let length = bytes.len() as u64;
        let mut offset = if segment == self.start.segment { self.start.offset.min(length) } else { 0 };
        let begin = offset;
        loop {
            let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
            match decode(rest) {
                Found::Record(_, used) => {
                    offset += used as u64;
                    self.waiting += 1;
                }
                Found::End => break,
                Found::Torn => {
                    troubles.push(format!(
                        "{}: {} bytes behind {offset} are no whole message",
                        path.display(),
                        length - offset
                    ));
                    // Kept aside for whoever wants to look: it may be more than a torn end. On a full disk it stays where it is.
                    let aside = path.with_extension("torn");
                    if fs::write(&aside, rest).is_ok() {
                        cut(&path, offset)?;
                    } else {
                        let _ = fs::remove_file(&aside);
                    }
                    break;
                }
            }
        }
        self.bytes += offset - begin;
        // What comes next goes into a segment of its own.
        self.end = Position { segment: segment + 1, offset: 0 };
        Ok(())
    }

    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn start(&self) -> Position {
        self.start
    }

    /// Appends frames and waits for the disk. On an error none of them counts.
    pub(super) fn append(&mut self, frames: &[u8], count: u64) -> io::Result<()> {
        if self.end.offset >= SEGMENT_BYTES {
            self.writing = None;
            self.end = Position { segment: self.end.segment + 1, offset: 0 };
        }
        if let Err(error) = self.write(frames) {
            self.writing = None;
            let path = self.path(self.end.segment);
            // Best effort: what stays behind is cut off at the next start, or published under the id that the client was told.
            let is_gone = if self.end.offset == 0 { fs::remove_file(&path) } else { cut(&path, self.end.offset) };
            if is_gone.is_err() || self.end.offset > 0 {
                self.end = Position { segment: self.end.segment + 1, offset: 0 };
            }
            return Err(error);
        }
        self.end.offset += frames.len() as u64;
        self.bytes += frames.len() as u64;
        self.waiting += count;
        Ok(())
    }

    fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        let file = match &mut self.writing {
            Some(file) => file,
            None => {
                let path = self.path(self.end.segment);
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
                // The name must be as durable as what stands under it.
                File::open(&self.dir)?.sync_all()?;
                self.writing.insert(file)
            }
        };
        file.write_all(frames)?;
        file.sync_data()
    }

    /// What is needed to read on from a place, without holding up whoever appends.
    pub(super) fn reader(&self) -> Reader {
        Reader { dir: self.dir.clone(), end: self.end }
    }

    /// Everything before `to` is published. `bytes` and `count` of it were not before.
    pub(super) fn advance(&mut self, to: Position, count: u64, bytes: u64) -> io::Result<()> {
        self.waiting = self.waiting.saturating_sub(count);
        self.bytes = self.bytes.saturating_sub(bytes);
        let from = std::mem::replace(&mut self.start, to);
        if self.waiting == 0 {
            // Nothing waits: what comes next goes into a new segment, and all others can go, also those whose ends were cut off.
            if self.end.offset > 0 {
                self.writing = None;
                self.end = Position { segment: self.end.segment + 1, offset: 0 };
            }
            self.start = self.end;
        }
        // Before the cursor is written, for which a full disk has no room else. A segment that is not there was published.
        for segment in from.segment..self.start.segment {
            match fs::remove_file(self.path(segment)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let text = format!("{} {}\n", self.start.segment, self.start.offset);
        replace(&self.dir.join(CURSOR), |file| file.write_all(text.as_bytes()))
    }

    /// Keeps an event for whoever wants to look; on disk when this returns.
    pub(super) fn put_aside(&self, event: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(self.dir.join(REFUSED))?;
        file.write_all(&[event, b"\n"].concat())?;
        file.sync_data()?;
        File::open(&self.dir)?.sync_all()
    }

    fn segments(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            found.extend(
                name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|number| number.parse::<u64>().ok()),
            );
        }
        found.sort_unstable();
        Ok(found)
    }

    fn path(&self, segment: u64) -> PathBuf {
        segment_path(&self.dir, segment)
    }
}

/// Reads what was synced when it was made.
#[derive(Debug)]
pub(super) struct Reader {
    dir: PathBuf,
    end: Position,
}

/// A record and where the next one begins.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) next: Position,
    pub(super) bytes: u64,
}

impl Reader {
    /// At most `most` records, and of about `most_bytes`.
    pub(super) fn read(&self, mut from: Position, most: usize, most_bytes: usize) -> io::Result<Vec<Entry>> {
        let (mut found, mut total) = (Vec::new(), 0);
        while found.len() < most && total < most_bytes && from < self.end {
            let bytes = self.bytes(from, most_bytes)?;
            let mut rest = bytes.as_slice();
            while found.len() < most && total < most_bytes {
                let Found::Record(record, used) = decode(rest) else { break };
                rest = rest.get(used..).unwrap_or_default();
                total += used;
                from.offset += used as u64;
                found.push(Entry { record, next: from, bytes: used as u64 });
            }
            if rest.len() == bytes.len() {
                // Nothing more in this segment; what is torn there was told when the log was opened.
                from = Position { segment: from.segment + 1, offset: 0 };
            }
        }
        Ok(found)
    }

    /// What stands at a place: as much as was asked for, or one whole record that is larger.
    fn bytes(&self, from: Position, most: usize) -> io::Result<Vec<u8>> {
        let mut file = match File::open(segment_path(&self.dir, from.segment)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let synced = if from.segment == self.end.segment { self.end.offset } else { file.metadata()?.len() };
        file.seek(SeekFrom::Start(from.offset))?;
        let left = synced.saturating_sub(from.offset);
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(left.min(most as u64)).read_to_end(&mut bytes)?;
        if matches!(decode(&bytes), Found::Torn) {
            file.take(left.saturating_sub(bytes.len() as u64)).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }
}

fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:020}.log"))
}

fn cut(path: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

/// An unreadable one costs duplicates, never messages.
fn read_cursor(path: &Path) -> Position {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(segment)), Some(Ok(offset))) => Position { segment, offset },
        _ => Position::default(),
    }
}
