//! PROTOCOL.md as the tests read it: golden blocks, and tables that say where in the code each of
//! their values stands.
//!
//! A block or table is found by the comment before it: `<!-- golden: name -->` or
//! `<!-- table: name -->`. Beside those, every row of any table whose last cell names a place in
//! the code (`Config::ttl`, or `NAME in path.rs`) is compared with that place.

use crate::config::{Config, HubConfig};

/// The document itself.
const TEXT: &str = include_str!("../../PROTOCOL.md");

/// Files of the core, read in by their paths.
macro_rules! sources {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!($path))),*] };
}

/// Paths and texts of the files whose constants PROTOCOL.md may name.
const SOURCES: &[(&str, &str)] = sources![
    "config.rs",
    "link_report.rs",
    "links/dialer.rs",
    "links/lane.rs",
    "links/liveness.rs",
    "links/media.rs",
    "links/mod.rs",
    "links/negotiation.rs",
    "links/packets.rs",
    "links/path.rs",
    "links/queue.rs",
    "links/restart.rs",
    "links/shares.rs",
    "links/silent.rs",
    "links/succession.rs",
    "links/traffic.rs",
    "media.rs",
    "messages/arrivals.rs",
    "messages/broadcast.rs",
    "messages/explain.rs",
    "messages/incoming.rs",
    "messages/large/mod.rs",
    "messages/notices.rs",
    "messages/outgoing.rs",
    "messages/replay.rs",
    "messages/stream/inbox.rs",
    "messages/stream/lateness.rs",
    "messages/stream/mod.rs",
    "messages/stream/news.rs",
    "messages/stream/outbox.rs",
    "messages/stream/window.rs",
    "messages/streams.rs",
    "metric.rs",
    "overlay/join_burst.rs",
    "overlay/mod.rs",
    "overlay/selection.rs",
    "payload.rs",
    "routing/anti_entropy.rs",
    "routing/database.rs",
    "routing/flooding.rs",
    "routing/mod.rs",
    "routing/routes.rs",
    "routing/throttle.rs",
    "routing/verify_queue.rs",
    "signaling/claims.rs",
    "signaling/client.rs",
    "signaling/conversation.rs",
    "signaling/crowd.rs",
    "signaling/room.rs",
    "topology/shards.rs",
    "wire/chunk.rs",
    "wire/frame.rs",
    "wire/statement.rs",
];

/// Checks that a golden block says this, however it is spaced.
pub(crate) fn assert_golden(name: &str, expected: &str) {
    let marker = format!("<!-- golden: {name} -->");
    let block = TEXT
        .split_once(&marker)
        .and_then(|(_, after)| after.split("```").nth(1));
    let Some(block) = block else {
        panic!("PROTOCOL.md lacks {marker}\n```text\n{expected}\n```");
    };
    let (_, shown) = block.split_once('\n').unwrap_or_default();
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(bare(shown), bare(expected), "{name}:\n{expected}");
}

/// The rows of a table, without its head.
pub(crate) fn table(name: &str) -> Vec<Vec<String>> {
    let marker = format!("<!-- table: {name} -->");
    let (_, after) = TEXT
        .split_once(&marker)
        .unwrap_or_else(|| panic!("PROTOCOL.md lacks {marker}"));
    let lines = after.trim_start().lines();
    let rows: Vec<_> = lines.map_while(cells).skip(2).collect();
    assert!(!rows.is_empty(), "the table {name} is empty");
    rows
}

/// The cells of a line of a table, without the marks of code.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let cell = |cell: &str| cell.replace('`', "").trim().to_owned();
    Some(inner.split('|').map(cell).collect())
}

/// A number, of seconds or of anything else.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Value {
    number: f64,
    is_time: bool,
}

impl Value {
    /// `1,000`, `1_000`, `4 MiB`, `1.5 s`, `1.5s`.
    fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !(c.is_ascii_digit() || "._,".contains(c)));
        let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
        let number: f64 = digits.replace([',', '_'], "").parse().ok()?;
        let (factor, is_time) = match unit.trim() {
            "" => (1.0, false),
            "KiB" => (1024.0, false),
            "MiB" => (1024.0 * 1024.0, false),
            "µs" => (1e-6, true),
            "ms" => (1e-3, true),
            "s" => (1.0, true),
            _ => return None,
        };
        let number = number * factor;
        Some(Self { number, is_time })
    }

    fn agrees(self, other: Self) -> bool {
        let near = (self.number - other.number).abs() <= 1e-9 * self.number.abs();
        near && self.is_time == other.is_time
    }

    /// What an expression of the code is worth, if it is as simple as those of constants are.
    fn evaluate(code: &str) -> Option<Self> {
        let code = code.trim();
        if let Some((left, right)) = code.split_once(".saturating_mul(") {
            return Self::evaluate(&format!("{left} * {}", right.strip_suffix(')')?));
        }
        type Operation = fn(f64, f64) -> f64;
        let operations: [(&str, Operation); 4] = [
            (" - ", |a, b| a - b),
            (" << ", |a, b| a * b.exp2()),
            (" * ", |a, b| a * b),
            (" / ", |a, b| a / b),
        ];
        for (sign, operation) in operations {
            if let Some((left, right)) = code.rsplit_once(sign) {
                let (left, right) = (Self::evaluate(left)?, Self::evaluate(right)?);
                let number = operation(left.number, right.number);
                return Some(Self { number, ..left });
            }
        }
        for (call, unit) in [("secs", "s"), ("millis", "ms"), ("micros", "µs")] {
            let call = format!("Duration::from_{call}(");
            if let Some(argument) = code.strip_prefix(&call) {
                return Self::parse(&format!("{}{unit}", argument.strip_suffix(')')?));
            }
        }
        let code = code.split_once(" as ").map_or(code, |(value, _)| value);
        Self::parse(code).or_else(|| {
            SOURCES
                .iter()
                .find_map(|(path, _)| Self::constant(path, code))
        })
    }

    fn constant(path: &str, name: &str) -> Option<Self> {
        let (_, source) = SOURCES.iter().find(|(known, _)| *known == path)?;
        let (_, after) = source.split_once(&format!("const {name}: "))?;
        let (declaration, _) = after.split_once(';')?;
        Self::evaluate(declaration.split_once(" = ")?.1)
    }
}

/// The numbers of a configuration, by the names of their fields.
fn numbers(configuration: &str, debug: &str) -> Vec<(String, Value)> {
    let fields = debug.lines().filter_map(|line| line.split_once(": "));
    let numbers = fields.filter_map(|(name, value)| {
        let value = Value::parse(value.trim_end_matches(','))?;
        Some((format!("{configuration}::{}", name.trim()), value))
    });
    numbers.collect()
}

fn configured() -> Vec<(String, Value)> {
    let agent = Config::new("room", "name").expect("valid");
    let agent = numbers("Config", &format!("{agent:#?}"));
    let hub = numbers("HubConfig", &format!("{:#?}", HubConfig::default()));
    assert!(agent.len() > 30 && hub.len() > 8);
    [agent, hub].concat()
}

/// Every value of a row that says where its values stand: the place, and the value.
fn placed() -> Vec<(String, String)> {
    let mut placed = Vec::new();
    for row in TEXT.lines().filter_map(cells) {
        let [.., values, places] = &row[..] else {
            continue;
        };
        if places.contains("Config::") || places.contains(".rs") {
            let values = values.replace(" to ", ", ");
            let (places, values) = (places.split(", "), values.split(", "));
            assert_eq!(places.clone().count(), values.clone().count(), "{row:?}");
            placed.extend(
                places
                    .zip(values)
                    .map(|(place, value)| (place.into(), value.into())),
            );
        }
    }
    placed
}

#[test]
fn values_in_protocol_md_are_those_of_the_code() {
    let configured = configured();
    for (place, shown) in placed() {
        let in_code = match place.split_once(" in ") {
            Some((name, path)) => Value::constant(path, name),
            None => configured
                .iter()
                .find(|(name, _)| *name == place)
                .map(|(_, value)| *value),
        };
        let in_code = in_code.unwrap_or_else(|| panic!("there is no constant {place}"));
        let value = Value::parse(&shown).unwrap_or_else(|| panic!("{place}: no value {shown:?}"));
        assert!(
            value.agrees(in_code),
            "PROTOCOL.md says {place} is {shown}, it is {in_code:?}"
        );
    }
}

#[test]
fn every_number_of_a_configuration_is_in_protocol_md() {
    let placed = placed();
    for (name, value) in configured() {
        let is_told = placed.iter().any(|(place, _)| *place == name);
        assert!(is_told, "PROTOCOL.md lacks a row for {name} ({value:?})");
    }
}

#[test]
fn expressions_are_read_as_the_compiler_does() {
    for (code, shown) in [
        ("Duration::from_millis(1_500)", "1.5 s"),
        ("4 << 20", "4 MiB"),
        ("64 * 1024", "64 KiB"),
        ("1.0 / 32.0", "0.03125"),
        ("FRAME_BYTES_MAX - 512", "15,872"),
        ("2 * SPAN_MAX as usize * SLOT_BYTES", "2 MiB"),
        ("SEEK_AFTER.saturating_mul(5)", "5 s"),
    ] {
        let (code, shown) = (Value::evaluate(code), Value::parse(shown));
        assert!(code.expect("read").agrees(shown.expect("read")), "{code:?}");
    }
    let (time, count) = (Value::parse("5 s"), Value::parse("5"));
    assert!(!time.expect("read").agrees(count.expect("read")));
    assert_eq!(Value::evaluate("nothing"), None);
}
