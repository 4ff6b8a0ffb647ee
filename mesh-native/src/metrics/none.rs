//! Stands for the metrics where the feature `metrics` is off.

use std::sync::Arc;

use mesh_core::{Event, Mesh, Sample};

use crate::shared::Shared;

/// The metrics of a process. Without the feature `metrics` there are none, and no value of this
/// type: [`JoinOptions::metrics`](crate::JoinOptions::metrics) is `None`.
#[derive(Clone, Debug)]
pub enum Metrics {}

impl Metrics {
    pub(crate) fn watch_agent(&self, _: &Arc<Shared>) {
        match *self {}
    }

    pub(crate) fn agent_ended(&self, _: &Arc<Shared>, _: &Mesh) {
        match *self {}
    }

    pub(crate) fn note(&self, _: &Event) {
        match *self {}
    }

    pub(crate) fn observe(&self, _: Sample) {
        match *self {}
    }
}
