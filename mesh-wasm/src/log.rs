//! What agents decide, in the page's console, if it is asked for.
//!
//! A subscriber of our own: those of crates bring the registry of spans along, which the core does
//! not use and a page would have to load.

use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use web_sys::console;

/// The words of the option, and whether decisions are told: nothing else is in a page's module.
pub(crate) const WORDS: [(&str, bool); 2] = [("debug", true), ("off", false)];

/// Whether all agents of the page tell what they decide.
static TELLS: AtomicBool = AtomicBool::new(false);

/// Has all agents of the page tell what they decide from now on, or not any more.
pub(crate) fn set(tells: bool) {
    TELLS.store(tells, Ordering::Relaxed);
    // Once it is there, or the page's own program has brought another, it stays.
    let _ = tracing::subscriber::set_global_default(Console);
    tracing::callsite::rebuild_interest_cache();
}

struct Console;

impl Subscriber for Console {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        TELLS.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match TELLS.load(Ordering::Relaxed) {
            true => LevelFilter::DEBUG,
            false => LevelFilter::OFF,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let place = event.metadata().target();
        // Not `debug`, which browsers do not show unless told to: this was asked for.
        console::log_1(&format!("{place}: {}{}", line.message, line.fields).into());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// One line: what is told, and about what.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
