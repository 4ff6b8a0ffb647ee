//! Agents in browser tabs: Chrome and Firefox in turn, without a window, each with the page
//! `drive.html`, which takes the lines of `mesh agent` over a WebSocket.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::process::Join;
use super::remote::{LINES, Lines};

/// The options of the browsers that test the package, and the why of each is there.
const OPTIONS: &str = include_str!(env!("MESH_WEBDRIVER"));

/// How long a browser may take to start and to load the page.
const STARTING: Duration = Duration::from_secs(60);

/// The browsers: the options' key, the variable that names the program, its usual names.
const BROWSERS: [(&str, &str, &[&str]); 2] = [
    (
        "goog:chromeOptions",
        "CHROME",
        &["google-chrome", "chromium", "chromium-browser", "chrome"],
    ),
    ("moz:firefoxOptions", "FIREFOX", &["firefox"]),
];

/// A browser, which ends with this.
#[derive(Debug)]
pub(super) struct Browser {
    _child: Child,
    profile: PathBuf,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // What the browser still writes there is in a folder for such.
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Starts the browser with this number; its tab joins as it is told.
pub(super) async fn start(number: usize, join: &Join) -> anyhow::Result<(Browser, Lines)> {
    let (key, variable, names) = BROWSERS[number % BROWSERS.len()];
    let program = program(variable, names)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let page = page(join, listener.local_addr()?.port())?;
    let profile = format!("mesh-load-test-{}-{number}", std::process::id());
    let profile = std::env::temp_dir().join(profile);
    std::fs::create_dir_all(&profile).context("no folder for the browser's profile")?;
    let options: Value = serde_json::from_str(OPTIONS)?;
    let options = &options[key];
    let mut command = Command::new(&program);
    command.args(
        options["args"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str),
    );
    if options["prefs"].is_object() {
        write_preferences(&profile, &options["prefs"])?;
        command.arg("--no-remote").arg("--profile").arg(&profile);
    } else {
        command.arg(format!("--user-data-dir={}", profile.display()));
    }
    command
        .arg(&page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command.kill_on_drop(true).spawn();
    let child = child.with_context(|| format!("{} cannot be started", program.display()))?;
    let browser = Browser {
        _child: child,
        profile,
    };
    let socket = timeout(STARTING, accept(&listener)).await;
    let socket = socket.with_context(|| {
        let program = program.display();
        format!("{program} has not opened {page}, which a server has with --drive-page")
    })??;
    Ok((browser, lines_of(socket)))
}

fn program(variable: &str, names: &[&str]) -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(variable) {
        return Ok(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let found = names.iter().find_map(|name| {
        let mut places = folders.iter().map(|folder| folder.join(name));
        places.find(|place| place.is_file())
    });
    let Some(found) = found else {
        bail!(
            "there is no {} here: install it, name it in {variable}, or leave --browsers out",
            names[0]
        );
    };
    Ok(found)
}

/// The page on the signaling server, told whom to join and whose lines to take.
fn page(join: &Join, port: u16) -> anyhow::Result<String> {
    let first = join.signaling.first().context("no signaling server")?;
    let host = first.strip_prefix("ws").context("no WebSocket URL")?;
    let host = host
        .strip_suffix("/signal")
        .context("its path is not /signal: no page there")?;
    let Join {
        room,
        name,
        k,
        metric,
        ..
    } = join;
    Ok(format!(
        "http{host}/drive.html?room={room}&name={name}&k={k}&metric={metric}&control={port}"
    ))
}

fn write_preferences(profile: &Path, preferences: &Value) -> anyhow::Result<()> {
    let preferences = preferences.as_object().into_iter().flatten();
    let lines = preferences.map(|(name, value)| format!("user_pref(\"{name}\", {value});\n"));
    std::fs::write(profile.join("user.js"), lines.collect::<String>())?;
    Ok(())
}

async fn accept(listener: &TcpListener) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let (stream, _) = listener.accept().await?;
    Ok(tokio_tungstenite::accept_async(stream).await?)
}

fn lines_of(socket: WebSocketStream<TcpStream>) -> Lines {
    let (mut sink, mut stream) = socket.split();
    let (outgoing, mut commands) = mpsc::channel::<String>(LINES);
    let (told, incoming) = mpsc::channel(LINES);
    tokio::spawn(async move {
        while let Some(line) = commands.recv().await {
            if sink.send(Message::text(line)).await.is_err() {
                return; // The tab is gone.
            }
        }
    });
    tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            let Message::Text(text) = message else {
                continue;
            };
            if told.send(text.as_str().to_owned()).await.is_err() {
                return; // The test is over.
            }
        }
    });
    Lines { incoming, outgoing }
}
