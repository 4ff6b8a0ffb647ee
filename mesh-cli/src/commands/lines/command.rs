//! The commands of `mesh agent`: what a line may say, and what is wrong with it otherwise.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use mesh_core::{MessageId, Payload, SendOptions};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// How alike two names must be, from 0 to 1, for one to be taken for a slip of the other.
const ALIKE: f64 = 0.8;

/// How deep arrays and objects of a line may be nested, the command among them: the limit of
/// `serde_json`, which reads them by recursion.
const DEPTH_MAX: usize = 127;

/// The largest file that a line may name: what an agent sends at once.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Every command and its fields, beside `type` and `ref`.
const COMMANDS: [(&str, &[&str]); 16] = [
    (
        "send",
        &["to", "payload", "file", "delivery", "deadlineMs", "ordered"],
    ),
    ("request", &["to", "payload", "file", "deadlineMs"]),
    ("reply", &["id", "payload", "file"]),
    ("cancel", &["id"]),
    ("broadcast", &["topic", "payload"]),
    ("subscribe", &["topics"]),
    ("avoid", &["members"]),
    ("play", &["to", "file"]),
    ("record", &["from", "id", "file"]),
    ("endTrack", &["id"]),
    ("rotateKeys", &[]),
    ("peers", &[]),
    ("routes", &[]),
    ("topology", &[]),
    ("stats", &[]),
    ("close", &[]),
];

/// What a line asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Send {
        to: String,
        payload: Payload,
        options: SendOptions,
    },
    Request {
        to: String,
        payload: Payload,
        deadline: Option<Duration>,
    },
    Reply {
        id: MessageId,
        payload: Payload,
    },
    Cancel {
        id: MessageId,
    },
    Broadcast {
        topic: String,
        payload: Payload,
    },
    Subscribe {
        topics: Option<BTreeSet<String>>,
    },
    Avoid {
        members: Vec<String>,
    },
    Play {
        to: String,
        file: PathBuf,
    },
    Record {
        from: String,
        id: String,
        file: PathBuf,
    },
    EndTrack {
        id: String,
    },
    RotateKeys,
    Peers,
    Routes,
    Topology,
    Stats,
    Close,
}

/// Reads a line: what it calls itself, null for nothing, and its command or what is wrong.
pub(super) fn parse(line: &str) -> (Value, Result<Command, String>) {
    let mut fields = match serde_json::from_str(line) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => {
            let why = r#"a command is an object, such as {"type":"peers"}"#;
            return (Value::Null, Err(why.to_owned()));
        }
        Err(error) => return (Value::Null, Err(unread(&error))),
    };
    let reference = fields.remove("ref").unwrap_or_default();
    (reference, command(fields))
}

/// Why a line cannot be read.
fn unread(error: &serde_json::Error) -> String {
    let cause = in_line(error);
    // The library has no kind of its own for this.
    match cause.strip_prefix("recursion limit exceeded") {
        Some(place) => format!(
            "nested too deep{place}: arrays and objects of a line may be nested {DEPTH_MAX} deep, \
             those of a payload {}",
            DEPTH_MAX - 1
        ),
        None => format!("no JSON: {cause}"),
    }
}

/// An error without the number of the line, which is always its first.
fn in_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at byte ")
}

fn command(mut fields: Map<String, Value>) -> Result<Command, String> {
    let kind = match fields.remove("type") {
        Some(Value::String(kind)) => kind,
        Some(other) => return Err(format!(r#""type" is {other}, not text"#)),
        None => return Err(missing("type", &fields)),
    };
    let known = COMMANDS.iter().find(|(name, _)| *name == kind);
    let Some((_, names)) = known else {
        let names = COMMANDS.map(|(name, _)| name);
        return Err(format!("there is no command {}", unknown(&kind, &names)));
    };
    if let Some(name) = fields.keys().find(|name| !names.contains(&name.as_str())) {
        let unknown = unknown(name, names);
        return Err(format!("{kind:?} has no field {unknown}"));
    }
    let mut fields = Fields(fields);
    Ok(match kind.as_str() {
        "send" => Command::Send {
            to: fields.required("to")?,
            payload: fields.payload()?,
            options: SendOptions {
                delivery: fields.optional("delivery")?.unwrap_or_default(),
                deadline: fields.deadline()?,
                ordered: fields.optional("ordered")?.unwrap_or(true),
            },
        },
        "request" => Command::Request {
            to: fields.required("to")?,
            payload: fields.payload()?,
            deadline: fields.deadline()?,
        },
        "reply" => Command::Reply {
            id: fields.required("id")?,
            payload: fields.payload()?,
        },
        "cancel" => Command::Cancel {
            id: fields.required("id")?,
        },
        "broadcast" => Command::Broadcast {
            topic: fields.optional("topic")?.unwrap_or_default(),
            payload: fields.payload()?,
        },
        "subscribe" => Command::Subscribe {
            topics: fields.required("topics")?,
        },
        "avoid" => Command::Avoid {
            members: fields.required("members")?,
        },
        "play" => Command::Play {
            to: fields.required("to")?,
            file: fields.required("file")?,
        },
        "record" => Command::Record {
            from: fields.required("from")?,
            id: fields.required("id")?,
            file: fields.required("file")?,
        },
        "endTrack" => Command::EndTrack {
            id: fields.required("id")?,
        },
        "rotateKeys" => Command::RotateKeys,
        "peers" => Command::Peers,
        "routes" => Command::Routes,
        "topology" => Command::Topology,
        "stats" => Command::Stats,
        _ => Command::Close,
    })
}

/// The fields of a command that were not read yet.
struct Fields(Map<String, Value>);

impl Fields {
    fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, String> {
        match self.0.remove(name) {
            Some(value) => read(name, value),
            None => Err(missing(name, &self.0)),
        }
    }

    /// Null is as good as nothing.
    fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, String> {
        read(name, self.0.remove(name).unwrap_or_default())
    }

    /// What a line says, or the bytes of the file that it names: a line is short.
    fn payload(&mut self) -> Result<Payload, String> {
        let Some(path) = self.optional::<PathBuf>("file")? else {
            return self.required("payload");
        };
        if self.0.contains_key("payload") {
            return Err(r#"give "payload" or "file", not both"#.to_owned());
        }
        let told = |error: std::io::Error| format!("the file {}: {error}", path.display());
        let bytes = std::fs::metadata(&path).map_err(told)?.len();
        if bytes > FILE_BYTES_MAX {
            let max = FILE_BYTES_MAX >> 20;
            return Err(format!(
                "the file has {bytes} bytes: at most {max} MiB can be sent"
            ));
        }
        std::fs::read(&path).map(Payload::Bytes).map_err(told)
    }

    fn deadline(&mut self) -> Result<Option<Duration>, String> {
        let millis: Option<u64> = self.optional("deadlineMs")?;
        Ok(millis.map(Duration::from_millis))
    }
}

fn read<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("{name:?}: {error}"))
}

fn missing(name: &str, fields: &Map<String, Value>) -> String {
    let others = fields.keys().map(String::as_str);
    let hint =
        most_alike(name, others).map_or_else(String::new, |other| format!(": is it {other:?}?"));
    format!("the field {name:?} is missing{hint}")
}

/// Names what is unknown, and what may have been meant.
fn unknown(name: &str, known: &[&str]) -> String {
    match most_alike(name, known.iter().copied()) {
        Some(meant) => format!("{name:?}: did you mean {meant:?}?"),
        None if known.is_empty() => format!("{name:?}, nor any other"),
        None => format!("{name:?}, only {}", known.join(", ")),
    }
}

fn most_alike<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    let alike = known.map(|known| (strsim::jaro_winkler(&plain(name), &plain(known)), known));
    let best = alike.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|&(likeness, _)| likeness >= ALIKE)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use mesh_core::Delivery;
    use serde_json::json;

    use super::*;

    fn error(line: &str) -> String {
        parse(line).1.expect_err(line)
    }

    #[test]
    fn commands_are_read_with_their_references() {
        let (reference, command) = parse(
            r#"{"type":"send","to":"ben","payload":{"n":1},"delivery":"acknowledged",
                "deadlineMs":250,"ordered":false,"ref":[7]}"#,
        );
        assert_eq!(reference, json!([7]));
        let expected = Command::Send {
            to: "ben".to_owned(),
            payload: Payload::Json(r#"{"n":1}"#.to_owned()),
            options: SendOptions {
                delivery: Delivery::Acknowledged,
                deadline: Some(Duration::from_millis(250)),
                ordered: false,
            },
        };
        assert_eq!(command, Ok(expected));
        for (name, fields) in COMMANDS {
            let sample = json!({
                "to": "ben", "payload": null, "delivery": null, "deadlineMs": null,
                "ordered": null, "file": null, "from": "ben",
                "id": "00-0-0-0", "topic": null, "topics": null, "members": [],
            });
            let mut line = json!({ "type": name });
            for field in fields {
                line[field] = sample[field].clone();
            }
            if ["play", "record"].contains(&name) {
                line["file"] = "a.ivf".into();
            }
            if !["reply", "cancel"].contains(&name) {
                assert!(parse(&line.to_string()).1.is_ok(), "{line}");
            }
        }
    }

    #[test]
    fn a_file_may_stand_for_the_payload_and_is_read_as_bytes() {
        let this = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let line = |file: &std::path::Path| json!({ "type": "send", "to": "b", "file": file });
        let Ok(Command::Send { payload, .. }) = parse(&line(&this).to_string()).1 else {
            panic!("a send");
        };
        assert_eq!(
            payload,
            Payload::Bytes(std::fs::read(&this).expect("it is there"))
        );
        let mut both = line(&this);
        both["payload"] = 1.into();
        assert!(error(&both.to_string()).contains("not both"));
        let missing = error(&line(std::path::Path::new("/no/such/file")).to_string());
        assert!(missing.contains("/no/such/file"), "{missing}");
    }

    #[test]
    fn what_is_nested_too_deep_is_told_with_the_limit() {
        let line = |depth| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"type":"broadcast","payload":{open}{close}}}"#)
        };
        let deepest = parse(&line(DEPTH_MAX - 1)).1;
        assert!(deepest.is_ok(), "{deepest:?}");
        let error = error(&line(DEPTH_MAX));
        for words in ["nested too deep", "127 deep", "payload 126"] {
            assert!(error.contains(words), "{error}");
        }
        assert!(!error.contains("no JSON"), "{error}");
    }

    #[test]
    fn a_misspelt_name_is_refused_with_what_was_meant() {
        for (line, words) in [
            (r#"{"type":"sned","to":"b","payload":1}"#, r#"mean "send""#),
            (
                r#"{"type":"send","to":"b","paylod":1}"#,
                r#"mean "payload""#,
            ),
            (
                r#"{"type":"send","to":"b","payload":1,"deadline_ms":1}"#,
                r#"mean "deadlineMs""#,
            ),
            (r#"{"type":"peers","room":"r"}"#, r#"no field "room""#),
            (r#"{"typ":"peers"}"#, r#"is it "typ""#),
            (r#"{"type":"jump"}"#, "send, request"),
            (r#"{"type":"subscribe"}"#, r#""topics" is missing"#),
        ] {
            let error = error(line);
            assert!(error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_by_its_name() {
        for (line, words) in [
            (r#"{"type":"send","to":5,"payload":1}"#, r#""to": invalid"#),
            (
                r#"{"type":"send","to":"b","payload":{"base64":5}}"#,
                "base64",
            ),
            (
                r#"{"type":"send","to":"b","payload":{"base64":"!"}}"#,
                "payload",
            ),
            (
                r#"{"type":"send","to":"b","payload":1,"delivery":"fast"}"#,
                "`acknowledged`",
            ),
            (r#"{"type":"subscribe","topics":"chat"}"#, r#""topics""#),
            (
                r#"{"type":"request","to":"b","payload":1,"deadlineMs":-1}"#,
                r#""deadlineMs""#,
            ),
            (r#"{"type":7}"#, r#""type" is 7"#),
            ("[]", "an object"),
            ("{", "byte 1"),
        ] {
            let error = error(line);
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
