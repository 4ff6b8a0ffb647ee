//! The README's examples in Rust and for the shell, and those of the guides, run as they stand
//! there, in a room with somebody else in it.
//!
//! They name the hub's usual port, so each runs in a network of its own where the system allows it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_tests::markdown::example;
use mesh_tests::process::mesh_binary;
use mesh_tests::report;
use tokio::process::Command;
use tokio::time::timeout;

/// Only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The hub and an agent that answers requests; its lines go to `heard`.
const OTHERS: &str = r#"
    mesh signal 2> hub.log &
    until (exec 3<>/dev/tcp/localhost/9600) 2> /dev/null; do sleep 0.05; done
    mesh agent --room demo --name other --echo < /dev/null > heard &
    until grep -q '"ready"' heard; do sleep 0.05; done
"#;

#[tokio::test]
async fn the_readmes_example_in_rust_is_the_one_that_is_built_and_runs() -> Result<()> {
    let shown = example("README.md", "In Rust", "rust")?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mesh-native/examples/greet.rs");
    let built = std::fs::read_to_string(file)?;
    let (_, code) = built
        .split_once("\n\n")
        .context("it begins with its purpose and lints")?;
    ensure!(
        shown == code,
        "README.md shows another program than examples/greet.rs"
    );
    let program = mesh_binary()?.with_file_name("examples").join("greet");
    ensure!(
        program.is_file(),
        "{} does not exist: run `cargo xtask test e2e`, which builds it",
        program.display()
    );
    let script = format!(
        "{OTHERS}
        {} > said &
        until grep -q 'other says Text(\"how are you?\")' said; do sleep 0.05; done
        until grep -q '\"hello\"' heard; do sleep 0.05; done",
        program.display()
    );
    runs("rust", &script).await
}

#[tokio::test]
async fn the_readmes_example_for_the_shell_runs() -> Result<()> {
    let shown = example("README.md", "From any language", "sh")?;
    let (hub, agent) = shown.split_once('\n').context("two lines")?;
    ensure!(hub.starts_with("mesh signal &"), "first the hub: {hub}");
    let script = format!(
        "{}
        ({agent}) > said &
        until grep -q '\"hello\"' heard; do sleep 0.05; done
        grep -q '\"reporter\"' heard",
        OTHERS.replace("mesh signal 2> hub.log &", hub)
    );
    runs("shell", &script).await
}

#[tokio::test]
async fn the_commands_of_the_guide_to_monitoring_serve_metrics() -> Result<()> {
    let shown = example("docs/monitoring.md", "Monitoring", "sh")?;
    let script = format!(
        r#"
        tells() {{
            exec 3<>/dev/tcp/127.0.0.1/$1 || return 1
            printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
            grep -q "$2" <&3
        }}
        {shown}
        until tells 9601 '^mesh_hub_members 1$' 2> /dev/null; do sleep 0.05; done
        until tells 9602 '^mesh_agents{{state="settled"}} 1$' 2> /dev/null; do sleep 0.05; done"#
    );
    runs("monitoring", &script).await
}

/// Runs a script in a folder and a network of its own, with `mesh` on its path; what it leaves
/// running ends with it.
async fn runs(name: &str, script: &str) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("mesh-readme-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let binary = mesh_binary()?;
    let binaries = binary.parent().context("it is in a folder")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let script = format!(
        "ip link set lo up 2> /dev/null; trap 'trap \"\" TERM; kill 0' EXIT; set -e\n{script}"
    );
    let isolated = Command::new("unshare")
        .args(["--net", "true"])
        .stderr(Stdio::null())
        .status()
        .await
        .is_ok_and(|status| status.success());
    let mut command = if isolated {
        let mut command = Command::new("unshare");
        command.args(["--net", "bash", "-c", &script]);
        command
    } else {
        report("the README's examples share this machine's port 9600");
        let mut command = Command::new("bash");
        command.args(["-c", &script]);
        command
    };
    let running = command
        .current_dir(&folder)
        .env("PATH", format!("{}:{path}", binaries.display()))
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .output();
    let ended = timeout(PATIENCE, running).await;
    let told = || {
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        format!(
            "hub: {}\nheard: {}\nsaid: {}",
            read("hub.log"),
            read("heard"),
            read("said")
        )
    };
    let ended = ended.with_context(|| format!("it hangs\n{}", told()))??;
    ensure!(
        ended.status.success(),
        "it ends with {}: {}\n{}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr),
        told()
    );
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
