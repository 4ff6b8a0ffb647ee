//! What browsers do to a tab that nobody looks at: they hide it or freeze it.

use anyhow::{Context, Result};
use fantoccini::wd::WebDriverCompatibleCommand;
use hyper::Method;
use serde_json::{Value, json};
use url::{ParseError, Url};

use crate::browser::Window;

/// A command of the Chrome DevTools Protocol, which chromedriver passes on.
#[derive(Debug)]
struct Cdp {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for Cdp {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({ "cmd": self.command, "params": self.parameters });
        (Method::POST, Some(body.to_string()))
    }
}

impl Window {
    /// Has requests fail whose address matches one of these patterns (`*/main.js`), as where the
    /// network changes meanwhile. No patterns end that.
    ///
    /// # Errors
    /// If the browser is no Chrome.
    pub async fn block(&self, patterns: &[&str]) -> Result<()> {
        self.order("Network.enable", json!({})).await?;
        let blocked = json!({ "urls": patterns });
        self.order("Network.setBlockedURLs", blocked).await
    }

    async fn order(&self, command: &'static str, parameters: Value) -> Result<()> {
        let order = Cdp {
            command,
            parameters,
        };
        let done = self.client().issue_cmd(order).await;
        done.with_context(|| format!("{command} fails"))?;
        Ok(())
    }

    /// Freezes the page as Chrome does with tabs in the background: its timers and its events stand
    /// still. Or lets it go on.
    ///
    /// # Errors
    /// If the browser is no Chrome.
    pub async fn freeze(&self, frozen: bool) -> Result<()> {
        let state = if frozen { "frozen" } else { "active" };
        self.order("Page.setWebLifecycleState", json!({ "state": state }))
            .await
    }

    /// Opens another tab before this one, which is hidden from then on, and leads further commands
    /// to it. Returns what [`Window::show`] takes.
    ///
    /// # Errors
    /// If there is no other tab.
    pub async fn hide(&self) -> Result<Hidden> {
        let client = self.client();
        let hidden = client.window().await.context("no tab")?;
        let other = client.new_window(true).await.context("no other tab")?;
        let switched = client.switch_to_window(other.handle).await;
        switched.context("no switch")?;
        Ok(Hidden(hidden))
    }

    /// Closes the tab before a hidden one, which is shown again.
    ///
    /// # Errors
    /// If the browser does not do it.
    pub async fn show(&self, Hidden(tab): Hidden) -> Result<()> {
        let client = self.client();
        client.close_window().await.context("the tab stays open")?;
        client.switch_to_window(tab).await.context("no switch")
    }

    /// Loads the page anew, as the Reload button does.
    ///
    /// # Errors
    /// If it does not load.
    pub async fn reload(&self) -> Result<()> {
        self.client().refresh().await.context("no reload")
    }
}

/// A tab behind another.
#[derive(Debug)]
pub struct Hidden(fantoccini::wd::WindowHandle);
