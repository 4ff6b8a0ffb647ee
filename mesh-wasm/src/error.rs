//! Errors as JavaScript gets them: an `Error` with a stable `code`, the same as natively.

use mesh_core::agent::AdmissionError;
use mesh_core::{ConfigError, MeshError};
use wasm_bindgen::JsValue;

use crate::payload::kind_of;

/// An `Error` named `MeshError`, with this code.
pub(crate) fn error(code: &str, message: &str) -> JsValue {
    let error = js_sys::Error::new(message);
    error.set_name("MeshError");
    let set = js_sys::Reflect::set(&error, &"code".into(), &code.into());
    debug_assert!(set.is_ok(), "errors take properties");
    error.into()
}

pub(crate) fn config_error(cause: &ConfigError) -> JsValue {
    error("config", &cause.to_string())
}

pub(crate) fn not_admitted(cause: &AdmissionError) -> JsValue {
    error(cause.code(), &cause.to_string())
}

pub(crate) fn mesh_error(cause: MeshError) -> JsValue {
    let error = error(cause.code(), &cause.to_string());
    if let Some(wait) = cause.retry_after() {
        let ms = wait.as_secs_f64() * 1e3;
        let set = js_sys::Reflect::set(&error, &"retryAfterMs".into(), &ms.into());
        debug_assert!(set.is_ok(), "errors take properties");
    }
    error
}

/// What JavaScript threw, for people.
pub(crate) fn describe(thrown: &JsValue) -> String {
    // An error of another window is no instance of ours.
    let message = js_sys::Reflect::get(thrown, &"message".into());
    match message.ok().and_then(|message| message.as_string()) {
        Some(message) => message,
        // Printing an object may throw again.
        None if thrown.is_object() => kind_of(thrown),
        None => format!("{thrown:?}"),
    }
}
