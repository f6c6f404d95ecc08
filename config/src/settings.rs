//! Settings: what one process reads once at its start. A flag stands before the environment, that before the file, and that
//! before the default.
//!
//! A process describes its settings once, as a clap struct; the file's keys are the flags' names. Keys that are common to
//! all processes stand at the top of the file, a process's own in a table with its name.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Parser};
use thiserror::Error;

/// The settings that every process has.
#[derive(Args, Clone, Debug)]
pub struct CommonSettings {
    /// Where the configuration is kept: sqlite://PATH, or postgres://… for a fleet
    #[arg(
        long,
        env = "DATABASE_URL",
        default_value = "sqlite://data/gateway.db",
        hide_env_values = true,
        global = true
    )]
    pub database_url: String,
    /// Where a process keeps its own files
    #[arg(long, env = "DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// The directory that `file:NAME` secret references name files in
    #[arg(long, env = "GATEWAY_SECRETS_DIR")]
    pub secrets_dir: Option<PathBuf>,
    /// A TOML file with further settings
    #[arg(long, env = "GATEWAY_CONFIG")]
    pub config: Option<PathBuf>,
    /// How logs are written to stderr
    #[arg(long, env = "LOG_FORMAT", default_value = "pretty")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Json,
    Pretty,
}

/// The tables that a settings file may have, for processes may share one.
const TABLES: [&str; 2] = ["gateway", "admin-api"];

#[derive(Debug, Error)]
pub enum SettingsError {
    /// Usage, help and version: clap writes them best.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    #[error("could not read the settings file {path}: {why}")]
    File { path: PathBuf, why: String },
}

/// Reads a process's settings. `table` is the name of its own table in the file.
pub fn load<P: Parser>(args: impl IntoIterator<Item = OsString>, table: &str) -> Result<P, SettingsError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let command = P::command();
    let matches = command.clone().try_get_matches_from(&args)?;
    let (matches_of_leaf, leaf) = leaf(&matches, &command);
    let Some(path) = matches_of_leaf.try_get_one::<PathBuf>("config").ok().flatten() else {
        return Ok(P::from_arg_matches(&matches)?);
    };
    let from_file = file_flags(path, table, (&command, leaf), matches_of_leaf)?;
    let matches = command.try_get_matches_from(args.into_iter().chain(from_file))?;
    Ok(P::from_arg_matches(&matches)?)
}

/// The subcommand that was chosen, however deep.
fn leaf<'c>(matches: &'c ArgMatches, command: &'c Command) -> (&'c ArgMatches, &'c Command) {
    let chosen = matches.subcommand().and_then(|(name, inner)| Some((inner, command.find_subcommand(name)?)));
    chosen.map_or((matches, command), |(inner, command)| leaf(inner, command))
}

/// Whether the command, or one below it, has a flag of this id.
fn knows(command: &Command, id: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_id() == id && arg.get_long().is_some())
        || command.get_subcommands().any(|below| knows(below, id))
}

/// The file's values as flags of the subcommand `leaf` of `root`, for those that neither a flag nor the environment gives. What only
/// other subcommands know is theirs: they share the file.
fn file_flags(
    path: &Path,
    own: &str,
    (root, leaf): (&Command, &Command),
    matches: &ArgMatches,
) -> Result<Vec<OsString>, SettingsError> {
    let error = |why: String| SettingsError::File { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|why| error(why.to_string()))?;
    let file: toml::Table = text.parse().map_err(|why: toml::de::Error| error(why.message().to_owned()))?;
    let mut flags = Vec::new();
    let empty = toml::Table::new();
    let stranger = file.iter().find(|(name, value)| value.is_table() && !TABLES.contains(&name.as_str()));
    if let Some((name, _)) = stranger {
        return Err(error(format!("there is no program \"{name}\"; a table is one of {}", TABLES.join(", "))));
    }
    let table = file.get(own).and_then(toml::Value::as_table).unwrap_or(&empty);
    let common = file.iter().filter(|(_, value)| !value.is_table());
    for (key, value) in common.chain(table) {
        let id = key.replace('-', "_");
        if !knows(root, &id) || id == "config" {
            return Err(error(format!("there is no setting \"{key}\"")));
        }
        if !knows(leaf, &id) {
            continue;
        }
        if matches!(matches.value_source(&id), Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            continue;
        }
        let flag = format!("--{}", id.replace('_', "-"));
        match value {
            toml::Value::Boolean(true) => flags.push(flag.into()),
            toml::Value::Boolean(false) => {}
            toml::Value::String(text) => flags.push(format!("{flag}={text}").into()),
            toml::Value::Integer(number) => flags.push(format!("{flag}={number}").into()),
            toml::Value::Float(number) => flags.push(format!("{flag}={number}").into()),
            _ => return Err(error(format!("\"{key}\" must be a word, a number or a switch"))),
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser, Debug)]
    struct Cli {
        #[command(subcommand)]
        command: Sub,
    }

    #[derive(clap::Subcommand, Debug)]
    enum Sub {
        Serve(Serve),
        Look(CommonSettings),
    }

    #[derive(Args, Debug)]
    struct Serve {
        #[command(flatten)]
        common: CommonSettings,
        #[arg(long, default_value = "0.0.0.0:4200")]
        listen: String,
        #[arg(long)]
        no_migrate: bool,
    }

    fn load_with(file: &str, more: &[&str]) -> Result<Serve, SettingsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.toml");
        std::fs::write(&path, file).unwrap();
        let args = ["gateway", "serve", "--config", path.to_str().unwrap()]
            .into_iter()
            .chain(more.iter().copied())
            .map(OsString::from);
        load::<Cli>(args, "gateway").map(|cli| match cli.command {
            Sub::Serve(serve) => serve,
            Sub::Look(settings) => panic!("{settings:?}"),
        })
    }

    #[test]
    fn what_only_other_commands_know_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.toml");
        std::fs::write(&path, "data-dir = \"from-file\"\n[gateway]\nlisten = \"1.1.1.1:1\"\n").unwrap();
        let args = ["gateway", "look", "--config", path.to_str().unwrap()].map(OsString::from);
        let Sub::Look(settings) = load::<Cli>(args, "gateway").unwrap().command else { panic!("another command") };
        assert_eq!(settings.data_dir, PathBuf::from("from-file"));
    }

    #[test]
    fn a_file_stands_before_defaults_and_behind_flags() {
        let file =
            "data-dir = \"from-file\"\n[gateway]\nlisten = \"1.1.1.1:1\"\nno-migrate = true\n[admin-api]\nx = 1\n";
        let settings = load_with(file, &[]).unwrap();
        assert_eq!((settings.listen.as_str(), settings.no_migrate), ("1.1.1.1:1", true));
        assert_eq!(settings.common.data_dir, PathBuf::from("from-file"));
        let settings = load_with(file, &["--listen", "2.2.2.2:2"]).unwrap();
        assert_eq!(settings.listen, "2.2.2.2:2");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = load_with("[gateway]\nlissen = \"x\"\n", &[]).unwrap_err();
        assert!(error.to_string().contains("lissen"), "{error}");
        let error = load_with("[gatewy]\nlisten = \"x\"\n", &[]).unwrap_err();
        assert!(error.to_string().contains("gatewy"), "{error}");
        let error = load_with("listen = [1]\n", &[]).unwrap_err();
        assert!(error.to_string().contains("listen"), "{error}");
    }
}
