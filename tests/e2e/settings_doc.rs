//! `docs/settings.md` lists every flag of every program: its tables are rendered from the programs' own command lines, between
//! two marks. `UPDATE_GOLDEN=1` writes them anew.

use std::path::Path;

use clap::{Arg, ArgAction, Command};

const BEGIN: &str = "<!-- begin: rendered by tests/e2e/settings_doc.rs, UPDATE_GOLDEN=1 writes it anew -->\n";
const END: &str = "<!-- end -->\n";
const HEAD: &str = "| flag | environment | default | what it is |\n| --- | --- | --- | --- |\n";

#[test]
fn the_settings_page_lists_every_flag_as_it_is() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    let text = std::fs::read_to_string(&page).expect("docs/settings.md can be read");
    let (before, rest) = text.split_once(BEGIN).expect("docs/settings.md has lost the mark where the tables begin");
    let (found, after) = rest.split_once(END).expect("docs/settings.md has lost the mark where the tables end");
    let expected = reference(&[gateway::command(), admin_api::command(), backends::command()]);
    if found == expected {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_GOLDEN").is_some(),
        "docs/settings.md differs from the command lines; UPDATE_GOLDEN=1 writes it anew:\n{expected}"
    );
    std::fs::write(&page, format!("{before}{BEGIN}{expected}{END}{after}")).expect("docs/settings.md can be written");
}

/// One subcommand, and a line of the table for each of its flags.
struct Entry {
    program: String,
    name: String,
    about: String,
    rows: Vec<String>,
    /// It has the flags that several programs share, which are taken out of its own.
    shares: bool,
}

fn reference(programs: &[Command]) -> String {
    let mut entries: Vec<Entry> = programs.iter().flat_map(entries_of).collect();
    let common = take_common(&mut entries);
    let sharers = names(entries.iter().filter(|entry| entry.shares));
    let own = entries.chunk_by(|one, next| !one.rows.is_empty() && one.rows == next.rows).map(section);
    format!("### In common: {sharers}\n\n{}", table(&common)) + &own.collect::<String>()
}

/// Of subcommands that have the same flags.
fn section(alike: &[Entry]) -> String {
    let abouts: Vec<String> = alike.iter().map(|entry| format!("- `{}`: {}\n", entry.name, entry.about)).collect();
    let rows = alike.first().map_or(&[][..], |entry| &entry.rows);
    let gap = if rows.is_empty() { "" } else { "\n" };
    format!("\n### {}\n\n{}{gap}{}", names(alike), abouts.concat(), table(rows))
}

fn table(rows: &[String]) -> String {
    if rows.is_empty() { String::new() } else { format!("{HEAD}{}", rows.concat()) }
}

fn entries_of(program: &Command) -> Vec<Entry> {
    let entry = |command: &Command| Entry {
        program: program.get_name().to_owned(),
        name: format!("{} {}", program.get_name(), command.get_name()),
        about: command.get_about().map(ToString::to_string).unwrap_or_default(),
        rows: command.get_arguments().filter(|flag| !flag.is_hide_set()).map(row).collect(),
        shares: false,
    };
    program.get_subcommands().map(entry).collect()
}

/// Takes out the rows that stand alike in several programs.
fn take_common(entries: &mut [Entry]) -> Vec<String> {
    let mut common: Vec<String> = Vec::new();
    for entry in &*entries {
        let others = || entries.iter().filter(|other| other.program != entry.program);
        for row in &entry.rows {
            if !common.contains(row) && others().any(|other| other.rows.contains(row)) {
                common.push(row.clone());
            }
        }
    }
    for entry in entries {
        entry.shares = entry.rows.iter().any(|row| common.contains(row));
        entry.rows.retain(|row| !common.contains(row));
    }
    common
}

fn names<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> String {
    entries.into_iter().map(|entry| format!("`{}`", entry.name)).collect::<Vec<_>>().join(", ")
}

fn row(flag: &Arg) -> String {
    let long = flag.get_long().map(|long| format!("--{long}"));
    let value = flag.get_value_names().and_then(|names| names.first()).map(|name| format!("{name}…"));
    let name = long.or(value).unwrap_or_else(|| flag.get_id().to_string());
    let default = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let is_switch = !matches!(flag.get_action(), ArgAction::Set | ArgAction::Append);
    let choices: Vec<String> =
        flag.get_possible_values().iter().map(|choice| format!("`{}`", choice.get_name())).collect();
    let mut help = flag.get_help().map(ToString::to_string).unwrap_or_default();
    if !is_switch && !choices.is_empty() {
        help = format!("{help}: {}", choices.join(", "));
    }
    let default = if is_switch { "off".to_owned() } else { code(&default) };
    let variable = flag.get_env().map(|name| code(&name.to_string_lossy())).unwrap_or_default();
    format!("| `{name}` | {variable} | {default} | {} |\n", help.replace('|', "\\|"))
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}
