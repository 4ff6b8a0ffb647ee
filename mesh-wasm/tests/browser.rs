//! The package as a page sees it: names, errors and shapes. A whole mesh is tested end to end in
//! `tests/`, where there is a hub.
#![cfg(target_arch = "wasm32")]

use js_sys::{Object, Reflect};
use mesh_wasm::Mesh;
use wasm_bindgen::JsValue;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

fn options(pairs: &[(&str, JsValue)]) -> JsValue {
    let options = Object::new();
    for (key, value) in pairs {
        Reflect::set(&options, &(*key).into(), value).expect("objects take properties");
    }
    options.into()
}

fn get(error: &JsValue, key: &str) -> String {
    let value = Reflect::get(error, &key.into()).expect("an object");
    value.as_string().unwrap_or_default()
}

async fn refused(pairs: &[(&str, JsValue)]) -> (String, String) {
    let error = Mesh::join(options(pairs))
        .await
        .expect_err("it must not join");
    assert_eq!(get(&error, "name"), "MeshError");
    (get(&error, "code"), get(&error, "message"))
}

#[wasm_bindgen_test]
async fn an_unreachable_hub_is_named_with_the_remedy() {
    let (code, message) = refused(&with("timeoutMs", 800)).await;
    assert_eq!(code, "signaling-unreachable");
    assert!(message.contains("ws://127.0.0.1:1/signal"), "{message}");
    assert!(message.contains("mesh up"), "{message}");
}

const URL: &str = "ws://127.0.0.1:1/signal";

/// Options that are fine, but that no hub is there.
fn fine() -> Vec<(&'static str, JsValue)> {
    vec![
        ("signaling", URL.into()),
        ("room", "r".into()),
        ("name", "n".into()),
    ]
}

/// The fine options with one more, or another.
fn with(key: &'static str, value: impl Into<JsValue>) -> Vec<(&'static str, JsValue)> {
    let mut options = fine();
    options.retain(|(name, _)| *name != key);
    options.push((key, value.into()));
    options
}

#[wasm_bindgen_test]
async fn wrong_options_are_named() {
    let short = js_sys::Uint8Array::new_with_length(5);
    for (pairs, code, named) in [
        (
            vec![("room", "r".into())],
            "options",
            "`signaling` is missing",
        ),
        (
            with("signaling", 5),
            "options",
            "`signaling` is the number 5",
        ),
        (
            with("room", Object::new()),
            "options",
            "`room` is an object",
        ),
        (with("name", JsValue::NULL), "options", "`name` is missing"),
        (with("room", ""), "config", "room"),
        (with("k", 1), "config", "k"),
        (with("k", 2.5), "options", "`k` is the number 2.5"),
        (with("k", "4"), "options", "`k` is \"4\""),
        (with("sparse", "yes"), "options", "`sparse` is \"yes\""),
        (with("metric", "speed"), "options", "`metric` is \"speed\""),
        (with("identity", short), "options", "`identity` has 5 bytes"),
        (
            with("identity", "secret"),
            "options",
            "`identity` is \"secret\"",
        ),
        (
            with("timeoutMs", -1),
            "options",
            "`timeoutMs` is the number -1",
        ),
        (with("signal", true), "options", "`signal` is a boolean"),
        (with("log", "loud"), "options", "`log` is \"loud\""),
        (
            with("signalling", "ws://a/b"),
            "options",
            "Did you mean `signaling`?",
        ),
        (with("timeout", 5), "options", "Did you mean `timeoutMs`?"),
        (with("retries", 5), "options", "There are signaling, "),
    ] {
        let (told, message) = refused(&pairs).await;
        assert_eq!(told, code, "{message}");
        assert!(message.contains(named), "{message}");
    }
    for options in [
        JsValue::UNDEFINED,
        JsValue::NULL,
        5.into(),
        "ws://a/b".into(),
    ] {
        let error = Mesh::join(options).await.expect_err("no options");
        assert_eq!(get(&error, "code"), "options");
    }
}

#[wasm_bindgen_test]
async fn an_address_that_cannot_work_is_refused_at_once_with_the_remedy() {
    for (url, remedy) in [
        ("no url at all\u{1}", "it reads ws://host:9600/signal"),
        ("localhost:9600/signal", "write ws://localhost:9600/signal"),
        ("https://hub.example/a?b=c", "write wss://hub.example/a?b=c"),
        ("ws://hub.example:99999/signal", "1 to 65535"),
        ("ws://[hub.example]/signal", "the browser cannot read it"),
    ] {
        let started = js_sys::Date::now();
        let (code, message) = refused(&with("signaling", url)).await;
        assert_eq!(code, "url", "{message}");
        assert!(message.contains(remedy), "{message}");
        assert!(js_sys::Date::now() - started < 1_000.0, "{url} was dialled");
    }
}

#[wasm_bindgen_test]
async fn a_web_server_that_is_no_hub_is_named_as_such_with_its_answer() {
    // The server of these tests answers all it does not know with 404.
    let location = Reflect::get(&js_sys::global(), &"location".into()).expect("a page");
    let url = format!("ws://{}/signal", get(&location, "host"));
    let started = js_sys::Date::now();
    let (code, message) = refused(&with("signaling", url.as_str())).await;
    assert_eq!(code, "not-a-hub", "{message}");
    assert!(
        message.contains(&url) && message.contains("404"),
        "{message}"
    );
    assert!(
        js_sys::Date::now() - started < 4_000.0,
        "the whole timeout was waited"
    );
}

fn controller() -> (JsValue, JsValue) {
    let made = js_sys::eval("new AbortController()").expect("browsers have it");
    let signal = Reflect::get(&made, &"signal".into()).expect("it has a signal");
    (made, signal)
}

fn abort(controller: &JsValue, reason: &JsValue) {
    let abort = Reflect::get(controller, &"abort".into()).expect("a method");
    let abort: js_sys::Function = abort.into();
    abort.call1(controller, reason).expect("it aborts");
}

#[wasm_bindgen_test]
async fn joining_is_given_up_with_the_reason_of_the_signal() {
    for early in [true, false] {
        let (controller, signal) = controller();
        if early {
            abort(&controller, &"enough".into());
        }
        let joining = Mesh::join(options(&with("signal", signal)));
        let aborting = async {
            abort(&controller, &"enough".into());
        };
        let (joined, ()) = futures::join!(joining, aborting);
        assert_eq!(joined.expect_err("aborted"), JsValue::from("enough"));
    }
    let (controller, signal) = controller();
    abort(&controller, &JsValue::UNDEFINED);
    let error = Mesh::join(options(&with("signal", signal)));
    let error = error.await.expect_err("aborted");
    assert_eq!(get(&error, "name"), "AbortError");
}

/// Has the console's lines kept in a list as well, which this returns.
fn listen_to_console() -> js_sys::Array {
    let listen = js_sys::Function::new_no_args(
        "const lines = [], log = console.log;
         console.log = (...words) => { lines.push(words.join(' ')); log.apply(console, words); };
         return lines;",
    );
    let lines = listen.call0(&JsValue::UNDEFINED).expect("it returns");
    lines.into()
}

#[wasm_bindgen_test]
async fn the_console_tells_what_an_agent_decides_if_it_is_asked_to() {
    let lines = listen_to_console();
    let told = || lines.iter().filter_map(|line| line.as_string());
    let decided = |line: &String| line.starts_with("mesh_core::mesh::membership: ");
    let mut options = with("timeoutMs", 800);
    refused(&options).await;
    assert_eq!(told().filter(decided).count(), 0, "nobody has asked");
    options.push(("log", "debug".into()));
    refused(&options).await;
    let lost = told().filter(decided);
    let lost =
        lost.filter(|line| line.contains("go on without a hub agent=") && line.contains("hub=0"));
    assert!(lost.count() > 0, "{:?}", told().collect::<Vec<_>>());
    options.pop();
    options.push(("log", "off".into()));
    let before = told().filter(decided).count();
    refused(&options).await;
    assert_eq!(told().filter(decided).count(), before);
}
