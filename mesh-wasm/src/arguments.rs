//! What JavaScript hands over where a member, a message, a topic or options are meant, checked.
//!
//! Nothing is taken for granted: a value of the wrong type is an error that names the parameter.

use std::collections::BTreeSet;
use std::time::Duration;

use js_sys::Reflect;
use mesh_core::{MessageId, Payload, PeerId};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::MediaStreamTrack;

use crate::abort::Abort;
use crate::error::{describe, error};
use crate::payload::{self, Carried, Taken, is_unicode, kind_of, tag_of, text_of};

#[cfg(test)]
mod tests;

/// Values of one call that are iterated over: more are a mistake, and an endless iterator hangs the
/// page. A room of ten thousand fits.
const ITEMS_MAX: usize = 16_384;

/// Why a text is refused that could not arrive as it is.
const HALF: &str = "holds half a surrogate pair, which is no Unicode text";

/// The longest text that an error repeats.
const QUOTED_CHARS_MAX: usize = 60;

/// A member: its id, a row of `peers()`, or an event that names it.
///
/// # Errors
/// If it names none.
pub(crate) fn peer(method: &str, value: &JsValue) -> Result<PeerId, JsValue> {
    let refuse = |found: &str| {
        let message = format!(
            "{method}: the peer is {found}; it must be the id of a member (64 hexadecimal \
             digits), a row of peers(), or an event that came from the member"
        );
        error("peer-id", &message)
    };
    // A message has an id too, its own: whom it is from comes first.
    let text = match text_or_field(value, &["from", "peer", "id"]) {
        Ok(Some(text)) => text,
        Ok(None) => return Err(refuse(&kind_of(value))),
        Err(thrown) => return Err(refuse(&format!("unreadable ({})", describe(&thrown)))),
    };
    text.parse().map_err(|_| refuse(&quoted(&text)))
}

/// A message: its id, or the event that brought it.
///
/// # Errors
/// If it names none.
pub(crate) fn message(method: &str, value: &JsValue) -> Result<MessageId, JsValue> {
    let refuse = |found: &str| {
        let message = format!(
            "{method}: the message is {found}; it must be a `message` event, or its id as the \
             mesh gave it"
        );
        error("message-id", &message)
    };
    let text = match text_or_field(value, &["id"]) {
        Ok(Some(text)) => text,
        Ok(None) => return Err(refuse(&kind_of(value))),
        Err(thrown) => return Err(refuse(&format!("unreadable ({})", describe(&thrown)))),
    };
    text.parse().map_err(|_| refuse(&quoted(&text)))
}

/// A topic.
///
/// # Errors
/// If it is no string, or no Unicode text.
pub(crate) fn topic(method: &str, value: &JsValue) -> Result<String, JsValue> {
    if !is_unicode(value) {
        return Err(error("topic", &format!("{method}: the topic {HALF}")));
    }
    text_of(value).ok_or_else(|| {
        let found = kind_of(value);
        let message = format!(
            "{method}: the topic is {found}; it must be a string, which may be empty: \
             broadcast(topic, payload)"
        );
        error("topic", &message)
    })
}

/// A track of audio or video, of this window or another.
///
/// # Errors
/// If it is none.
pub(crate) fn track(method: &str, value: &JsValue) -> Result<MediaStreamTrack, JsValue> {
    let is_track = tag_of(value).is_ok_and(|tag| tag == "MediaStreamTrack");
    if is_track || value.is_instance_of::<MediaStreamTrack>() {
        return Ok(Clone::clone(value.unchecked_ref::<MediaStreamTrack>()));
    }
    let found = kind_of(value);
    let message = format!(
        "{method}: the track is {found}; it must be a MediaStreamTrack: one of \
         stream.getTracks(), where the stream is of getUserMedia or of a canvas' captureStream()"
    );
    Err(error("track", &message))
}

/// Topics: one as a string, several as an array, a Set or any other iterable; none for all topics.
///
/// # Errors
/// If it is anything else.
pub(crate) fn topics(value: &JsValue) -> Result<Option<BTreeSet<String>>, JsValue> {
    if value.is_undefined() || value.is_null() {
        return Ok(None);
    }
    if value.is_string() {
        return Ok(Some(BTreeSet::from([topic("subscribe", value)?])));
    }
    let refuse = |found: &str| {
        let message = format!(
            "subscribe: the topics are {found}; they must be a string or an iterable of strings, \
             or nothing for all topics"
        );
        error("topic", &message)
    };
    let mut topics = BTreeSet::new();
    for item in items(value).map_err(|found| refuse(&found))? {
        if !item.is_string() {
            return Err(refuse(&format!("with {} in it", kind_of(&item))));
        }
        topics.insert(topic("subscribe", &item)?);
    }
    Ok(Some(topics))
}

/// Members: one, or an iterable of them.
///
/// # Errors
/// If it is anything else.
pub(crate) fn peers(method: &str, value: &JsValue) -> Result<BTreeSet<PeerId>, JsValue> {
    let iterable = value.is_object()
        && Reflect::get(value, &js_sys::Symbol::iterator())
            .is_ok_and(|iterator| iterator.is_function());
    if !iterable {
        return Ok(BTreeSet::from([peer(method, value)?]));
    }
    let items = items(value).map_err(|found| {
        let message = format!("{method}: the members are {found}");
        error("peer-id", &message)
    })?;
    items.iter().map(|item| peer(method, item)).collect()
}

/// The values of an iterable, or what it is instead.
fn items(value: &JsValue) -> Result<Vec<JsValue>, String> {
    let thrown = |thrown: JsValue| format!("unreadable ({})", describe(&thrown));
    // A string is iterable too, by its letters: nobody means those.
    let iterator = match value.is_object() {
        true => js_sys::try_iter(value).map_err(thrown)?,
        false => None,
    };
    let mut items = Vec::new();
    for item in iterator.ok_or_else(|| kind_of(value))? {
        if items.len() == ITEMS_MAX {
            return Err(format!("more than {ITEMS_MAX}"));
        }
        items.push(item.map_err(thrown)?);
    }
    Ok(items)
}

/// The text itself, or the first of these fields that is one.
fn text_or_field(value: &JsValue, fields: &[&str]) -> Result<Option<String>, JsValue> {
    if let Some(text) = text_of(value) {
        return Ok(Some(text));
    }
    if !value.is_object() {
        return Ok(None);
    }
    for field in fields {
        if let Some(text) = text_of(&Reflect::get(value, &(*field).into())?) {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// A text as errors repeat it: not all of a long one.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// The options of a call.
#[derive(Debug)]
pub(crate) struct Options {
    method: &'static str,
    /// None if there are none.
    object: Option<JsValue>,
}

impl Options {
    /// Checks that there are no options but the known ones.
    ///
    /// # Errors
    /// If it is no object, or has an unknown option.
    pub(crate) fn of(
        method: &'static str,
        value: &JsValue,
        known: &[&str],
    ) -> Result<Self, JsValue> {
        if value.is_undefined() || value.is_null() {
            return Ok(Self {
                method,
                object: None,
            });
        }
        let options = Self {
            method,
            object: Some(value.clone()),
        };
        // A Date, a Map or a Promise has no options, and would be taken as none.
        let is_plain = value.is_object() && tag_of(value).is_ok_and(|tag| tag == "Object");
        if !is_plain {
            let found = kind_of(value);
            return Err(options.error(&format!("the options are {found}, not a plain object")));
        }
        let keys = Reflect::own_keys(value).map_err(|thrown| options.unreadable(&thrown))?;
        for key in keys.iter().filter_map(|key| text_of(&key)) {
            if !known.contains(&key.as_str()) {
                return Err(options.unknown(&key, known));
            }
        }
        Ok(options)
    }

    fn unknown(&self, key: &str, known: &[&str]) -> JsValue {
        let distance = |name: &&str| strsim::damerau_levenshtein(name, &key.to_lowercase());
        let near = known
            .iter()
            .map(|name| (distance(&name.to_lowercase().as_str()), *name))
            // Further away than a third of it is another word.
            .filter(|(distance, name)| *distance <= name.len().div_ceil(3))
            .min();
        let hint = match near {
            Some((_, name)) => format!("Did you mean `{name}`?"),
            None => format!("There are {}.", known.join(", ")),
        };
        self.error(&format!("there is no option {}. {hint}", quoted(key)))
    }

    /// An error about these options.
    pub(crate) fn error(&self, message: &str) -> JsValue {
        error("options", &format!("{}: {message}", self.method))
    }

    fn unreadable(&self, thrown: &JsValue) -> JsValue {
        let cause = describe(thrown);
        self.error(&format!("the options cannot be read: {cause}"))
    }

    fn wrong(&self, name: &str, found: &JsValue, wanted: &str) -> JsValue {
        let found = text_of(found).map_or_else(|| kind_of(found), |text| quoted(&text));
        self.error(&format!("`{name}` is {found}; it must be {wanted}"))
    }

    /// An option, if it is there: undefined and null are as none.
    pub(crate) fn get(&self, name: &str) -> Result<Option<JsValue>, JsValue> {
        let Some(object) = &self.object else {
            return Ok(None);
        };
        let value =
            Reflect::get(object, &name.into()).map_err(|thrown| self.unreadable(&thrown))?;
        Ok((!value.is_undefined() && !value.is_null()).then_some(value))
    }

    /// A text that must be there.
    pub(crate) fn required_text(&self, name: &str) -> Result<String, JsValue> {
        let Some(value) = self.get(name)? else {
            return Err(self.error(&format!("`{name}` is missing; it must be a string")));
        };
        if !is_unicode(&value) {
            return Err(self.error(&format!("`{name}` {HALF}")));
        }
        let text = text_of(&value);
        text.ok_or_else(|| self.wrong(name, &value, "a string"))
    }

    /// Texts that must be there: one as a string, several as an array of strings.
    pub(crate) fn required_texts(&self, name: &str) -> Result<Vec<String>, JsValue> {
        let wanted = "a string, or an array of strings";
        let Some(value) = self.get(name)? else {
            return Err(self.error(&format!("`{name}` is missing; it must be {wanted}")));
        };
        let values = match js_sys::Array::is_array(&value) {
            true => items(&value).map_err(|found| {
                self.error(&format!("`{name}` is {found}; it must be {wanted}"))
            })?,
            false => vec![value],
        };
        let texts = values.iter().map(|value| {
            if !is_unicode(value) {
                return Err(self.error(&format!("`{name}` {HALF}")));
            }
            text_of(value).ok_or_else(|| self.wrong(name, value, wanted))
        });
        texts.collect()
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, JsValue> {
        let Some(value) = self.get(name)? else {
            return Ok(None);
        };
        match value.as_bool() {
            Some(flag) => Ok(Some(flag)),
            None => Err(self.wrong(name, &value, "true or false")),
        }
    }

    pub(crate) fn whole_number(&self, name: &str) -> Result<Option<usize>, JsValue> {
        let Some(value) = self.get(name)? else {
            return Ok(None);
        };
        let number = value
            .as_f64()
            .filter(|number| number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number));
        match number {
            Some(number) => Ok(Some(number as usize)),
            None => Err(self.wrong(name, &value, "a whole number")),
        }
    }

    /// A time in milliseconds.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, JsValue> {
        let Some(value) = self.get(name)? else {
            return Ok(None);
        };
        let ms = value.as_f64().filter(|ms| *ms > 0.0);
        match ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok()) {
            Some(duration) => Ok(Some(duration)),
            None => Err(self.wrong(name, &value, "a positive number of milliseconds")),
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, JsValue> {
        let Some(value) = self.get(name)? else {
            return Ok(None);
        };
        let text = text_of(&value);
        let chosen = choices
            .iter()
            .find(|(word, _)| Some(*word) == text.as_deref());
        match chosen {
            Some((_, chosen)) => Ok(Some(*chosen)),
            None => {
                let words: Vec<_> = choices
                    .iter()
                    .map(|(word, _)| format!("\"{word}\""))
                    .collect();
                Err(self.wrong(name, &value, &words.join(" or ")))
            }
        }
    }

    /// A function to call.
    pub(crate) fn function(&self, name: &str) -> Result<Option<js_sys::Function>, JsValue> {
        let Some(value) = self.get(name)? else {
            return Ok(None);
        };
        match value.dyn_ref::<js_sys::Function>() {
            Some(function) => Ok(Some(function.clone())),
            None => Err(self.wrong(name, &value, "a function")),
        }
    }

    /// The AbortSignal among them.
    pub(crate) fn signal(&self) -> Result<Option<Abort>, JsValue> {
        let Some(value) = self.get("signal")? else {
            return Ok(None);
        };
        match Abort::of(&value) {
            Some(abort) => Ok(Some(abort)),
            None => Err(self.wrong("signal", &value, "an AbortSignal")),
        }
    }

    /// So many bytes: of a Uint8Array, or of anything else that is bytes as a payload.
    pub(crate) fn bytes<const N: usize>(&self, name: &str) -> Result<Option<[u8; N]>, JsValue> {
        let Some(value) = self.get(name)? else {
            return Ok(None);
        };
        let wanted = format!("a Uint8Array of {N} bytes");
        let Ok(Taken::Ready(Payload::Bytes(bytes))) = payload::take(&value, Carried::Whole) else {
            return Err(self.wrong(name, &value, &wanted));
        };
        match bytes.try_into() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(bytes) => {
                let found = format!("`{name}` has {} bytes; it must be {wanted}", bytes.len());
                Err(self.error(&found))
            }
        }
    }
}
