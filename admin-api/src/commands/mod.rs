//! The commands that read and change the configuration as a document: `export`, `diff`, `apply`. They ask a running admin API where
//! they are told its address, and else the database itself.

mod direct;
mod output;
mod progress;
mod remote;
mod render;

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use gateway_config::change::ChangeError;
use gateway_config::document::{DocumentError, Form};
use gateway_config::model::{Kind, Problem};
use gateway_config::settings::CommonSettings;
use gateway_config::store::StoreError;
use serde::de::IgnoredAny;

use crate::api::{LONGEST_WAIT, Report, WaitingFor, duration, read_sections};
use crate::command::start_log;
use direct::Direct;
use progress::Progress;
use remote::Remote;
use render::{Paint, Tense};

const COULD_NOT: u8 = 1;
const WRONG_SETTINGS: u8 = 2;
const DIFFERENCES: u8 = 3;
const NOT_EVERYWHERE: u8 = 4;

const EXIT_CODES: &str = "Exit codes:\n  0  done\n  1  could not be done\n  2  wrong usage or settings";
const EXIT_CODES_OF_DIFF: &str = "Exit codes:\n  0  there are no differences\n  1  could not be told, or the document is not valid\n  \
    2  wrong usage or settings\n  3  there are differences";
const EXIT_CODES_OF_APPLY: &str = "Exit codes:\n  0  done\n  1  could not be done\n  2  wrong usage or settings\n  \
    4  applied, but some nodes do not serve it yet (with --wait)";

/// Where the configuration is.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// A running admin API, such as http://127.0.0.1:4201; its token stands in ADMIN_TOKEN. Without it the database is used directly
    #[arg(long, env = "ADMIN_URL")]
    url: Option<String>,
    /// A file that holds the token, rather than ADMIN_TOKEN
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    common: CommonSettings,
}

#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ExportSettings {
    /// yaml or json; without it as the output's name ends, else yaml
    #[arg(long, value_parser = read_form)]
    format: Option<Form>,
    /// The file to write; it is replaced when all of the document is there. Without it the document goes to the standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only these sections, separated by commas: services, routes, queues, applications, issuers, certificates, defaults
    #[arg(long, value_parser = of_sections)]
    sections: Option<Sections>,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES_OF_DIFF)]
pub(crate) struct DiffSettings {
    /// A document, YAML or JSON; - is the standard input
    file: PathBuf,
    /// Show also what would be deleted: whatever the document's sections do not name
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES_OF_APPLY)]
pub(crate) struct ApplySettings {
    /// A document, YAML or JSON; - is the standard input
    file: PathBuf,
    /// Delete what the document's sections do not name. Sections that are absent are left alone
    #[arg(long)]
    prune: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Wait at most so long until every live node serves it: 5s, 500ms
    #[arg(long, value_parser = read_wait)]
    wait: Option<Duration>,
    #[command(flatten)]
    place: Place,
}

/// A document to be applied, and how.
#[derive(Debug)]
struct Order {
    document: Vec<u8>,
    is_json: bool,
    prune: bool,
    dry_run: bool,
    wait: Option<Duration>,
}

/// What came of it.
#[derive(Debug)]
struct Done {
    report: Report,
    /// The nodes that do not serve it yet.
    waiting_for: Vec<WaitingFor>,
}

/// Why a command ends without having done its work.
#[derive(Debug)]
enum Trouble {
    /// Of usage or settings.
    Settings(String),
    Failed(String),
    /// What is wrong, each with its place.
    Problems(Vec<Problem>),
}

pub(crate) fn export(settings: &ExportSettings) -> ExitCode {
    finish(in_runtime(&settings.place, async {
        let file = settings.output.as_deref().filter(|path| path.as_os_str() != "-");
        let by_name = file.filter(|path| path.extension().is_some_and(|end| end == "json")).map(|_| Form::Json);
        let form = settings.format.or(by_name).unwrap_or(Form::Yaml);
        let sections = settings.sections.as_ref().map_or(&Kind::ALL[..], |sections| &sections.0);
        let mut output = output::Output::open(file)?;
        let progress = Progress::begin("exporting");
        let written = match Remote::at(&settings.place)? {
            Some(remote) => remote.export(sections, form, &mut output).await,
            None => Direct::open(&settings.place).await?.export(sections, form, &mut output).await,
        };
        drop(progress);
        written?;
        output.close()?;
        Ok(ExitCode::SUCCESS)
    }))
}

pub(crate) fn diff(settings: &DiffSettings) -> ExitCode {
    let DiffSettings { file, prune, place } = settings;
    finish(in_runtime(place, async {
        let order = Order { prune: *prune, dry_run: true, wait: None, ..Order::read(file)? };
        let done = carry_out(place, order).await?;
        tell(&done, Tense::Would)?;
        Ok(if done.report.diff.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENCES) })
    }))
}

pub(crate) fn apply(settings: &ApplySettings) -> ExitCode {
    let ApplySettings { file, prune, dry_run, wait, place } = settings;
    finish(in_runtime(place, async {
        let order = Order { prune: *prune, dry_run: *dry_run, wait: *wait, ..Order::read(file)? };
        let done = carry_out(place, order).await?;
        tell(&done, if *dry_run { Tense::Would } else { Tense::Did })?;
        Ok(if done.waiting_for.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NOT_EVERYWHERE) })
    }))
}

async fn carry_out(place: &Place, order: Order) -> Result<Done, Trouble> {
    // Taken away before anything is told.
    let _progress = Progress::begin(if order.dry_run { "comparing" } else { "applying" });
    match Remote::at(place)? {
        Some(remote) => remote.apply(order).await,
        None => Direct::open(place).await?.apply(order).await,
    }
}

fn tell(done: &Done, tense: Tense) -> Result<(), Trouble> {
    let text = render::report(&done.report, tense, Paint::for_stdout());
    output::print(&text)?;
    for warning in &done.report.warnings {
        eprintln!("warning: {}", render::clean(&warning.to_string()));
    }
    for node in &done.waiting_for {
        eprintln!("{}", render::waiting(node));
    }
    Ok(())
}

impl Order {
    fn read(file: &Path) -> Result<Self, Trouble> {
        let read = if file.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        } else {
            std::fs::read(file)
        };
        let document = read.map_err(|error| Trouble::Failed(format!("could not read {}: {error}", file.display())))?;
        if document.is_empty() {
            return Err(Trouble::Failed(format!("{} is empty; a document is expected", file.display())));
        }
        // JSON is YAML, too, but reads faster as what it is.
        let is_json = serde_json::from_slice::<IgnoredAny>(&document).is_ok();
        Ok(Self { document, is_json, prune: false, dry_run: true, wait: None })
    }
}

/// One value, whatever the number of sections.
#[derive(Clone, Debug)]
struct Sections(Vec<Kind>);

fn of_sections(text: &str) -> Result<Sections, String> {
    read_sections(text).map(Sections)
}

fn read_form(text: &str) -> Result<Form, String> {
    match text {
        "json" => Ok(Form::Json),
        "yaml" => Ok(Form::Yaml),
        _ => Err("must be yaml or json".to_owned()),
    }
}

fn read_wait(text: &str) -> Result<Duration, String> {
    let wait = duration(text).filter(|wait| *wait <= LONGEST_WAIT);
    wait.ok_or_else(|| "must be a time up to 60s, such as 5s or 500ms".to_owned())
}

fn in_runtime<T>(place: &Place, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    start_log(place.common.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Trouble::Failed(format!("could not start the async runtime: {error}")))?;
    let done = runtime.block_on(work);
    // A thread that waits for a dead disk must not hold up the end.
    runtime.shutdown_background();
    done
}

fn finish(done: Result<ExitCode, Trouble>) -> ExitCode {
    let (message, code) = match done {
        Ok(code) => return code,
        Err(Trouble::Settings(message)) => (message, WRONG_SETTINGS),
        Err(Trouble::Failed(message)) => (message, COULD_NOT),
        Err(Trouble::Problems(problems)) => {
            for problem in &problems {
                eprintln!("{}", render::clean(&problem.to_string()));
            }
            let count = problems.len();
            (format!("the document is not valid: {count} problem{}", if count == 1 { "" } else { "s" }), COULD_NOT)
        }
    };
    eprintln!("admin-api: {}", render::clean(&message));
    ExitCode::from(code)
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Spoilt(problem) => Self::Problems(vec![problem]),
            StoreError::BadUrl(..) => Self::Settings(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<ChangeError> for Trouble {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => error.into(),
            ChangeError::Invalid(problems) => Self::Problems(problems),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<DocumentError> for Trouble {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Syntax(_) => Self::Failed(error.to_string()),
            DocumentError::Shape(problems) => Self::Problems(problems),
        }
    }
}

/// Somebody looks at it.
fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}
