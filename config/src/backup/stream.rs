//! Chunks under one key, each sealed for its place: its number, and whether it is the last.

use std::io::{BufRead, BufReader, Read, Write};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce};

use super::{BackupError, Cost, Header, Key};
use crate::model::Timestamp;

/// Of what is sealed, at most.
const CHUNK: usize = 1 << 20;
/// In the word before each chunk, beside its length.
const LAST: u32 = 1 << 31;

/// Takes what is to be sealed, line by line.
pub struct Sealer<W> {
    target: W,
    cipher: LessSafeKey,
    number: u64,
    waiting: Vec<u8>,
    chunk: usize,
}

impl<W: Write> Sealer<W> {
    pub fn begin(target: W, made_at: Timestamp, key: &Key<'_>) -> Result<Self, BackupError> {
        Self::begin_with(target, made_at, key, Cost::default(), CHUNK)
    }

    /// `chunk`: at most so many bytes are sealed together.
    #[doc(hidden)]
    pub fn begin_with(
        mut target: W,
        made_at: Timestamp,
        key: &Key<'_>,
        cost: Cost,
        chunk: usize,
    ) -> Result<Self, BackupError> {
        let header = Header::new(made_at, key, cost);
        let line = header.write(&mut target)?;
        let cipher = header.cipher(&line, key)?;
        Ok(Self { target, cipher, number: 0, waiting: Vec::new(), chunk: chunk.clamp(1, CHUNK) })
    }

    /// Adds a line; its end is added here.
    pub fn line(&mut self, line: &[u8]) -> Result<(), BackupError> {
        self.waiting.extend_from_slice(line);
        self.waiting.push(b'\n');
        // The last chunk is never empty: what is sealed by then is held back.
        while self.waiting.len() > self.chunk {
            let later = self.waiting.split_off(self.chunk);
            let now = std::mem::replace(&mut self.waiting, later);
            self.seal(now, false)?;
        }
        Ok(())
    }

    /// Without this the backup is a torn one.
    pub fn finish(mut self) -> Result<W, BackupError> {
        let last = std::mem::take(&mut self.waiting);
        self.seal(last, true)?;
        self.target.flush()?;
        Ok(self.target)
    }

    fn seal(&mut self, mut chunk: Vec<u8>, is_last: bool) -> Result<(), BackupError> {
        let sealed = self.cipher.seal_in_place_append_tag(nonce(self.number, is_last), Aad::empty(), &mut chunk);
        sealed.map_err(|_| BackupError::Sealing)?;
        self.number += 1;
        let length = u32::try_from(chunk.len()).map_err(|_| BackupError::Sealing)?;
        let word = if is_last { length | LAST } else { length };
        self.target.write_all(&word.to_be_bytes())?;
        self.target.write_all(&chunk)?;
        Ok(())
    }
}

/// Gives back what was sealed, line by line, as far as it is what was written.
pub struct Opener<R> {
    source: BufReader<R>,
    cipher: LessSafeKey,
    header: Header,
    number: u64,
    open: Vec<u8>,
    /// How far `open` was given back.
    given: usize,
    is_over: bool,
}

impl<R: Read> Opener<R> {
    /// Reads the first line alone, and asks for the key that it wants.
    pub fn begin<'k>(
        source: R,
        key: impl FnOnce(&Header) -> Result<Key<'k>, BackupError>,
    ) -> Result<Self, BackupError> {
        let mut source = BufReader::new(source);
        let (header, line) = Header::read(&mut source)?;
        let cipher = header.cipher(&line, &key(&header)?)?;
        Ok(Self { source, cipher, header, number: 0, open: Vec::new(), given: 0, is_over: false })
    }

    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next line without its end; `None` at the end of a backup that is whole.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        let mut line = Vec::new();
        loop {
            let rest = self.open.get(self.given..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                line.extend_from_slice(rest.get(..end).unwrap_or_default());
                self.given += end + 1;
                return Ok(Some(line));
            }
            line.extend_from_slice(rest);
            if self.is_over {
                self.given = self.open.len();
                return if line.is_empty() { Ok(None) } else { Err(BackupError::Torn(self.number)) };
            }
            self.open = self.chunk()?;
            self.given = 0;
        }
    }

    fn chunk(&mut self) -> Result<Vec<u8>, BackupError> {
        let torn = |number: u64| {
            move |error: std::io::Error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => BackupError::Torn(number),
                _ => BackupError::Io(error),
            }
        };
        let mut word = [0; 4];
        self.source.read_exact(&mut word).map_err(torn(self.number))?;
        let word = u32::from_be_bytes(word);
        let (length, is_last) = ((word & !LAST) as usize, word & LAST != 0);
        if !(AES_256_GCM.tag_len()..=CHUNK + AES_256_GCM.tag_len()).contains(&length) {
            return Err(self.altered());
        }
        let mut chunk = vec![0; length];
        self.source.read_exact(&mut chunk).map_err(torn(self.number))?;
        let opened = self.cipher.open_in_place(nonce(self.number, is_last), Aad::empty(), &mut chunk);
        let Ok(length) = opened.map(|opened| opened.len()) else { return Err(self.altered()) };
        chunk.truncate(length);
        self.number += 1;
        self.is_over = is_last;
        if is_last && !self.source.fill_buf()?.is_empty() {
            return Err(BackupError::Trailing);
        }
        Ok(chunk)
    }

    /// Of the first chunk nobody can say whether it was altered or the key is another.
    fn altered(&self) -> BackupError {
        if self.number == 0 {
            BackupError::WrongKey(self.header.sealed_with)
        } else {
            BackupError::Altered(self.number)
        }
    }
}

impl<W> std::fmt::Debug for Sealer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<R> std::fmt::Debug for Opener<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Never the same twice under one key, for each backup has a key of its own.
fn nonce(number: u64, is_last: bool) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    let (start, end) = nonce.split_at_mut(NONCE_LEN - 8);
    end.copy_from_slice(&number.to_be_bytes());
    if let Some(first) = start.first_mut() {
        *first = u8::from(is_last);
    }
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master_key::MasterKey;

    const CHEAP: Cost = Cost { memory_kib: 8, iterations: 1, lanes: 1 };

    fn sealed(lines: &[&str], chunk: usize) -> Vec<u8> {
        let mut sealer =
            Sealer::begin_with(Vec::new(), Timestamp::from_micros(1), &Key::Passphrase("a passphrase"), CHEAP, chunk)
                .unwrap();
        for line in lines {
            sealer.line(line.as_bytes()).unwrap();
        }
        sealer.finish().unwrap()
    }

    fn opened(file: &[u8], passphrase: &'static str) -> Result<Vec<String>, BackupError> {
        let mut opener = Opener::begin(file, |_| Ok(Key::Passphrase(passphrase)))?;
        let mut lines = Vec::new();
        while let Some(line) = opener.line()? {
            lines.push(String::from_utf8(line).unwrap());
        }
        Ok(lines)
    }

    /// Where chunks begin, and the end.
    fn borders(file: &[u8]) -> Vec<usize> {
        let mut at = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let mut borders = vec![at];
        while at < file.len() {
            let word = u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
            at += 4 + (word & !LAST) as usize;
            borders.push(at);
        }
        borders
    }

    const LINES: [&str; 4] = ["the first line", "", "another, rather longer than the others are", "the last"];

    #[test]
    fn lines_come_back_whatever_the_size_of_a_chunk() {
        for chunk in [1, 2, 7, 16, 73, 1 << 20] {
            assert_eq!(opened(&sealed(&LINES, chunk), "a passphrase").unwrap(), LINES, "{chunk}");
        }
        assert!(opened(&sealed(&[], 16), "a passphrase").unwrap().is_empty());
        let file = sealed(&LINES, 16);
        assert!(!file.windows(5).any(|window| window == b"first"));
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_refused() {
        let file = sealed(&LINES, 16);
        let borders = borders(&file);
        assert!(borders.len() > 5);
        for end in 0..file.len() {
            let error = opened(&file[..end], "a passphrase").unwrap_err();
            let header = borders[0];
            match error {
                BackupError::NotABackup => assert!(end < header, "{end}"),
                BackupError::Torn(_) => assert!(end >= header, "{end}"),
                other => panic!("{end}: {other}"),
            }
        }
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let file = sealed(&LINES, 16);
        for at in 0..file.len() {
            let mut altered = file.clone();
            altered[at] ^= 1;
            assert!(opened(&altered, "a passphrase").is_err(), "byte {at}");
        }
    }

    #[test]
    fn chunks_that_were_moved_repeated_or_taken_out_are_noticed() {
        let file = sealed(&LINES, 16);
        let borders = borders(&file);
        let chunk = |at: usize| file[borders[at]..borders[at + 1]].to_vec();
        let count = borders.len() - 1;
        let header = file[..borders[0]].to_vec();
        let with = |order: Vec<usize>| -> Vec<u8> {
            order.into_iter().fold(header.clone(), |file, at| [file, chunk(at)].concat())
        };
        let all: Vec<usize> = (0..count).collect();
        assert_eq!(with(all.clone()), file);
        for at in 0..count {
            let mut without = all.clone();
            without.remove(at);
            assert!(opened(&with(without), "a passphrase").is_err(), "without {at}");
            let mut twice = all.clone();
            twice.insert(at, at);
            assert!(opened(&with(twice), "a passphrase").is_err(), "{at} twice");
            if at > 0 {
                let mut swapped = all.clone();
                swapped.swap(at - 1, at);
                assert!(opened(&with(swapped), "a passphrase").is_err(), "{at} swapped");
            }
        }
        let longer = [file.clone(), b"x".to_vec()].concat();
        assert!(matches!(opened(&longer, "a passphrase"), Err(BackupError::Trailing)));
        // The end of another backup under the same passphrase.
        let other = sealed(&LINES, 16);
        let spliced = [&file[..borders[count - 1]], &other[borders[count - 1]..]].concat();
        assert!(opened(&spliced, "a passphrase").is_err());
    }

    #[test]
    fn another_key_is_refused_and_the_kind_of_key_is_told() {
        let file = sealed(&LINES, 16);
        assert!(matches!(opened(&file, "another"), Err(BackupError::WrongKey(_))));
        let master = MasterKey::of("a text of more than 32 characters, I think").unwrap();
        let error = Opener::begin(&file[..], |_| Ok(Key::Master(&master))).unwrap_err();
        assert!(error.to_string().contains("--passphrase-file"));

        let mut sealer = Sealer::begin(Vec::new(), Timestamp::from_micros(1), &Key::Master(&master)).unwrap();
        sealer.line(b"x").unwrap();
        let file = sealer.finish().unwrap();
        assert!(Opener::begin(&file[..], |_| Ok(Key::Master(&master))).unwrap().line().unwrap().is_some());
        let other = MasterKey::of("another text of more than 32 characters").unwrap();
        let mut opener = Opener::begin(&file[..], |_| Ok(Key::Master(&other))).unwrap();
        assert!(matches!(opener.line(), Err(BackupError::WrongKey(_))));
        assert!(matches!(opened(&file, "x"), Err(BackupError::NoPassphrase)));
    }

    #[test]
    fn what_is_no_backup_is_told_from_one_of_a_later_format_or_of_unbearable_cost() {
        for file in [&b""[..], b"x", b"GATEHOUSE-BACKUP \n", b"GATEHOUSE-BACKUP {}\n", &[b'a'; 9000]] {
            assert!(matches!(opened(file, "x"), Err(BackupError::NotABackup)));
        }
        assert!(matches!(opened(b"GATEHOUSE-BACKUP {\"format\":2,\"new\":1}\n", "x"), Err(BackupError::Format(2))));
        let cost = Cost { memory_kib: u32::MAX, iterations: 1, lanes: 1 };
        let header = Header::new(Timestamp::from_micros(1), &Key::Passphrase("x"), cost);
        let mut file = Vec::new();
        header.write(&mut file).unwrap();
        assert!(matches!(opened(&file, "x"), Err(BackupError::Cost)));
    }
}
