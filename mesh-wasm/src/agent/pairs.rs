//! Why two members are not linked: asked of both.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join;
use js_sys::Promise;
use mesh_core::agent::Line;
use mesh_core::{LinkReport, MeshError, PeerId, SendError};
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_futures::future_to_promise;

use super::{Mesh, Reply, Waiting};
use crate::abort::{Abort, unless_aborted};
use crate::arguments::{self, Options};
use crate::driver::Driver;
use crate::error;
use crate::events::to_js;

#[wasm_bindgen]
impl Mesh {
    /// Asks a member how it sees its link to another. Resolves with its report.
    #[wasm_bindgen(js_name = explainLink)]
    pub fn explain_link(&self, of: &JsValue, about: &JsValue, options: &JsValue) -> Promise {
        let question = Question::read("explainLink", of, about, options);
        let driver = Rc::clone(&self.driver);
        future_to_promise(async move {
            let question = question?;
            let Question { pair, deadline, .. } = question;
            let asked = async {
                let report = explain(&driver, pair, deadline).await;
                to_js(&report.map_err(error::mesh_error)?)
            };
            unless_aborted(question.signal.as_ref(), asked).await
        })
    }

    /// Asks two members how they see the link between them. Resolves with what there is to say of
    /// it.
    #[wasm_bindgen(js_name = diagnosePair)]
    pub fn diagnose_pair(&self, one: &JsValue, other: &JsValue, options: &JsValue) -> Promise {
        let question = Question::read("diagnosePair", one, other, options);
        let driver = Rc::clone(&self.driver);
        future_to_promise(async move {
            let question = question?;
            let Question { pair, deadline, .. } = question;
            let asked = async {
                let (one, other) = pair;
                if one == other {
                    return Err(error::mesh_error(SendError::ToSelf.into()));
                }
                let both = join(
                    explain(&driver, (one, other), deadline),
                    explain(&driver, (other, one), deadline),
                );
                let reports = both.await;
                let ends = [(one, reports.0), (other, reports.1)];
                let found = driver.call(|agent, _| agent.call(|mesh| mesh.diagnose_pair(ends)));
                to_js(&found.map_err(error::mesh_error)?)
            };
            unless_aborted(question.signal.as_ref(), asked).await
        })
    }
}

/// What both were given.
struct Question {
    pair: (PeerId, PeerId),
    deadline: Option<Duration>,
    signal: Option<Abort>,
}

impl Question {
    fn read(
        method: &'static str,
        one: &JsValue,
        other: &JsValue,
        options: &JsValue,
    ) -> Result<Self, JsValue> {
        let pair = (
            arguments::peer(method, one)?,
            arguments::peer(method, other)?,
        );
        let options = Options::of(method, options, &["deadlineMs", "signal"])?;
        Ok(Self {
            pair,
            deadline: options.duration("deadlineMs")?,
            signal: options.signal()?,
        })
    }
}

async fn explain(
    driver: &Rc<Driver>,
    pair: (PeerId, PeerId),
    deadline: Option<Duration>,
) -> Result<LinkReport, MeshError> {
    let mut waiting = Waiting::of(driver, Line::Questions);
    let asked = poll_fn(|context| {
        waiting.driver.call(|agent, now| {
            agent.poll_explain(&mut waiting.ticket, context, pair, deadline, now)
        })
    });
    let question = Reply {
        request: asked.await?,
        driver,
    };
    poll_fn(|context| driver.with(|agent| agent.poll_report(question.request, context))).await
}
