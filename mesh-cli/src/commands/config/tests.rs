//! What holds in the end, and where what is wrong is told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;

use super::file::File;
use super::overlay::{Environment, with_layers};
use super::{effective, print, readers};

/// The example that is delivered.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/mesh.toml");

fn environment(variables: &[(&str, &str)]) -> Environment {
    let owned = |&(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    Environment::of(variables.iter().map(owned))
}

/// A file with this text, removed in the end.
struct Written(PathBuf);

impl Written {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("mesh-config-{name}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("written");
        Self(path)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What `mesh config print` says of an option.
fn told(text: &str, option: &str) -> String {
    let line = text
        .lines()
        .find(|line| line.trim_start_matches('#').split(' ').next() == Some(option));
    let words: Vec<&str> = line.expect(option).split_whitespace().collect();
    words.join(" ")
}

fn printed(arguments: &str, file: &Path, environment: &Environment) -> String {
    let mut arguments: Vec<OsString> = arguments.split_whitespace().map(Into::into).collect();
    arguments.extend(["--config".into(), file.into()]);
    effective(None, &arguments, environment).expect("valid")
}

#[test]
fn flags_stand_over_the_environment_over_the_file_over_defaults() {
    let file = Written::new(
        "layers",
        "[agent]\nroom = \"r\"\nname = \"file\"\necho = true\n\n[mesh]\nttl = 9\npings_max = 5\n\
         adaptive = true\n",
    );
    let environment = environment(&[
        ("MESH_NAME", "variable"),
        ("MESH_TTL", "8"),
        ("MESH_ADDRESS", "127.0.0.1, ::1"),
        ("MESH_METRIC", ""),
        ("NAME", "other"),
    ]);
    let text = printed("agent --name flag --adaptive=false", &file.0, &environment);
    let path = file.0.display();
    for (option, line) in [
        ("name", "name = \"flag\" # flag --name".to_owned()),
        ("adaptive", "adaptive = false # flag --adaptive".to_owned()),
        ("ttl", "ttl = 8 # environment MESH_TTL".to_owned()),
        (
            "address",
            "address = [\"127.0.0.1\", \"::1\"] # environment MESH_ADDRESS".to_owned(),
        ),
        ("room", format!("room = \"r\" # file {path}:2")),
        ("pings_max", format!("pings_max = 5 # file {path}:8")),
        ("echo", format!("echo = true # file {path}:4")),
        ("metric", "metric = \"hops\" # default".to_owned()),
        ("k", "#k = # not set".to_owned()),
    ] {
        assert_eq!(told(&text, option), line);
    }
    assert!(
        !text.contains("[hub]"),
        "an agent reads no hub's options:\n{text}"
    );
}

#[test]
fn a_command_gets_what_is_printed() {
    let file = Written::new(
        "got",
        "[agent]\nroom = \"r\"\n[mesh]\nsparse = true\nttl = 9\n",
    );
    let argv = ["mesh", "agent", "--ttl", "7", "--config"];
    let argv: Vec<OsString> = argv
        .iter()
        .map(Into::into)
        .chain([file.0.clone().into()])
        .collect();
    let environment = environment(&[("MESH_PINGS_MAX", "6")]);
    let command = with_layers(readers(), &argv, &environment).expect("valid");
    let matches = command.try_get_matches_from(argv).expect("valid");
    let (_, agent) = matches.subcommand().expect("agent");
    assert_eq!(
        agent.get_one::<String>("room").map(String::as_str),
        Some("r")
    );
    assert_eq!(agent.get_one::<u8>("ttl"), Some(&7));
    assert_eq!(agent.value_source("ttl"), Some(ValueSource::CommandLine));
    assert_eq!(agent.get_one::<u32>("pings_max"), Some(&6));
    assert!(agent.get_flag("sparse"));
}

#[test]
fn what_excludes_an_option_that_stands_higher_is_given_up_with_it() {
    let file = Written::new("excluded", "[mesh]\nk = 4\n");
    let none = environment(&[]);
    let text = printed("up --sparse", &file.0, &none);
    assert_eq!(told(&text, "k"), "#k = # not set");
    assert_eq!(told(&text, "sparse"), "sparse = true # flag --sparse");
    let text = printed("up", &file.0, &environment(&[("MESH_SPARSE", "true")]));
    assert_eq!(told(&text, "k"), "#k = # not set");
    let both = environment(&[("MESH_SPARSE", "true"), ("MESH_K", "4")]);
    let error = effective(None, &[], &both)
        .expect_err("they exclude each other")
        .to_string();
    assert!(
        error.contains("MESH_SPARSE") && error.contains("MESH_K"),
        "{error}"
    );
}

#[test]
fn a_bad_variable_is_named_with_the_cause() {
    for (name, value, cause) in [
        ("MESH_LISTEN", "9600", "socket address"),
        ("MESH_OPEN_TIMEOUT", "10", "a duration has a unit"),
        ("MESH_AGENTS", "501", "0..=500"),
        ("MESH_SPARSE", "yes", "true"),
    ] {
        let error = effective(None, &[], &environment(&[(name, value)])).expect_err(name);
        let error = error.to_string();
        for words in [name, value, cause] {
            assert!(error.contains(words), "{error} lacks {words}");
        }
    }
}

#[test]
fn every_problem_is_told_with_its_place_and_a_remedy() {
    let text = "listen = [\"[::]:1\"]\n[hub]\nlisen = []\nlisten = 9600\n\
                clients_max = \"12\"\nadmission_timeout = 10\ntext_bytes_max = \"4MB\"\n\
                turnServers = []\n[mesh]\nenableSRTPKeyRotation = true\npingInterval = \"1s\"\n\
                room = \"x\"\n[hubb]\n[up]\nagents = 501\nx = = 1\n";
    let problems = File::parse("f", text)
        .expect_err("many problems")
        .to_string();
    let told: Vec<&str> = problems.lines().collect();
    let expected = [
        ("f:1:1: ", "below [hub]"),
        ("f:3:1: ", "is it listen?"),
        ("f:4:10: ", "text in quotes"),
        ("f:5:15: ", "without quotes"),
        ("f:6:21: ", "a duration with its unit"),
        ("f:7:18: ", "KiB"),
        ("f:8:1: ", "[[hub.ice_servers]]"),
        ("f:10:1: ", "rotate_interval"),
        ("f:11:1: ", "written ping_interval"),
        ("f:12:1: ", "below [agent]"),
        ("f:13:2: ", "is it [hub]?"),
        ("f:15:10: ", "0..=500"),
        ("f:16:1: ", "no option x"),
        ("f:16:5: ", "="),
    ];
    for (line, (place, words)) in told.iter().zip(expected) {
        assert!(
            line.starts_with(place) && line.contains(words),
            "{line} lacks {place}{words}"
        );
    }
    assert!(told.len() >= expected.len(), "{problems}");
}

#[test]
fn options_that_do_not_fit_together_are_told_where_they_stand() {
    for (text, place, words) in [
        (
            "[hub]\nping_after = \"60s\"\n",
            "f:2:1: ping_after",
            "silence_max",
        ),
        (
            "[hub]\n\nsilence_max = \"10s\"\n",
            "f:3:1: ping_after",
            "silence_max",
        ),
        ("[mesh]\nk = 3\nsparse = true\n", "f:3:1: sparse", "with k"),
        ("[mesh]\nk = 65\n", "f:2:1: k", "2 to 64"),
        (
            "[mesh]\nadaptive_failure_rate = 1.5\n",
            "f:2:1: adaptive_failure_rate",
            "1.0",
        ),
        ("[agent]\nroom = \" r\"\n", "f:2:1: room", "white space"),
        (
            "[[hub.ice_servers]]\nurls = [\"turn:t:1\"]\n",
            "f:1:7: ice_servers",
            "credential",
        ),
        (
            "[[hub.ice_servers]]\nurl = \"turn:t:1\"\n",
            "f:1:7: ice_servers",
            "`urls`",
        ),
    ] {
        let problems = File::parse("f", text).expect_err(text).to_string();
        assert!(
            problems.starts_with(place) && problems.contains(words),
            "{problems}"
        );
    }
}

#[test]
fn the_example_lists_every_option_with_its_default() {
    let delivered = std::fs::read_to_string(EXAMPLE).expect("deploy/mesh.toml");
    assert_eq!(
        delivered,
        print::example(),
        "to write it anew: cargo run -p mesh-cli -- config example > deploy/mesh.toml"
    );
    let none = environment(&[]);
    let file = Written::new("example", &delivered);
    let defaults = effective(None, &[], &none).expect("defaults");
    assert_eq!(
        effective(Some(file.0.clone()), &[], &none).expect("valid"),
        defaults
    );
    // What is commented out is what holds without it.
    let set = |line: &str| {
        let option = line.strip_prefix('#')?;
        let (key, _) = option.split_once(" = ")?;
        let is_default =
            |line: &str| line.ends_with("# default") && line.split(' ').next() == Some(key);
        defaults.lines().any(is_default).then(|| option.to_owned())
    };
    let lines = delivered
        .lines()
        .map(|line| set(line).unwrap_or_else(|| line.to_owned()));
    let text: Vec<String> = lines.collect();
    let file = Written::new("defaults", &text.join("\n"));
    let told_now = effective(Some(file.0.clone()), &[], &none).expect("valid");
    let value = |line: &str| {
        line.split(" # ")
            .next()
            .map(str::trim_end)
            .map(str::to_owned)
    };
    let values = |text: &str| text.lines().map(value).collect::<Vec<_>>();
    assert_eq!(values(&told_now), values(&defaults));
    let from_file = told_now
        .lines()
        .filter(|line| line.contains("# file "))
        .count();
    let by_default = defaults
        .lines()
        .filter(|line| line.ends_with("# default"))
        .count();
    assert_eq!(from_file, by_default);
}

#[test]
fn servers_of_the_file_are_handed_out_and_their_passwords_not_printed() {
    let secret = Written::new("secret", "pass word\n");
    let text = format!(
        "[[hub.ice_servers]]\nurls = [\"turn:t:1\"]\nusername = \"u\"\ncredential = \"hidden\"\n\
         [[hub.ice_servers]]\nurls = [\"turn:t:2\"]\nusername = \"u\"\ncredential_file = {:?}\n",
        secret.0
    );
    let file = Written::new("servers", &text);
    let printed = effective(Some(file.0.clone()), &[], &environment(&[])).expect("valid");
    let line = told(&printed, "ice_servers");
    assert!(
        line.contains("turn:t:1") && line.contains("turn:t:2"),
        "{line}"
    );
    assert!(
        !line.contains("hidden") && !line.contains("pass word"),
        "{line}"
    );
    std::fs::remove_file(&secret.0).expect("removed");
    let error = File::read(&file.0)
        .expect_err("the password is gone")
        .to_string();
    assert!(
        error.contains(":1:7: ice_servers") && error.contains("password in"),
        "{error}"
    );
}
