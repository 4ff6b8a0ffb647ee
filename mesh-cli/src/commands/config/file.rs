//! Reads a configuration file: its values, and every problem with its line and column.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use anyhow::Context as _;
use clap::{Arg, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::absent::{plain, words_for};
use super::sections::{Kind, SECTIONS, Section, flag, is_list, key, kind};
use crate::commands::files;

/// How much alike two names are for one to be taken for a slip of the other.
const ALIKE: f64 = 0.8;

/// A value of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) section: &'static str,
    pub(super) key: String,
    /// As they would stand on a command line.
    pub(super) values: Vec<String>,
    pub(super) line: usize,
    at: usize,
}

/// A file that was read.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) entries: Vec<Entry>,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    line: usize,
    column: usize,
    message: String,
}

/// All that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problems {
    path: String,
    list: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.list.iter().peekable();
        while let Some(Problem {
            line,
            column,
            message,
        }) = lines.next()
        {
            write!(f, "{}:{line}:{column}: {message}", self.path)?;
            if lines.peek().is_some() {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl File {
    /// Reads and checks a file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("the configuration {}", path.display());
        let bytes = files::read(path, files::TEXT_MAX).with_context(what)?;
        let text = String::from_utf8(bytes).with_context(what)?;
        Ok(Self::parse(&path.display().to_string(), &text)?)
    }

    /// As [`File::read`], of a text.
    pub(super) fn parse(path: &str, text: &str) -> Result<Self, Problems> {
        let mut reader = Reader {
            text,
            entries: Vec::new(),
            problems: Vec::new(),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            reader.refuse(at, error.message().to_owned());
        }
        reader.sections(table.get_ref());
        if reader.problems.is_empty() {
            reader.check_together();
        }
        let Reader {
            entries,
            mut problems,
            ..
        } = reader;
        let path = path.to_owned();
        if problems.is_empty() {
            return Ok(Self { path, entries });
        }
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems.dedup();
        Err(Problems {
            path,
            list: problems,
        })
    }

    /// The value of an option, if the file has it.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.section == section && entry.key == key)
    }
}

struct Reader<'a> {
    text: &'a str,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn refuse(&mut self, at: usize, message: String) {
        let (line, column) = position(self.text, at);
        self.problems.push(Problem {
            line,
            column,
            message,
        });
    }

    fn sections(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let at = name.span().start;
            let section = Section::named(name.get_ref());
            match (section, value.get_ref()) {
                (Some(section), DeValue::Table(options)) => self.options(section, options),
                (Some(section), _) => {
                    self.refuse(at, format!("[{}] is a section, not a value", section.name));
                }
                (None, DeValue::Table(_)) => self.refuse(at, unknown_section(name.get_ref())),
                (None, _) => self.refuse(at, outside(name.get_ref())),
            }
        }
    }

    fn options(&mut self, section: &'static Section, options: &DeTable<'_>) {
        let known = section.options();
        for (name, value) in options {
            let name_text: &str = name.get_ref();
            let Some(option) = known.iter().find(|option| key(option) == name_text) else {
                self.refuse(name.span().start, unknown(section, name_text));
                continue;
            };
            let read = raw_values(option, value).and_then(|values| {
                let checked = section.check_values(name_text, &values);
                let bad = |cause| (value.span(), format!("{name_text}: {cause}"));
                checked.map(|()| values).map_err(bad)
            });
            match read {
                Ok(values) => self.entries.push(Entry {
                    section: section.name,
                    key: name_text.to_owned(),
                    values,
                    line: position(self.text, name.span().start).0,
                    at: name.span().start,
                }),
                Err((span, message)) => self.refuse(span.start, message),
            }
        }
    }

    /// What each may be alone, but not with the others.
    fn check_together(&mut self) {
        for section in &SECTIONS {
            let of_section = |entry: &&Entry| entry.section == section.name;
            let entries: Vec<Entry> = self.entries.iter().filter(of_section).cloned().collect();
            let command = section.command();
            let excluded = |entry: &Entry| {
                let mut before = entries.iter().filter(|other| other.at < entry.at);
                before.find(|other| excludes(&command, &entry.key, &other.key))
            };
            let mut values = Vec::new();
            for entry in &entries {
                if let Some(other) = excluded(entry) {
                    let message = format!("{}: not together with {}", entry.key, other.key);
                    self.refuse(entry.at, message);
                } else {
                    let flag = flag(&entry.key);
                    values.extend(entry.values.iter().map(|value| format!("{flag}={value}")));
                }
            }
            let Ok(matches) = command.clone().try_get_matches_from(values) else {
                continue; // Told above.
            };
            for fault in section.check(&matches) {
                let set = |key: &str| entries.iter().find(|entry| entry.key == key);
                // The one at fault may stand at its default, and the other in the file.
                let mut words = fault.reason.split([' ', ',']);
                let at = set(fault.option).or_else(|| words.find_map(set));
                let at = at.map_or(0, |entry| entry.at);
                self.refuse(at, format!("{}: {}", fault.option, fault.reason));
            }
        }
    }
}

/// Whether of two options of a command only one may be given.
pub(super) fn excludes(command: &Command, one: &str, other: &str) -> bool {
    let conflict = |from: &str, to: &str| {
        let from = command.get_arguments().find(|arg| key(arg) == from);
        from.is_some_and(|arg| {
            command
                .get_arg_conflicts_with(arg)
                .iter()
                .any(|arg| key(arg) == to)
        })
    };
    conflict(one, other) || conflict(other, one)
}

type Bad = (Range<usize>, String);

/// The values as a command line has them.
fn raw_values(option: &Arg, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Bad> {
    let name = key(option);
    let kind = kind(option);
    match value.get_ref() {
        DeValue::Array(_) if kind == Kind::Servers => Ok(vec![json(value.get_ref()).to_string()]),
        DeValue::Array(items) if is_list(option) => items
            .iter()
            .map(|item| raw_value(name, kind, item))
            .collect(),
        // One alone needs no brackets.
        _ => raw_value(name, kind, value).map(|value| vec![value]),
    }
}

fn raw_value(name: &str, kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<String, Bad> {
    let wanted = match (kind, value.get_ref()) {
        (Kind::Boolean, DeValue::Boolean(on)) => return Ok(on.to_string()),
        (Kind::Integer | Kind::Float | Kind::Size, DeValue::Integer(number))
            if number.radix() == 10 =>
        {
            return Ok(number.as_str().replace('_', ""));
        }
        (Kind::Float, DeValue::Float(number)) => return Ok(number.as_str().replace('_', "")),
        (Kind::Text | Kind::Size | Kind::Servers, DeValue::String(text)) => {
            return Ok(text.to_string());
        }
        (Kind::Boolean, _) => "true or false belongs",
        (Kind::Integer, _) => "a whole number, without quotes, belongs",
        (Kind::Float, _) => "a number, without quotes, belongs",
        (Kind::Size, _) => "a size belongs: a number of bytes, or text like \"64KiB\",",
        (Kind::Text, DeValue::Integer(_)) => "text in quotes belongs, a duration with its unit,",
        (Kind::Text, _) => "text in quotes belongs",
        (Kind::Servers, _) => "the name of a file, or tables under [[hub.ice_servers]], belong",
    };
    let found = value.get_ref().type_str();
    Err((
        value.span(),
        format!("{name}: {wanted} here, not a value of type {found}"),
    ))
}

/// A value of TOML as one of JSON.
fn json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Boolean(on) => (*on).into(),
        DeValue::Integer(number) => number.as_str().parse::<i64>().unwrap_or_default().into(),
        DeValue::Float(number) => number.as_str().parse::<f64>().unwrap_or_default().into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let pairs = table.iter();
            pairs
                .map(|(name, value)| (name.get_ref().to_string(), json(value.get_ref())))
                .collect()
        }
    }
}

/// Where an offset lies, both counted from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

fn unknown_section(name: &str) -> String {
    let known: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    let remedy = closest(name, known.iter().copied()).map_or_else(
        || format!("they are [{}]", known.join("], [")),
        |like| format!("is it [{like}]?"),
    );
    let said = words_for(name).map_or(remedy, str::to_owned);
    format!("there is no section [{name}]: {said}")
}

fn outside(name: &str) -> String {
    let home = SECTIONS.iter().find(|section| {
        section
            .options()
            .iter()
            .any(|option| plain(key(option)) == plain(name))
    });
    let remedy = match home {
        Some(home) => format!("it belongs below [{}]", home.name),
        None => words_for(name)
            .unwrap_or("it is no option of any")
            .to_owned(),
    };
    format!("{name} stands in no section: {remedy}")
}

/// What an unknown key may have been meant for.
fn unknown(section: &Section, name: &str) -> String {
    let known: Vec<String> = options_of(section);
    let spelt = known.iter().find(|key| plain(key) == plain(name));
    let elsewhere = SECTIONS.iter().find(|other| {
        other.name != section.name
            && options_of(other)
                .iter()
                .any(|key| plain(key) == plain(name))
    });
    let remedy = if let Some(key) = spelt {
        format!("it is written {key}")
    } else if let Some(words) = words_for(name) {
        words.to_owned()
    } else if let Some(other) = elsewhere {
        format!("it belongs below [{}]", other.name)
    } else if let Some(like) = closest(name, known.iter().map(String::as_str)) {
        format!("is it {like}?")
    } else {
        "`mesh config example` lists all".to_owned()
    };
    format!("[{}] has no option {name}: {remedy}", section.name)
}

fn options_of(section: &Section) -> Vec<String> {
    section
        .options()
        .iter()
        .map(|option| key(option).to_owned())
        .collect()
}

/// The name that is most like this one, if any is.
pub(super) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let alike = known.map(|known| (strsim::jaro_winkler(&plain(name), &plain(known)), known));
    let best = alike.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(alike, _)| *alike >= ALIKE)
        .map(|(_, known)| known)
}
