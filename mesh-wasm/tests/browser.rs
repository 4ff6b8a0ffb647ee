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
    let (code, message) = refused(&[
        ("signaling", "ws://127.0.0.1:1/signal".into()),
        ("room", "r".into()),
        ("name", "n".into()),
        ("timeoutMs", 800.into()),
    ])
    .await;
    assert_eq!(code, "signaling-unreachable");
    assert!(message.contains("ws://127.0.0.1:1/signal"), "{message}");
    assert!(message.contains("mesh up"), "{message}");
}

#[wasm_bindgen_test]
async fn wrong_options_are_named() {
    let (code, message) = refused(&[("room", "r".into())]).await;
    assert_eq!(code, "options");
    assert!(message.contains("signaling"), "{message}");

    let url = ("signaling", JsValue::from("ws://127.0.0.1:1/signal"));
    let (code, _) = refused(&[url.clone(), ("room", "".into()), ("name", "n".into())]).await;
    assert_eq!(code, "config");

    let named = [("room", JsValue::from("r")), ("name", JsValue::from("n"))];
    let [room, name] = named;
    let (code, _) = refused(&[url.clone(), room.clone(), name.clone(), ("k", 1.into())]).await;
    assert_eq!(code, "config");

    let short = js_sys::Uint8Array::new_with_length(5).into();
    let (code, _) = refused(&[url, room, name, ("identity", short)]).await;
    assert_eq!(code, "options");
}

#[wasm_bindgen_test]
async fn a_url_that_is_none_fails_in_time() {
    let (code, message) = refused(&[
        ("signaling", "no url at all\u{1}".into()),
        ("room", "r".into()),
        ("name", "n".into()),
        ("timeoutMs", 300.into()),
    ])
    .await;
    assert_eq!(code, "signaling-unreachable");
    assert!(!message.is_empty());
}
