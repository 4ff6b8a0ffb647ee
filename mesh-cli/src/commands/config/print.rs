//! Writes configurations: the effective one with the origin of each value, and the example.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Arg;

use super::overlay::Set;
use super::sections::{Kind, SECTIONS, Section, is_list, key, kind};

/// What stands in the place of a secret.
const REDACTED: &str = "(redacted)";

/// The column at which origins begin, where values are short.
const ORIGIN_COLUMN: usize = 34;

/// The longest line of the example.
const COLUMNS: usize = 98;

const EXAMPLE_HEAD: &str = "\
# The configuration of `mesh signal`, `mesh up` and `mesh agent`, read with --config FILE.
#
# Each line that is commented out shows a default. An option of the command line has the same name
# with dashes, --open-timeout, and stands over the environment, MESH_OPEN_TIMEOUT, where a list is
# separated by commas. That stands over this file. `mesh config check FILE` tells what is wrong with
# a file, `mesh config print --config FILE` what holds in the end. `mesh config example` wrote this.
";

const SERVERS_EXAMPLE: &str = "\
# STUN and TURN servers that members should use, a table each. Every member gets to know all of it.
# A credential may stand here, or alone in a file. The environment has them as JSON.
#[[hub.ice_servers]]
#urls = [\"turn:turn.example.org:3478\"]
#username = \"mesh\"
#credential_file = \"/etc/mesh/turn.secret\"
";

/// One section as it is in the end.
pub(super) fn effective(section: &Section, sets: &BTreeMap<String, Set>) -> String {
    let mut text = format!("[{}]\n", section.name);
    for option in section.options() {
        let name = key(&option);
        let (line, origin) = match sets.get(name) {
            Some(Set { values, origin }) => (
                format!("{name} = {}", value(&option, values)),
                origin.to_string(),
            ),
            None => (format!("#{name} ="), "not set".to_owned()),
        };
        let _ = writeln!(text, "{line:<ORIGIN_COLUMN$} # {origin}"); // A String takes all.
    }
    text
}

/// All options, commented out, with their words and defaults.
pub(super) fn example() -> String {
    let mut text = EXAMPLE_HEAD.to_owned();
    for section in &SECTIONS {
        let _ = write!(text, "\n# {}\n[{}]\n", section.about, section.name);
        let (tables, options): (Vec<_>, Vec<_>) = section
            .options()
            .into_iter()
            .partition(|option| kind(option) == Kind::Servers);
        for option in &options {
            let words = option.get_long_help().or(option.get_help());
            let words = words.map(ToString::to_string).unwrap_or_default();
            text.push('\n');
            wrapped(&mut text, &words.replace('\n', " "));
            let default = option.get_default_values().iter();
            let default: Vec<String> = default
                .map(|value| value.to_string_lossy().into_owned())
                .collect();
            let shown = match default.is_empty() {
                true if is_list(option) => "[]".to_owned(),
                true => String::new(),
                false => value(option, &default),
            };
            let _ = writeln!(text, "{}", format!("#{} = {shown}", key(option)).trim_end());
        }
        // Tables end the section that they stand in.
        for _ in tables {
            let _ = write!(text, "\n{SERVERS_EXAMPLE}");
        }
    }
    text
}

fn wrapped(text: &mut String, words: &str) {
    let mut line = "#".to_owned();
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS {
            let _ = writeln!(text, "{line}");
            line = "#".to_owned();
        }
        let _ = write!(line, " {word}");
    }
    let stop = if line.ends_with('.') || line.ends_with(']') {
        ""
    } else {
        "."
    };
    let _ = writeln!(text, "{line}{stop}"); // clap takes the last full stop away.
}

/// Values as TOML, without secrets.
fn value(option: &Arg, values: &[String]) -> String {
    let kind = kind(option);
    let one = |value: &String| match kind {
        Kind::Boolean | Kind::Integer | Kind::Float => value.clone(),
        Kind::Servers if value.trim_start().starts_with('[') => servers(value),
        Kind::Size | Kind::Text | Kind::Servers => quoted(&without_password(value)),
    };
    let all: Vec<String> = values.iter().map(one).collect();
    match (is_list(option), all.as_slice()) {
        (false, [one]) => one.clone(),
        _ => format!("[{}]", all.join(", ")),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A list of servers, of JSON, as inline tables.
fn servers(json: &str) -> String {
    let Ok(mut servers) = serde_json::from_str::<toml::Value>(json) else {
        return quoted(REDACTED); // What cannot be read may be a secret.
    };
    for server in servers.as_array_mut().into_iter().flatten() {
        if let Some(secret) = server.get_mut("credential") {
            *secret = REDACTED.into();
        }
    }
    servers.to_string()
}

/// What stands before another password in the URL of Sentinels.
const SENTINEL_PASSWORD: &str = "sentinel_password=";

/// A URL without its passwords.
fn without_password(text: &str) -> String {
    let text = without_user_password(text);
    let Some((before, rest)) = text.split_once(SENTINEL_PASSWORD) else {
        return text;
    };
    let after = rest.find(['&', '#']).map_or("", |end| &rest[end..]);
    format!("{before}{SENTINEL_PASSWORD}{REDACTED}{after}")
}

fn without_user_password(text: &str) -> String {
    let redacted = || {
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.split('/').next()?;
        let (user, _) = authority.rsplit_once('@')?.0.split_once(':')?;
        let after = &rest[authority.rfind('@')?..];
        Some(format!("{scheme}://{user}:{REDACTED}{after}"))
    };
    redacted().unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_printed() {
        assert_eq!(
            without_password("redis://mesh:pass@word@db.example.org:6379/0"),
            "redis://mesh:(redacted)@db.example.org:6379/0"
        );
        assert_eq!(
            without_password("redis+sentinel://me:a@one,two/m?sentinel_password=b&prefix=c"),
            "redis+sentinel://me:(redacted)@one,two/m?sentinel_password=(redacted)&prefix=c"
        );
        for plain in [
            "ws://localhost:9600/signal",
            "redis://db/0",
            "[::]:9600",
            "a:b@c",
        ] {
            assert_eq!(without_password(plain), plain);
        }
        let printed = servers(r#"[{"urls":["turn:t:1"],"username":"u","credential":"secret"}]"#);
        assert!(
            printed.contains("turn:t:1") && !printed.contains("secret"),
            "{printed}"
        );
    }
}
