//! Values of every wrong type, and of every right one.

use js_sys::{Function, Object};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

use super::*;

wasm_bindgen_test_configure!(run_in_browser);

/// What some JavaScript is, with `id` and `message` at hand.
fn value(source: &str) -> JsValue {
    let source = format!(
        "const id = {:?}, message = {:?}; return ({source});",
        id().to_string(),
        message_id().to_string()
    );
    let made = Function::new_no_args(&source).call0(&JsValue::NULL);
    made.expect("the source runs")
}

fn id() -> PeerId {
    PeerId::from_bytes([7; 32])
}

fn message_id() -> MessageId {
    MessageId {
        author: id(),
        incarnation: 1,
        target: mesh_core::Target::Room,
        sequence: 1,
    }
}

fn told(error: &JsValue) -> (String, String) {
    let get = |key: &str| {
        Reflect::get(error, &key.into())
            .expect("an error")
            .as_string()
    };
    assert_eq!(get("name").as_deref(), Some("MeshError"));
    (
        get("code").expect("a code"),
        get("message").expect("a message"),
    )
}

/// An object that throws whatever is asked of it.
const REVOKED: &str = "(({ proxy, revoke }) => (revoke(), proxy))(Proxy.revocable({}, {}))";

/// Values that are neither an id nor name one.
const WRONG: [&str; 16] = [
    REVOKED,
    "{ get id() { throw (({ proxy, revoke }) => (revoke(), proxy))(Proxy.revocable({}, {})); } }",
    "undefined",
    "null",
    "5",
    "NaN",
    "10n",
    "true",
    "Symbol('x')",
    "() => 1",
    "{}",
    "[]",
    "'x'",
    "{ id: 5 }",
    "{ id: 'x' }",
    "{ get id() { throw new Error('boom'); } }",
];

#[wasm_bindgen_test]
fn a_member_is_an_id_a_row_of_peers_or_an_event() {
    for source in [
        "id",
        "new String(id)",
        "{ id, name: 'n', direct: true }",
        "{ type: 'message', id: message, from: id }",
        "{ type: 'peerJoined', peer: id }",
        "Object.create({ id })",
    ] {
        if source == "new String(id)" {
            continue; // No string to JavaScript either: typeof says object.
        }
        assert_eq!(peer("send", &value(source)), Ok(id()), "{source}");
    }
    for source in WRONG {
        let (code, message) = told(&peer("send", &value(source)).expect_err(source));
        assert_eq!(code, "peer-id", "{source}");
        assert!(message.starts_with("send: the peer is "), "{message}");
    }
}

#[wasm_bindgen_test]
fn a_message_is_an_id_or_an_event() {
    for source in ["message", "{ type: 'message', id: message, from: id }"] {
        assert_eq!(
            message("reply", &value(source)),
            Ok(message_id()),
            "{source}"
        );
    }
    for source in WRONG {
        let (code, told) = told(&message("reply", &value(source)).expect_err(source));
        assert_eq!(code, "message-id", "{source}");
        assert!(told.starts_with("reply: the message is "), "{told}");
    }
}

#[wasm_bindgen_test]
fn a_topic_is_a_string() {
    assert_eq!(topic("broadcast", &value("''")), Ok(String::new()));
    assert_eq!(
        topic("broadcast", &value("'\\u{1f600}'")),
        Ok("\u{1f600}".to_owned())
    );
    for source in [
        "{ text: 'hi' }",
        "undefined",
        "5",
        "['a']",
        "'\\ud83d'",
        "'a\\udc00b'",
        REVOKED,
    ] {
        let (code, message) = told(&topic("broadcast", &value(source)).expect_err(source));
        assert_eq!(code, "topic");
        assert!(message.starts_with("broadcast: the topic "), "{message}");
    }
}

#[wasm_bindgen_test]
fn topics_are_a_string_or_any_iterable_of_strings() {
    let set = |topics: &[&str]| Some(topics.iter().map(|topic| (*topic).to_owned()).collect());
    for (source, wanted) in [
        ("undefined", None),
        ("null", None),
        ("'chat'", set(&["chat"])),
        ("['a', 'b']", set(&["a", "b"])),
        ("new Set(['a', 'b'])", set(&["a", "b"])),
        ("new Map([['a', 1]]).keys()", set(&["a"])),
        ("(function* () { yield 'a'; })()", set(&["a"])),
        ("[]", set(&[])),
    ] {
        assert_eq!(topics(&value(source)), Ok(wanted), "{source}");
    }
    for source in [
        "5",
        "{}",
        "{ 0: 'a', length: 1 }",
        "['a', 5]",
        "[undefined]",
        "() => 1",
        "(function* () { for (;;) yield 'a'; })()",
        "(function* () { throw new Error('boom'); })()",
        "'\\ud83d'",
        "['a', '\\ud83d']",
        REVOKED,
        "[Proxy.revocable({}, {})].map(({ proxy, revoke }) => (revoke(), proxy))",
    ] {
        let (code, message) = told(&topics(&value(source)).expect_err(source));
        assert_eq!(code, "topic", "{source}");
        assert!(message.starts_with("subscribe: the topic"), "{message}");
    }
}

#[wasm_bindgen_test]
fn members_are_one_or_any_iterable_of_them() {
    for source in ["id", "[id]", "[{ id }]", "new Set([id])", "{ id }"] {
        let members = peers("avoid", &value(source));
        assert_eq!(members, Ok(BTreeSet::from([id()])), "{source}");
    }
    assert_eq!(peers("avoid", &value("[]")), Ok(BTreeSet::new()));
    for source in ["undefined", "5", "'x'", "[5]", "[id, {}]"] {
        let (code, message) = told(&peers("avoid", &value(source)).expect_err(source));
        assert_eq!(code, "peer-id", "{source}");
        assert!(message.starts_with("avoid: "), "{message}");
    }
}

const KNOWN: [&str; 3] = ["delivery", "deadlineMs", "signal"];

#[wasm_bindgen_test]
fn a_misspelt_option_is_refused_with_a_suggestion() {
    for (source, hint) in [
        ("{ dedlineMs: 5 }", "Did you mean `deadlineMs`?"),
        ("{ deadline: 5 }", "Did you mean `deadlineMs`?"),
        ("{ deadlinems: 5 }", "Did you mean `deadlineMs`?"),
        ("{ Delivery: 'x' }", "Did you mean `delivery`?"),
        ("{ singal: null }", "Did you mean `signal`?"),
        ("{ colour: 1 }", "There are delivery, deadlineMs, signal."),
    ] {
        let refused = Options::of("send", &value(source), &KNOWN).expect_err(source);
        let (code, message) = told(&refused);
        assert_eq!(code, "options");
        assert!(
            message.starts_with("send: there is no option "),
            "{message}"
        );
        assert!(message.ends_with(hint), "{message}");
    }
}

#[wasm_bindgen_test]
fn options_of_the_wrong_type_are_named() {
    for source in [
        "5",
        "'acknowledged'",
        "[]",
        "() => 1",
        "new Date()",
        "new Map()",
        "new Set()",
        "Promise.resolve({})",
        "new Error('x')",
        "new Uint8Array()",
        REVOKED,
    ] {
        let (code, _) = told(&Options::of("send", &value(source), &KNOWN).expect_err(source));
        assert_eq!(code, "options");
    }
    let of = |source: &str| Options::of("send", &value(source), &KNOWN).expect("known options");
    for source in [
        "{ deadlineMs: -1 }",
        "{ deadlineMs: NaN }",
        "{ deadlineMs: '5' }",
    ] {
        let (_, message) = told(&of(source).duration("deadlineMs").expect_err(source));
        assert!(message.contains("`deadlineMs` is "), "{message}");
    }
    let choices = [("reliable", 1), ("datagram", 2)];
    let wrong = of("{ delivery: 'Reliable' }").choice("delivery", &choices);
    let (_, message) = told(&wrong.expect_err("no choice"));
    assert!(message.contains(r#""reliable" or "datagram""#), "{message}");
    for source in [
        "{ signal: 5 }",
        "{ signal: {} }",
        "{ signal: new AbortController() }",
    ] {
        let (_, message) = told(&of(source).signal().expect_err(source));
        assert!(message.contains("an AbortSignal"), "{message}");
    }
    assert!(
        of("{ signal: new AbortController().signal }")
            .signal()
            .expect("one")
            .is_some()
    );
    for source in ["{ room: '\\ud83d' }", "{ room: 'a\\udc00' }"] {
        let options = Options::of("join", &value(source), &["room"]).expect("known options");
        let (_, message) = told(&options.required_text("room").expect_err(source));
        assert!(message.contains("`room` holds half a"), "{message}");
    }
    for plain in [
        "Object.create(null)",
        "new (class Mine {})()",
        "new Proxy({}, {})",
    ] {
        assert!(
            Options::of("send", &value(plain), &KNOWN).is_ok(),
            "{plain}"
        );
    }
    for none in [JsValue::UNDEFINED, JsValue::NULL, Object::new().into()] {
        let options = Options::of("send", &none, &KNOWN).expect("no options");
        assert_eq!(options.duration("deadlineMs"), Ok(None));
    }
}
