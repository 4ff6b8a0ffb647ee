//! The README's examples in Rust and for the shell, and those of the guide to monitoring, run as
//! they stand there, in a room with somebody else in it.
//!
//! They name the hub's usual port, so each runs in a network of its own where the system allows it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_tests::markdown::example;
use mesh_tests::process::mesh_binary;
use mesh_tests::script;

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
    script::run(&folder, script, PATIENCE).await
}
