//! `admin-api backup FILE` and `admin-api restore FILE`: everything, out of one database and into another, sealed. They use the
//! database itself, so a backup needs no running admin API.

mod file;
mod make;
mod records;
mod restore;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use gateway_config::backup::{BackupError, Key, Opener, SealedWith, Sealer};
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::master_key::{MasterKey, MasterKeyError};
use gateway_config::model::{Actor, ChainKey};
use gateway_config::settings::CommonSettings;
use gateway_config::store::{self, Options, StoreError};

use file::Target;
use make::Identity;
use records::Manifest;
use restore::{Orders, Reader};

const COULD_NOT: u8 = 1;
const WRONG_SETTINGS: u8 = 2;

/// Of one step: a slow disk behind the backup must not end the transaction that it is read in.
const DEADLINE: Duration = Duration::from_mins(1);

const EXIT_CODES: &str =
    "Exit codes:\n  0  done\n  1  could not be done; nothing was written\n  2  wrong usage or settings";

#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct BackupSettings {
    /// The file to write; it is replaced when all of the backup is there. - is the standard output
    file: PathBuf,
    /// A file whose first line seals the backup, rather than `BACKUP_PASSPHRASE`; without either the master key does
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    common: CommonSettings,
}

#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RestoreSettings {
    /// A backup; - is the standard input
    file: PathBuf,
    /// The file with the passphrase that sealed it, rather than `BACKUP_PASSPHRASE`
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Replace all that the database holds, its audit as well
    #[arg(long)]
    replace: bool,
    /// Go on although the master key here is another: API keys and personal tokens stop working and the audit can't be verified
    #[arg(long)]
    other_master_key: bool,
    /// Write the master key that the backup carries to this file, and do nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["replace", "other_master_key"])]
    write_master_key: Option<PathBuf>,
    #[command(flatten)]
    common: CommonSettings,
}

/// Why a command ends without having done its work.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Of usage or settings.
    Settings(String),
    Failed(String),
}

impl Trouble {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}

pub(crate) fn backup(settings: &BackupSettings) -> ExitCode {
    finish(in_runtime(make_backup(settings)))
}

pub(crate) fn restore(settings: &RestoreSettings) -> ExitCode {
    finish(in_runtime(restore_backup(settings)))
}

async fn make_backup(settings: &BackupSettings) -> Result<(), Trouble> {
    let url = &settings.common.database_url;
    let passphrase = file::passphrase(settings.passphrase_file.as_deref())?;
    // Never a new one: it would be no key to what the database holds.
    let master = MasterKey::find(url)?;
    let master = master.ok_or_else(|| Trouble::Settings("there is no master key beside the database".to_owned()))?;
    let key = passphrase.as_deref().map_or(Key::Master(&master), Key::Passphrase);
    let text = if passphrase.is_some() { MasterKey::file_text(url)? } else { None };
    let identity = Identity { fingerprint: master.fingerprint(), text };

    let store = store::open_with(url, Options { may_create: false, deadline: DEADLINE, ..Options::default() }).await?;
    store.head().await?;
    let target = Target::open(&settings.file)?;
    let is_standard = target.is_standard();
    let now = SystemClock.now();
    let mut sealer = Sealer::begin(target, now, &key)?;
    let (generation, counts) = make::make(&*store, &mut sealer, identity, now).await?;
    sealer.finish()?.close()?;
    let line = format!("backed up generation {generation}, sealed with the {}: {}", key.kind(), counts.in_words());
    if is_standard {
        eprintln!("{line}");
    } else {
        println!("{line}");
    }
    Ok(())
}

async fn restore_backup(settings: &RestoreSettings) -> Result<(), Trouble> {
    let url = &settings.common.database_url;
    let passphrase = file::passphrase(settings.passphrase_file.as_deref())?;
    let found = MasterKey::find(url);
    let open = || open(&settings.file, passphrase.as_deref(), found.as_ref());
    // A standard input can't be read twice; what is wrong with its end shows before anything is kept.
    if settings.file.as_os_str() != "-" {
        open()?.0.verify()?;
    }
    let (reader, manifest) = open()?;
    if let Some(path) = &settings.write_master_key {
        let text = manifest.master_key_text.as_deref();
        let text =
            text.ok_or_else(|| Trouble::failed("the backup carries no master key: it was given in the environment"))?;
        return file::write_secret(path, text);
    }
    let (master, carried) = master_for(&manifest, found, settings)?;
    let store = store::open_with(url, Options { deadline: DEADLINE, ..Options::default() }).await?;
    store.migrate().await?;
    let orders = Orders { replace: settings.replace, is_other_key: master.fingerprint() != manifest.master_key };
    let actor = Actor::from(format!("cli:{}", user()).as_str());
    let deed = (SystemClock.now(), &actor, &ChainKey::of(&master));
    // The last thing before the end, so that a restore that fails leaves no key behind.
    let place_key = || carried.map_or(Ok(()), |text| MasterKey::place(url, &text).map_err(Trouble::from));
    let (restored, counts) = restore::restore(&*store, reader, &manifest, orders, deed, place_key).await?;
    println!(
        "restored the backup of generation {} of {} as generation {}: {}",
        manifest.generation,
        manifest.made_at,
        restored.generation,
        counts.in_words()
    );
    for problem in restored.spoilt {
        eprintln!("warning: {problem}");
    }
    Ok(())
}

/// Opens it as far as the manifest.
fn open(
    path: &Path,
    passphrase: Option<&str>,
    master: Result<&Option<MasterKey>, &MasterKeyError>,
) -> Result<(Reader<Box<dyn Read>>, Manifest), Trouble> {
    let source: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(path);
        Box::new(file.map_err(|error| Trouble::failed(format!("could not read {}: {error}", path.display())))?)
    };
    let opener = Opener::begin(source, |header| match (header.sealed_with, passphrase, master) {
        (SealedWith::Passphrase, None, _) => Err(BackupError::PassphraseNeeded),
        (SealedWith::Passphrase, Some(passphrase), _) => Ok(Key::Passphrase(passphrase)),
        // A passphrase of the environment is for other backups.
        (SealedWith::MasterKey, _, Ok(Some(master))) => Ok(Key::Master(master)),
        (SealedWith::MasterKey, ..) => Err(BackupError::MasterKeyNeeded),
    })?;
    Reader::begin(opener)
}

/// The master key that the database has from now on, and its text where that must be put beside it first.
fn master_for(
    manifest: &Manifest,
    found: Result<Option<MasterKey>, MasterKeyError>,
    settings: &RestoreSettings,
) -> Result<(MasterKey, Option<String>), Trouble> {
    match (found?, &manifest.master_key_text) {
        (Some(master), _) if master.fingerprint() == manifest.master_key => Ok((master, None)),
        (None, Some(text)) => Ok((MasterKey::of(text)?, Some(text.clone()))),
        (found, carried) => {
            if settings.other_master_key {
                let made = || MasterKey::load(&settings.common.database_url);
                return Ok((found.map_or_else(made, Ok)?, None));
            }
            let offer = match carried {
                Some(_) => "the backup carries it: --write-master-key FILE writes it out",
                None => "give the one of the backup in GATEWAY_MASTER_KEY",
            };
            Err(Trouble::failed(format!(
                "the master key here is not the one of the backup: API keys and personal tokens would stop working, gateways would \
                 make new signing keys, and the audit could not be verified; {offer}, or go on with --other-master-key"
            )))
        }
    }
}

fn user() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "?".to_owned())
}

fn in_runtime<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Trouble::failed(format!("could not start the async runtime: {error}")))?;
    let done = runtime.block_on(work);
    // A thread that waits for a dead disk must not hold up the end.
    runtime.shutdown_background();
    done
}

fn finish(done: Result<(), Trouble>) -> ExitCode {
    let (message, code) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Trouble::Settings(message)) => (message, WRONG_SETTINGS),
        Err(Trouble::Failed(message)) => (message, COULD_NOT),
    };
    eprintln!("admin-api: {message}");
    ExitCode::from(code)
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BadUrl(..) => Self::Settings(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<BackupError> for Trouble {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::PassphraseNeeded | BackupError::MasterKeyNeeded => Self::Settings(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<MasterKeyError> for Trouble {
    fn from(error: MasterKeyError) -> Self {
        Self::Settings(error.to_string())
    }
}
