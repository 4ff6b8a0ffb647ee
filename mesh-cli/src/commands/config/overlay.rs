//! Lays flags over the environment over the file over the defaults, in this one place.
//!
//! What the environment and the file say become the defaults of the command line: a flag stands
//! over them, and each value is read and checked as the flag would be.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use anyhow::bail;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, value_parser};

use super::file::{File, closest, excludes};
use super::sections::{PREFIX, SECTIONS, Section, flag, is_list, key, relaxed, variable};

/// The option that names the file, and the variable of the environment for it.
pub(super) const CONFIG: &str = "config";

/// The environment, as far as it is about this program.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment(BTreeMap<String, String>);

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Flag(String),
    Variable(String),
    File { path: String, line: usize },
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::File { path, line } => write!(f, "file {path}:{line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The values of an option, as a command line has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) values: Vec<String>,
    pub(super) origin: Origin,
}

impl Environment {
    /// That of this process. A variable that holds nothing counts as none.
    pub(super) fn of_process() -> Self {
        Self::of(std::env::vars_os())
    }

    pub(super) fn of(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let text = |(name, value): (OsString, OsString)| {
            let name = name
                .into_string()
                .ok()
                .filter(|name| name.starts_with(PREFIX))?;
            let value = value.to_string_lossy().into_owned();
            (!value.is_empty()).then_some((name, value))
        };
        Self(variables.filter_map(text).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(&variable(key)).map(String::as_str)
    }

    /// Warns of variables that look like slips. Others may be for other programs.
    fn warn_of_slips(&self) {
        let options = SECTIONS.iter().flat_map(Section::options);
        let known: Vec<String> = options.map(|option| variable(key(&option))).collect();
        for name in self.0.keys().filter(|name| !known.contains(name)) {
            let like = closest(name, known.iter().map(String::as_str));
            let is_slip = |like: &str| strsim::levenshtein(name, like) <= 2;
            if let Some(like) = like.filter(|like| is_slip(like)) {
                tracing::warn!("the variable {name} is not read; is it {like}?");
            }
        }
    }
}

/// Adds what every command that reads a configuration has.
pub(super) fn reading(command: Command) -> Command {
    let config = Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(
            "A file with these options, of TOML: `mesh config example` shows one. The environment \
             stands over it (MESH_ROOM for --room), and flags over both",
        );
    relaxed(command).arg(config)
}

/// Whether a command reads a configuration.
fn reads(command: &str) -> bool {
    SECTIONS
        .iter()
        .any(|section| section.commands.contains(&command))
}

/// The command whose subcommands take `--config`, where they read a configuration.
pub(crate) fn with_config(command: Command) -> Command {
    command.mut_subcommands(|sub| {
        if reads(sub.get_name()) {
            reading(sub)
        } else {
            sub
        }
    })
}

/// Parses a command line with the environment and a file below it; ends the process on a mistake in
/// the command line, as clap does.
pub(crate) fn parse(command: Command, argv: Vec<OsString>) -> anyhow::Result<ArgMatches> {
    let command = with_config(command);
    let command = with_layers(command, &argv, &Environment::of_process())?;
    Ok(command.get_matches_from(argv))
}

/// The command whose defaults are what the environment and the file say.
pub(super) fn with_layers(
    command: Command,
    argv: &[OsString],
    environment: &Environment,
) -> anyhow::Result<Command> {
    // What is wrong with the command line is told when it is parsed in earnest.
    let first = command
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(argv);
    let Ok(Some((name, given))) = first.as_ref().map(ArgMatches::subcommand) else {
        return Ok(command);
    };
    if !reads(name) {
        return Ok(command);
    }
    environment.warn_of_slips();
    let file = file_of(given, environment)?;
    let sub = command.find_subcommand(name).cloned().unwrap_or_default();
    let mut layers = BTreeMap::new();
    for section in SECTIONS
        .iter()
        .filter(|section| section.commands.contains(&name))
    {
        layers.extend(resolve(
            section,
            &sub,
            Some(given),
            environment,
            file.as_ref(),
        )?);
    }
    layers.retain(|_, set| matches!(set.origin, Origin::Variable(_) | Origin::File { .. }));
    Ok(command.mut_subcommand(name, |sub| {
        layers.into_iter().fold(sub, |sub, (key, set)| {
            sub.mut_arg(key, |arg| arg.default_values(set.values).required(false))
        })
    }))
}

/// The file that the command line or the environment names.
pub(super) fn file_of(
    given: &ArgMatches,
    environment: &Environment,
) -> anyhow::Result<Option<File>> {
    let named = given.get_one::<PathBuf>(CONFIG).cloned();
    let path = named.or_else(|| environment.get(CONFIG).map(PathBuf::from));
    path.map(|path| File::read(&path)).transpose()
}

/// Where values of options may come from.
type Source<'a> = dyn Fn(&Arg) -> anyhow::Result<Option<Set>> + 'a;

/// The value of each option of a section that has one, and where it comes from.
pub(super) fn resolve(
    section: &Section,
    command: &Command,
    given: Option<&ArgMatches>,
    environment: &Environment,
    file: Option<&File>,
) -> anyhow::Result<BTreeMap<String, Set>> {
    let options = section.options();
    let mut found: BTreeMap<String, Set> = BTreeMap::new();
    let sources: [&Source<'_>; 3] = [
        &|option| Ok(given.and_then(|given| of_flag(option, given))),
        &|option| of_environment(section, option, environment),
        &|option| Ok(file.and_then(|file| of_file(section, option, file))),
    ];
    for source in sources {
        let mut layer = BTreeMap::new();
        for option in &options {
            let name = key(option);
            // What excludes an option that was set higher up is given up with it.
            if found
                .keys()
                .any(|set| set == name || excludes(command, set, name))
            {
                continue;
            }
            if let Some(set) = source(option)? {
                layer.insert(name.to_owned(), set);
            }
        }
        if let Some((one, other)) = exclusive(command, &layer) {
            bail!(
                "{} and {} cannot both be set",
                layer[&one].origin,
                layer[&other].origin
            );
        }
        found.append(&mut layer);
    }
    for option in &options {
        let default = option.get_default_values();
        if !default.is_empty() && !found.contains_key(key(option)) {
            let values = default
                .iter()
                .map(|value| value.to_string_lossy().into_owned());
            let set = Set {
                values: values.collect(),
                origin: Origin::Default,
            };
            found.insert(key(option).to_owned(), set);
        }
    }
    Ok(found)
}

/// Two options of one origin that exclude each other. clap tells of flags.
fn exclusive(command: &Command, layer: &BTreeMap<String, Set>) -> Option<(String, String)> {
    let set = |set: &&String| !matches!(layer[*set].origin, Origin::Flag(_));
    let names: Vec<&String> = layer.keys().filter(set).collect();
    names.iter().enumerate().find_map(|(index, one)| {
        let other = names[index + 1..]
            .iter()
            .find(|other| excludes(command, one, other))?;
        Some(((*one).clone(), (*other).clone()))
    })
}

fn of_flag(option: &Arg, given: &ArgMatches) -> Option<Set> {
    let name = key(option);
    let source = given
        .try_contains_id(name)
        .ok()?
        .then(|| given.value_source(name))??;
    if source != ValueSource::CommandLine {
        return None;
    }
    let values = given
        .get_raw(name)?
        .map(|value| value.to_string_lossy().into_owned());
    Some(Set {
        values: values.collect(),
        origin: Origin::Flag(flag(name)),
    })
}

fn of_environment(
    section: &Section,
    option: &Arg,
    environment: &Environment,
) -> anyhow::Result<Option<Set>> {
    let name = key(option);
    let Some(text) = environment.get(name) else {
        return Ok(None);
    };
    let values: Vec<String> = if is_list(option) {
        text.split(',').map(|part| part.trim().to_owned()).collect()
    } else {
        vec![text.to_owned()]
    };
    if let Err(cause) = section.check_values(name, &values) {
        bail!(
            "the variable {} cannot be {text:?}: {cause}",
            variable(name)
        );
    }
    Ok(Some(Set {
        values,
        origin: Origin::Variable(variable(name)),
    }))
}

fn of_file(section: &Section, option: &Arg, file: &File) -> Option<Set> {
    let entry = file.get(section.name, key(option))?;
    let origin = Origin::File {
        path: file.path.clone(),
        line: entry.line,
    };
    Some(Set {
        values: entry.values.clone(),
        origin,
    })
}
