//! The configuration file as commands read it, and `mesh config`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use mesh_tests::hub::get;
use mesh_tests::markdown::example;
use mesh_tests::process::{MeshProcess, free_port, mesh_binary, run_mesh};
use mesh_tests::wait::{SOON, until};
use serde_json::Value;
use tokio::process::Command;

/// A folder for the files of one test, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("mesh-config-{}", free_port()?));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.0.join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_str().context("a path of letters")?.to_owned())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_and_agent_run_as_their_file_says() -> Result<()> {
    let folder = Folder::new()?;
    let port = free_port()?;
    let file = folder.write(
        "mesh.toml",
        &format!(
            "[hub]\nlisten = [\"127.0.0.1:{port}\"]\nroom_members_max = 1\n\n\
             [agent]\nsignaling = \"ws://127.0.0.1:{port}/signal\"\nroom = \"filed\"\n\
             name = \"anna\"\njoin_timeout = \"1s\"\n"
        ),
    )?;
    let _hub = MeshProcess::start(&["signal", "--config", &file])?;
    until("the hub serves", SOON, async || get(port, "/healthz").await).await?;
    let anna = MeshProcess::start(&["agent", "--config", &file])?;
    let ready = |line: &String| line.contains("\"ready\"");
    let ready: Value = serde_json::from_str(&anna.stdout.first("ready", SOON, ready).await?)?;
    ensure!(
        ready["room"] == "filed" && ready["name"] == "anna",
        "{ready}"
    );
    // The file's limit holds, and flags stand over its name.
    let arguments = ["agent", "--config", &file, "--name", "ben"];
    let refused = run_mesh(&arguments, SOON).await?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(
        refused.stderr.contains("the room has 1 members"),
        "{refused:?}"
    );

    let other = free_port()?;
    let moved = format!("127.0.0.1:{other}");
    let _moved = MeshProcess::start(&["signal", "--config", &file, "--listen", &moved])?;
    until("the flag counts", SOON, async || {
        get(other, "/healthz").await
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_mistakes_starts_nothing_and_all_of_them_are_told() -> Result<()> {
    let folder = Folder::new()?;
    let file = folder.write(
        "bad.toml",
        "[hub]\nlisen = []\n[mesh]\nk = 1\nttl = \"9\"\n",
    )?;
    let commands: [&[&str]; 5] = [
        &["config", "check", &file],
        &["config", "print", "--config", &file],
        &["signal", "--config", &file],
        &["up", "--config", &file],
        &["agent", "--room", "r", "--config", &file],
    ];
    for command in commands {
        let ended = run_mesh(command, SOON).await?;
        ensure!(ended.code == Some(1), "{command:?}: {ended:?}");
        for told in [
            format!("{file}:2:1: [hub] has no option lisen: is it listen?"),
            format!("{file}:5:7: ttl: a whole number, without quotes, belongs here"),
        ] {
            ensure!(ended.stderr.contains(&told), "{command:?}: {ended:?}");
        }
    }
    let missing = format!("{file}.missing");
    let ended = run_mesh(&["signal", "--config", &missing], SOON).await?;
    ensure!(ended.code == Some(1), "{ended:?}");
    ensure!(ended.stderr.contains(&missing), "{ended:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_is_printed_with_its_origin() -> Result<()> {
    let folder = Folder::new()?;
    let file = folder.write("mesh.toml", "[agent]\nname = \"anna\"\n[mesh]\nttl = 9\n")?;
    let printed = Command::new(mesh_binary()?)
        .args(["config", "print", "agent", "--ttl", "8"])
        .env("MESH_CONFIG", &file)
        .env("MESH_ROOM", "by-variable")
        .stdin(Stdio::null())
        .output()
        .await?;
    let text = String::from_utf8(printed.stdout)?;
    for (value, origin) in [
        ("room = \"by-variable\"", "environment MESH_ROOM".to_owned()),
        ("ttl = 8", "flag --ttl".to_owned()),
        ("name = \"anna\"", format!("file {file}:2")),
        ("open_timeout = \"10s\"", "default".to_owned()),
    ] {
        let told = |line: &str| line.starts_with(value) && line.ends_with(&format!("# {origin}"));
        ensure!(text.lines().any(told), "{value} of {origin} in\n{text}");
    }
    // What was printed is a file that says the same.
    let again = folder.write("again.toml", &text)?;
    let checked = run_mesh(&["config", "check", &again], SOON).await?;
    ensure!(checked.code == Some(0), "{checked:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_commands_run_on_the_delivered_file() -> Result<()> {
    let shown = example("docs/commands.md", "Configured", "sh")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let commands: Vec<&str> = shown.lines().collect();
    ensure!(commands.len() == 2, "{shown}");
    for command in commands {
        let arguments = command.split('#').next().unwrap_or_default();
        let mut words = arguments.split_whitespace();
        ensure!(words.next() == Some("mesh"), "{command}");
        let ended = Command::new(mesh_binary()?)
            .args(words)
            .current_dir(&root)
            .stdin(Stdio::null())
            .output()
            .await?;
        ensure!(ended.status.success(), "{command}: {ended:?}");
    }
    Ok(())
}
