//! Browser tabs with the page in them, through WebDriver.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use fantoccini::wd::{Capabilities, TimeoutConfiguration};
use fantoccini::{Client, Locator};
use mesh_native::core::PeerId;
use serde_json::{Value, json};

use crate::driver::Driver;
use crate::hosts::Host;
use crate::member::{Member, REQUEST_DEADLINE};
use crate::report;
use crate::wait::{SOON, until};

/// The options that mesh-wasm's own tests give the browsers, and the why of each is there.
const OPTIONS: &str = include_str!("../../mesh-wasm/webdriver.json");

/// Collects what the application in the tab is told from now on.
const COLLECT: &str = "
    window.__received = [];
    (async () => {
        for await (const event of window.mesh.events()) window.__received.push(event);
    })();";

/// A browser that tests run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browser {
    /// Chrome or Chromium, by chromedriver.
    Chrome,
    /// Firefox, by geckodriver.
    Firefox,
}

/// What a browser tells pages of the addresses of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// All, and those of loopback: tests without a network need it.
    Shown,
    /// None, as users have it: candidates carry mDNS names in their place.
    Hidden,
}

/// Whether tests may use browsers; says so loudly if not.
pub fn are_wanted(test: &str) -> bool {
    let unwanted = std::env::var_os("MESH_NO_BROWSERS").is_some_and(|value| value != "0");
    if unwanted {
        report(&format!("SKIPPED (MESH_NO_BROWSERS): {test}"));
    }
    !unwanted
}

impl Browser {
    /// The environment variables of the driver and the browser, as `cargo xtask` sets them, and the
    /// driver's usual name.
    pub(crate) const fn program(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Chrome => ("CHROMEDRIVER", "CHROME", "chromedriver"),
            Self::Firefox => ("GECKODRIVER", "FIREFOX", "geckodriver"),
        }
    }

    fn capabilities(self, addresses: Addresses, more: &[String]) -> Result<Capabilities> {
        let options = match self {
            Self::Chrome => "goog:chromeOptions",
            Self::Firefox => "moz:firefoxOptions",
        };
        let mut all: Capabilities = serde_json::from_str(OPTIONS)?;
        let mut chosen = all
            .remove(options)
            .with_context(|| format!("no {options}"))?;
        let (_, variable, _) = self.program();
        if let Ok(binary) = std::env::var(variable) {
            chosen["binary"] = binary.into();
        }
        if addresses == Addresses::Hidden {
            hide_addresses(&mut chosen);
        }
        if let Some(arguments) = chosen["args"].as_array_mut() {
            arguments.extend(more.iter().map(|argument| argument.as_str().into()));
        }
        // A test that serves the page, or a TURN server, over TLS makes the certificate itself.
        let insecure = ("acceptInsecureCerts".to_owned(), true.into());
        Ok(Capabilities::from_iter([
            (options.to_owned(), chosen),
            insecure,
        ]))
    }
}

/// Takes out of a browser's options what has it tell pages the addresses of its host.
fn hide_addresses(options: &mut Value) {
    const SHOWING: [&str; 2] = ["--allow-loopback-in-peer-connection", "WebRtcHideLocalIps"];
    if let Some(Value::Array(arguments)) = options.get_mut("args") {
        let shows = |argument: &Value| {
            let argument = argument.as_str().unwrap_or_default();
            SHOWING.iter().any(|showing| argument.contains(showing))
        };
        arguments.retain(|argument| !shows(argument));
    }
    if let Some(Value::Object(preferences)) = options.get_mut("prefs") {
        preferences.retain(|name, _| !name.starts_with("media.peerconnection.ice."));
    }
}

/// A browser with any page in its only tab.
pub struct Window {
    client: Client,
    driver: Driver,
    browser: Browser,
}

impl Window {
    /// Opens an address; `more` are further command line arguments of the browser.
    ///
    /// # Errors
    /// If the browser does not start or the address does not load.
    pub async fn open(browser: Browser, more: &[String], url: &str) -> Result<Self> {
        let capabilities = browser.capabilities(Addresses::Shown, more)?;
        Self::open_by(Driver::start(browser, None)?, browser, capabilities, url).await
    }

    /// Opens an address in a browser on a host of the test's own.
    ///
    /// # Errors
    /// As [`Window::open`].
    pub async fn open_on(
        host: &Host,
        browser: Browser,
        addresses: Addresses,
        url: &str,
    ) -> Result<Self> {
        let capabilities = browser.capabilities(addresses, &[])?;
        let driver = Driver::start(browser, Some(host))?;
        Self::open_by(driver, browser, capabilities, url).await
    }

    async fn open_by(
        driver: Driver,
        browser: Browser,
        capabilities: Capabilities,
        url: &str,
    ) -> Result<Self> {
        let client = driver.connect(capabilities).await?;
        let script = Some(REQUEST_DEADLINE + SOON);
        let timeouts = TimeoutConfiguration::new(script, Some(SOON), None);
        client.update_timeouts(timeouts).await?;
        let window = Self {
            client,
            driver,
            browser,
        };
        window.goto(url).await?;
        Ok(window)
    }

    /// Goes to another address.
    ///
    /// # Errors
    /// If it does not load.
    pub async fn goto(&self, url: &str) -> Result<()> {
        let browser = self.browser;
        let loaded = self.client.goto(url).await;
        loaded.with_context(|| format!("{browser:?} cannot open {url}"))
    }

    /// Goes back to the page before this one, as the Back button does.
    ///
    /// # Errors
    /// If there is none.
    pub async fn back(&self) -> Result<()> {
        self.client
            .back()
            .await
            .context("the browser goes not back")
    }

    /// The window's size becomes this.
    ///
    /// # Errors
    /// If the browser refuses.
    pub async fn resize(&self, width: u32, height: u32) -> Result<()> {
        let resized = self.client.set_window_size(width, height).await;
        resized.with_context(|| format!("{width} by {height}"))
    }

    /// Clicks on what a selector finds, as soon as the page shows it: it draws what it knows a
    /// quarter of a second later.
    ///
    /// # Errors
    /// If it does not come [`SOON`], or it cannot be clicked.
    pub async fn click(&self, selector: &str) -> Result<()> {
        let shown = self.client.wait().at_most(SOON);
        let element = shown.for_element(Locator::Css(selector)).await;
        let clicked = element.with_context(|| selector.to_owned())?.click().await;
        clicked.with_context(|| format!("clicking on {selector}"))
    }

    /// Runs a script in the page and returns what it returns, or what its promise becomes.
    ///
    /// # Errors
    /// What the script throws.
    pub async fn evaluate(&self, script: &str, arguments: &[Value]) -> Result<Value> {
        let result = self.client.execute(script, arguments.to_vec()).await;
        let start: String = script.chars().take(200).collect();
        result.with_context(|| format!("in {:?}: {start}", self.browser))
    }

    /// The session with the driver.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The process group of the browser and its driver.
    ///
    /// # Errors
    /// If they have ended.
    pub fn group(&self) -> Result<u32> {
        self.driver.group()
    }

    /// Sends a signal to all processes of the browser, as `STOP` or `CONT`.
    ///
    /// # Errors
    /// If they have ended.
    pub async fn signal(&self, name: &str) -> Result<()> {
        self.driver.signal(name).await
    }

    /// Closes the browser, so that it cleans up behind it.
    ///
    /// # Errors
    /// If it does not close.
    pub async fn close(self) -> Result<()> {
        self.client
            .close()
            .await
            .context("the browser does not close")?;
        drop(self.driver);
        Ok(())
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("browser", &self.browser)
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}

/// A browser with the mesh's own page in its only tab.
#[derive(Debug)]
pub struct Tab {
    window: Window,
    id: PeerId,
    name: String,
}

impl Tab {
    /// Opens the page and waits until it has joined.
    ///
    /// # Errors
    /// If the browser does not start or the page does not join.
    pub async fn open(browser: Browser, url: &str) -> Result<Self> {
        let tab = Self::load(browser, url).await?;
        tab.joined(url).await
    }

    /// The same in a Chrome on a host of the test's own.
    ///
    /// # Errors
    /// As [`Tab::open`].
    pub async fn open_on(host: &Host, url: &str) -> Result<Self> {
        let window = Window::open_on(host, Browser::Chrome, Addresses::Shown, url);
        let tab = Self::of(window.await?);
        tab.joined(url).await
    }

    async fn joined(self, url: &str) -> Result<Self> {
        let browser = self.window.browser;
        let mut tab = self;
        tab.until_joined()
            .await
            .with_context(|| format!("{browser:?} at {url}"))?;
        let who = tab
            .evaluate("return [window.mesh.id, window.mesh.name]", &[])
            .await?;
        tab.id = who[0].as_str().context("the tab has no id")?.parse()?;
        tab.name = who[1].as_str().context("the tab has no name")?.to_owned();
        tab.evaluate(COLLECT, &[]).await?;
        Ok(tab)
    }

    /// Opens a page of which nothing is expected: for tests that bring their own scripts.
    ///
    /// # Errors
    /// If the browser does not start or the page does not load.
    pub async fn load(browser: Browser, url: &str) -> Result<Self> {
        Ok(Self::of(Window::open(browser, &[], url).await?))
    }

    fn of(window: Window) -> Self {
        Self {
            window,
            id: PeerId::from_bytes([0; 32]),
            name: String::new(),
        }
    }

    /// Waits until the page says that it has joined.
    ///
    /// # Errors
    /// If it does not, with what it says instead.
    pub async fn until_joined(&self) -> Result<()> {
        until("the page joins", SOON, async || {
            let look = "return [document.querySelector('#state')?.dataset.state, \
                        document.querySelector('#notice')?.innerText, !!window.mesh, \
                        performance.getEntriesByType('resource').map(({ name, responseStatus, \
                        duration }) => [name, responseStatus, duration].join(' '))]";
            let look = self.evaluate(look, &[]).await?;
            ensure!(
                look[0] == "joined" && look[2] == true,
                "the page is {}, its notice {}, what it has loaded {}",
                look[0],
                look[1],
                look[3]
            );
            Ok(())
        })
        .await
    }

    /// The browser that the tab is in.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Runs a script in the page and returns what it returns, or what its promise becomes.
    ///
    /// # Errors
    /// What the script throws.
    pub async fn evaluate(&self, script: &str, arguments: &[Value]) -> Result<Value> {
        let result = self.window.evaluate(script, arguments).await;
        result.with_context(|| format!("in the tab {:?}", self.name))
    }

    /// The text of the first element that a selector finds.
    ///
    /// # Errors
    /// If there is none.
    pub async fn text(&self, selector: &str) -> Result<String> {
        let script = "return document.querySelector(arguments[0]).textContent.trim()";
        let text = self.evaluate(script, &[selector.into()]).await?;
        Ok(text.as_str().context("no text")?.to_owned())
    }

    /// Closes the browser, so that it cleans up behind it.
    ///
    /// # Errors
    /// If it does not close.
    pub async fn close(self) -> Result<()> {
        self.window.close().await
    }
}

#[async_trait]
impl Member for Tab {
    fn id(&self) -> PeerId {
        self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    async fn table(&self, name: &str) -> Result<Value> {
        self.evaluate("return window.mesh[arguments[0]]()", &[name.into()])
            .await
    }

    async fn events(&self, kind: &str) -> Result<Vec<Value>> {
        let script = "return window.__received.filter((event) => event.type === arguments[0])";
        match self.evaluate(script, &[kind.into()]).await? {
            Value::Array(events) => Ok(events),
            other => bail!("the events of the tab {:?} are {other}", self.name),
        }
    }

    async fn request(&self, to: PeerId, payload: &str) -> Result<Value> {
        let script = "return window.mesh.request(...arguments)";
        let options = json!({ "deadlineMs": REQUEST_DEADLINE.as_millis() });
        self.evaluate(script, &[json!(to), payload.into(), options])
            .await
    }

    async fn broadcast(&self, topic: &str, payload: &str) -> Result<String> {
        let script = "return window.mesh.broadcast(...arguments)";
        let id = self
            .evaluate(script, &[topic.into(), payload.into()])
            .await?;
        Ok(id.as_str().context("a message id is a string")?.to_owned())
    }
}
