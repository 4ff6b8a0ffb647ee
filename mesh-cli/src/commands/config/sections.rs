//! The sections of a configuration file, made of the options of the command line: whatever is an
//! option there is a key here and a variable of the environment, with the same name, default and
//! check. So each is written once, where its command is.

use std::any::TypeId;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::limits::Fault;
use super::units::Size;
use crate::commands::agent::AgentArgs;
use crate::commands::hub::HubArgs;
use crate::commands::ice::IceServers;
use crate::commands::mesh::MeshArgs;
use crate::commands::signal::SignalArgs;
use crate::commands::up::UpArgs;

/// What every variable of the environment begins with.
pub(super) const PREFIX: &str = "MESH_";

/// Options that stand on a command line alone: `ice_servers` does all that `ice_server` does, and
/// `turn_secret` is refused there.
const ONLY_FLAGS: [&str; 4] = ["help", "config", "ice_server", "turn_secret"];

/// A section: `[name]`, and what is in it.
pub(super) struct Section {
    pub(super) name: &'static str,
    /// What it is for, as the example tells it.
    pub(super) about: &'static str,
    /// The commands that read it.
    pub(super) commands: &'static [&'static str],
    augment: fn(Command) -> Command,
    check: fn(&ArgMatches) -> Result<Vec<Fault>, clap::Error>,
}

/// All sections, in the order in which they are printed.
pub(super) const SECTIONS: [Section; 5] = [
    Section {
        name: "hub",
        about: "The signaling server: `mesh signal`, and the one within `mesh up`.",
        commands: &["signal", "up"],
        augment: HubArgs::augment_args,
        check: |matches| Ok(HubArgs::from_arg_matches(matches)?.faults()),
    },
    Section {
        name: "signal",
        about: "The end of `mesh signal`.",
        commands: &["signal"],
        augment: SignalArgs::augment_args,
        check: |matches| Ok(SignalArgs::from_arg_matches(matches)?.faults()),
    },
    Section {
        name: "mesh",
        about: "How agents keep the mesh: those of `mesh up`, and `mesh agent`.",
        commands: &["up", "agent"],
        augment: MeshArgs::augment_args,
        check: |matches| Ok(MeshArgs::from_arg_matches(matches)?.faults()),
    },
    Section {
        name: "agent",
        about: "The one agent of `mesh agent`.",
        commands: &["agent"],
        augment: AgentArgs::augment_args,
        check: |matches| Ok(AgentArgs::from_arg_matches(matches)?.faults()),
    },
    Section {
        name: "up",
        about: "The agents that `mesh up` starts.",
        commands: &["up"],
        augment: UpArgs::augment_args,
        check: |_| Ok(Vec::new()),
    },
];

/// What a value is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Float,
    /// Text, of which durations are.
    Text,
    /// Text with a unit, or an integer.
    Size,
    /// Tables, `[[hub.ice_servers]]`, or the path of a file that has them as JSON.
    Servers,
}

impl Section {
    /// The section of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        SECTIONS.iter().find(|section| section.name == name)
    }

    /// Its options as a command line of their own, none of them required.
    pub(super) fn command(&self) -> Command {
        let command = Command::new(self.name)
            .no_binary_name(true)
            .disable_help_flag(true);
        relaxed((self.augment)(command)).mut_args(|arg| arg.required(false))
    }

    /// Its options, in their order.
    pub(super) fn options(&self) -> Vec<Arg> {
        let command = self.command();
        let options = command.get_arguments();
        options
            .filter(|arg| !ONLY_FLAGS.contains(&key(arg)))
            .cloned()
            .collect()
    }

    /// Whether these values, already checked one by one, can work together.
    pub(super) fn check(&self, matches: &ArgMatches) -> Vec<Fault> {
        // What is required may come from elsewhere: it is told when a command runs.
        (self.check)(matches).unwrap_or_default()
    }

    /// Checks the values of one option, as the command line would.
    pub(super) fn check_values(&self, key: &str, values: &[String]) -> Result<(), String> {
        let flag = flag(key);
        let options = self.options();
        let option = options.iter().find(|option| self::key(option) == key);
        if option.is_some_and(|option| kind(option) == Kind::Boolean)
            && !values
                .iter()
                .all(|value| ["true", "false"].contains(&value.as_str()))
        {
            return Err("true or false belongs here".to_owned());
        }
        let values = values.iter().map(|value| format!("{flag}={value}"));
        let parsed = self.command().try_get_matches_from(values);
        parsed.map(|_| ()).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.unwrap_or_else(|| {
                let text = error.render().to_string();
                let first = text.lines().next().unwrap_or_default();
                first.trim_start_matches("error: ").to_owned()
            })
        })
    }
}

/// What a key is called in a file.
pub(super) fn key(arg: &Arg) -> &str {
    arg.get_id().as_str()
}

/// The option of the command line for a key.
pub(super) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// The variable of the environment for a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase())
}

/// Whether an option takes several values: a list, in a file.
pub(super) fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// What an option's values are in a file.
pub(super) fn kind(arg: &Arg) -> Kind {
    let id = arg.get_value_parser().type_id();
    let is = |types: &[TypeId]| types.iter().any(|of| id == *of);
    if is(&[TypeId::of::<bool>()]) {
        Kind::Boolean
    } else if is(&[TypeId::of::<f64>()]) {
        Kind::Float
    } else if is(&[TypeId::of::<Size>()]) {
        Kind::Size
    } else if is(&[TypeId::of::<IceServers>()]) {
        Kind::Servers
    } else if is(&[
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
    ]) {
        Kind::Integer
    } else {
        Kind::Text
    }
}

/// The same command, whose switches can be turned off too: `--adaptive=false` stands over a file
/// that says `adaptive = true`.
pub(super) fn relaxed(command: Command) -> Command {
    command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue if key(&arg) != "help" => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .value_name("false")
            .hide_default_value(true)
            .hide_possible_values(true),
        _ => arg,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Options of one name in two sections would have one variable of the environment.
    #[test]
    fn a_name_means_one_thing_in_all_sections() {
        let mut seen = BTreeMap::new();
        for section in &SECTIONS {
            for option in section.options() {
                let name = key(&option).to_owned();
                if let Some(other) = seen.insert(name.clone(), section.name) {
                    let alike = ["room", "metrics"].contains(&name.as_str());
                    assert!(alike, "{name} in [{other}] and [{}]", section.name);
                }
            }
        }
    }

    #[test]
    fn each_option_has_words_and_a_flag_of_its_name() {
        for section in &SECTIONS {
            for option in section.options() {
                let name = key(&option).to_owned();
                let words = option
                    .get_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(words.len() > 8, "[{}] {name}: {words:?}", section.name);
                let long = option.get_long().map(|long| format!("--{long}"));
                assert_eq!(long, Some(flag(&name)), "[{}]", section.name);
            }
        }
    }

    #[test]
    fn defaults_pass_their_own_checks() {
        for section in &SECTIONS {
            let matches = section
                .command()
                .try_get_matches_from([""; 0])
                .expect("defaults");
            assert_eq!(section.check(&matches), [], "[{}]", section.name);
        }
    }
}
