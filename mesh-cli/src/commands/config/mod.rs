//! `mesh config`: the configuration file checked, printed, and shown by an example.

mod absent;
mod file;
pub(crate) mod limits;
mod overlay;
mod print;
mod sections;
#[cfg(test)]
mod tests;
pub(crate) mod units;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Command, Subcommand};

use self::file::File;
use self::overlay::{Environment, Set};
use self::sections::{SECTIONS, Section};
use super::print as write;

pub(crate) use self::overlay::{parse, with_config};

/// Where the packages put the configuration of a service.
const SERVICE_FILE: &str = "/etc/mesh/mesh.toml";

/// Checks, prints and explains the configuration file.
#[derive(Debug, Args)]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    command: ConfigSubcommand,
}

#[derive(Debug, Subcommand)]
enum ConfigSubcommand {
    /// Tell everything that is wrong with a file, with line and column.
    ///
    /// Example: mesh config check /etc/mesh/mesh.toml
    Check {
        #[arg(default_value = SERVICE_FILE)]
        file: PathBuf,
    },
    /// Print what holds in the end, as TOML, and where each value comes from. Passwords are left
    /// out.
    ///
    /// Example: mesh config print signal --config /etc/mesh/mesh.toml --listen 127.0.0.1:9600
    Print {
        /// A file to read, where no command line follows that names one.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// A command line as it would follow `mesh`: the sections that it reads, with its flags.
        /// Without it all sections are printed.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "COMMAND LINE"
        )]
        arguments: Vec<OsString>,
    },
    /// Print a file that lists every option with its words and its default.
    Example,
}

impl ConfigCommand {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            ConfigSubcommand::Check { file } => {
                let read = File::read(&file)?;
                write(&format!(
                    "{}: fine, {} options set\n",
                    file.display(),
                    read.entries.len()
                ))
            }
            ConfigSubcommand::Print { config, arguments } => {
                write(&effective(config, &arguments, &Environment::of_process())?)
            }
            ConfigSubcommand::Example => write(&print::example()),
        }
    }
}

/// The commands that read a configuration.
fn readers() -> Command {
    use super::{agent::AgentCommand, signal::Signal, up::Up};
    let commands = [
        Signal::augment_args(Command::new("signal")),
        Up::augment_args(Command::new("up")),
        AgentCommand::augment_args(Command::new("agent")),
    ];
    let commands = commands.map(overlay::reading);
    Command::new("mesh")
        .subcommand_required(true)
        .subcommands(commands)
}

fn effective(
    config: Option<PathBuf>,
    arguments: &[OsString],
    environment: &Environment,
) -> anyhow::Result<String> {
    let mut text = String::new();
    if arguments.is_empty() {
        let path = config.or_else(|| environment.get(overlay::CONFIG).map(PathBuf::from));
        let file = path.map(|path| File::read(&path)).transpose()?;
        for section in &SECTIONS {
            let command = section.command();
            let sets = overlay::resolve(section, &command, None, environment, file.as_ref())?;
            push(&mut text, section, &sets);
        }
        return Ok(text);
    }
    let argv = std::iter::once("mesh".into()).chain(arguments.iter().cloned());
    let commands = readers().mut_subcommands(|command| {
        command.mut_args(|arg| arg.required(false)) // A file may have what is required.
    });
    let matches = commands.clone().get_matches_from(argv);
    let Some((name, given)) = matches.subcommand() else {
        return Ok(text);
    };
    let file = overlay::file_of(given, environment)?;
    let command = commands.find_subcommand(name).cloned().unwrap_or_default();
    for section in SECTIONS
        .iter()
        .filter(|section| section.commands.contains(&name))
    {
        let sets = overlay::resolve(section, &command, Some(given), environment, file.as_ref())?;
        push(&mut text, section, &sets);
    }
    Ok(text)
}

fn push(text: &mut String, section: &Section, sets: &BTreeMap<String, Set>) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&print::effective(section, sets));
}
