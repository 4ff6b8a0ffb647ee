//! Odd values, as JavaScript has them.

use js_sys::Function;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

use super::*;

wasm_bindgen_test_configure!(run_in_browser);

/// The value of some JavaScript, and what becomes of it as a payload.
async fn taken(source: &str) -> Result<Payload, String> {
    let made = Function::new_no_args(&format!("return ({source});")).call0(&JsValue::NULL);
    let taken = match take(&made.expect("the source runs"), Carried::Whole) {
        Ok(taken) => taken.ready().await,
        Err(error) => Err(error),
    };
    taken.map_err(|error| {
        let code = Reflect::get(&error, &"code".into()).expect("an error");
        assert_eq!(code.as_string().as_deref(), Some("payload"), "{error:?}");
        describe(&error)
    })
}

/// An expression of a value of another window.
fn of_iframe(expression: &str) -> String {
    format!(
        "(() => {{
            const frame = document.createElement('iframe');
            document.body.append(frame);
            return frame.contentWindow.eval({expression:?});
        }})()"
    )
}

#[wasm_bindgen_test]
async fn every_kind_of_bytes_arrives_as_bytes() {
    let bytes = "new Uint8Array([0, 1, 2, 255])";
    for source in [
        bytes.to_owned(),
        format!("{bytes}.buffer"),
        format!("new DataView({bytes}.buffer)"),
        format!("new Int16Array({bytes}.buffer)"),
        "new Uint8Array([9, 0, 1, 2, 255, 9]).subarray(1, 5)".to_owned(),
        format!("new Blob([{bytes}])"),
        format!("new File([{bytes}], 'name')"),
        of_iframe(bytes),
        of_iframe(&format!("{bytes}.buffer")),
        of_iframe(&format!("new DataView({bytes}.buffer)")),
        of_iframe(&format!("new Blob([{bytes}])")),
        format!(
            "(() => {{
                const memory = new WebAssembly.Memory({{ initial: 1, maximum: 1, shared: true }});
                const view = new Uint8Array(memory.buffer, 0, 4);
                view.set({bytes});
                return view;
            }})()"
        ),
    ] {
        let payload = taken(&source).await;
        assert_eq!(payload, Ok(Payload::Bytes(vec![0, 1, 2, 255])), "{source}");
    }
    // Pages have no constructor of it by name, unless they are isolated from other origins.
    let memory = "new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })";
    let shared = format!("new ({memory}.buffer.constructor)(3)");
    assert_eq!(taken(&shared).await, Ok(Payload::Bytes(vec![0; 3])));
}

#[wasm_bindgen_test]
async fn bytes_are_those_at_the_time_of_the_call() {
    let bytes = Uint8Array::from(&[1, 2][..]);
    let taken = take(&bytes, Carried::Whole).expect("bytes");
    bytes.fill(9, 0, 2);
    assert_eq!(taken.ready().await, Ok(Payload::Bytes(vec![1, 2])));
}

#[wasm_bindgen_test]
async fn what_json_says_is_sent_as_json_stringify_says_it() {
    for (source, json) in [
        ("null", "null"),
        ("5", "5"),
        ("[1, 'a', [true]]", r#"[1,"a",[true]]"#),
        (
            "({ at: new Date(0) })",
            r#"{"at":"1970-01-01T00:00:00.000Z"}"#,
        ),
        ("new (class Point { x = 1; })()", r#"{"x":1}"#),
        ("Object.assign(Object.create(null), { x: 1 })", r#"{"x":1}"#),
        ("{ toJSON() { return [7]; } }", "[7]"),
        (
            "(() => { const twice = [1]; return [twice, twice]; })()",
            "[[1],[1]]",
        ),
    ] {
        assert_eq!(
            taken(source).await,
            Ok(Payload::Json(json.into())),
            "{source}"
        );
    }
    let framed = of_iframe("({ a: [new Date(0)] })");
    let json = r#"{"a":["1970-01-01T00:00:00.000Z"]}"#;
    assert_eq!(taken(&framed).await, Ok(Payload::Json(json.into())));
    assert_eq!(taken("'hi'").await, Ok(Payload::Text("hi".into())));
}

#[wasm_bindgen_test]
async fn what_json_cannot_say_is_refused_with_its_path() {
    for (source, told) in [
        ("undefined", "payload: undefined"),
        ("NaN", "payload: NaN"),
        ("{ a: [1, 2, 3, { b: NaN }] }", "payload.a[3].b: NaN"),
        ("{ a: -Infinity }", "payload.a: -Infinity"),
        ("{ a: 10n }", "payload.a: a BigInt"),
        ("{ a: undefined }", "payload.a: undefined"),
        ("[, 1]", "payload[0]: undefined"),
        ("{ 'my key': () => 1 }", "payload[\"my key\"]: a function"),
        ("[Symbol('x')]", "payload[0]: a symbol"),
        ("new Map([[1, 2]])", "payload: a Map"),
        ("{ seen: new Set() }", "payload.seen: a Set"),
        ("new TypeError('x')", "payload: an Error"),
        ("{ cause: new Error('x') }", "payload.cause: an Error"),
        ("Promise.resolve(1)", "payload: a Promise"),
        ("/x/", "payload: a RegExp"),
        ("document.body", "payload: a HTMLBodyElement"),
        (
            "{ bytes: new Uint8Array(2) }",
            "payload.bytes: a Uint8Array",
        ),
        ("{ file: new Blob([]) }", "payload.file: a Blob"),
        (
            "(() => { const a = { b: [] }; a.b.push(a); return a; })()",
            "payload.b[0]: it refers back",
        ),
        (
            "{ get a() { throw new Error('boom'); } }",
            "payload: reading it failed: boom",
        ),
        ("'\\ud800'", "payload: the string holds half"),
        ("{ a: ['\\udc00'] }", "payload.a[0]: the string holds half"),
    ] {
        let error = taken(source).await.expect_err(source);
        assert!(error.starts_with(told), "{source}: {error}");
    }
    for part in ["view", "view.buffer"] {
        let detached = format!(
            "(() => {{
                const view = new Uint8Array(2);
                structuredClone(view.buffer, {{ transfer: [view.buffer] }});
                return {part};
            }})()"
        );
        let error = taken(&detached).await.expect_err("nothing is in it");
        assert!(error.contains("detached"), "{error}");
    }
}

#[wasm_bindgen_test]
fn what_is_too_large_is_refused_before_it_is_copied() {
    for source in [
        "'x'.repeat(2 ** 28)",
        "new Uint8Array(2 ** 28)",
        "new ArrayBuffer(2 ** 28)",
        "new Blob([new Uint8Array(2 ** 20)])",
        "['x'.repeat(2 ** 20)]",
    ] {
        let made = Function::new_no_args(&format!("return ({source});")).call0(&JsValue::NULL);
        let made = made.expect("the source runs");
        let error = take(&made, Carried::Whole).expect_err(source);
        let code = Reflect::get(&error, &"code".into()).expect("an error");
        assert_eq!(code.as_string().as_deref(), Some("too-large"), "{source}");
        // What is for one member may be larger, and has a bound too.
        let is_refused = take(&made, Carried::InParts).is_err();
        assert_eq!(is_refused, source.contains("28"), "{source}");
    }
}

#[wasm_bindgen_test]
async fn nesting_is_bounded() {
    // Made step by step: parsers of JavaScript have limits of their own.
    let nested = |depth: usize| {
        format!(
            "(() => {{
                let nested = [];
                for (let depth = 1; depth < {depth}; depth++) nested = [nested];
                return nested;
            }})()"
        )
    };
    let json = format!(
        "{}{}",
        "[".repeat(JSON_DEPTH_MAX),
        "]".repeat(JSON_DEPTH_MAX)
    );
    assert_eq!(mesh_core::check_json(&json), Ok(()));
    assert_eq!(
        taken(&nested(JSON_DEPTH_MAX)).await,
        Ok(Payload::Json(json))
    );
    for depth in [JSON_DEPTH_MAX + 1, 3_000, 100_000] {
        let error = taken(&nested(depth)).await.expect_err("too deep");
        assert!(error.contains("nested deeper than 128"), "{error}");
    }
}

#[wasm_bindgen_test]
fn numbers_beyond_two_to_the_53_are_shown_as_json_parse_has_them() {
    let json = r#"{"ts":1795835072076000000}"#;
    let shown = show(&Payload::Json(json.into())).expect("JSON");
    let parsed = js_sys::JSON::parse(json).expect("JSON");
    let ts = |value: &JsValue| Reflect::get(value, &"ts".into()).expect("an object");
    assert!(ts(&shown).as_f64().is_some());
    assert_eq!(ts(&shown), ts(&parsed));
}
