//! The dashboard as Grafana reads it, which cannot be started here: TypeScript compares it with
//! Grafana's published schema, and what types do not say is checked here. That each query returns
//! data is tested end to end.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{COMPOSE, scratch};
use crate::workspace::{Workspace, read};

const DASHBOARD: &str = "deploy/grafana/mesh.json";
const PROVIDERS: &str = "deploy/docker/grafana/dashboards/mesh.yml";

/// Where the schema and TypeScript are installed, and what of the schema a dashboard is to fit.
const NPM: &str = "tests/npm";
const TYPES: &str = "tests/npm/dashboard.ts";
const SCHEMA: &str = "@grafana/schema";

/// The columns of Grafana's grid.
const COLUMNS: u64 = 24;

/// Letters of a dashboard's own id at most.
const UID_MAX: usize = 40;

/// Checks the dashboard, and that the compose file has Grafana find it.
pub(super) fn check(workspace: &Workspace, resolved: &str) -> Result<()> {
    let text = read(&workspace.root.join(DASHBOARD))?;
    check_layout(&serde_json::from_str(&text).context(DASHBOARD)?).context(DASHBOARD)?;
    check_version(workspace, resolved)?;
    check_provider(workspace, resolved)?;
    check_types(workspace, &text)
}

/// Ids are unique and panels have a place of their own: Grafana would take the last of those that
/// share an id, and move panels that overlap.
fn check_layout(dashboard: &Value) -> Result<()> {
    let uid = dashboard["uid"].as_str().context("it has no uid")?;
    ensure!(uid.len() <= UID_MAX, "its uid is longer than {UID_MAX}");
    let panels = dashboard["panels"].as_array().context("it has no panels")?;
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().context("a panel has no title")?;
        let id = panel["id"].as_u64();
        let id = id.with_context(|| format!("{title:?} has no id"))?;
        ensure!(
            ids.insert(id),
            "{title:?} has the id of another panel: {id}"
        );
        for (x, y) in cells(panel).with_context(|| format!("{title:?} has no place"))? {
            ensure!(x < COLUMNS, "{title:?} is beyond the {COLUMNS} columns");
            ensure!(taken.insert((x, y)), "{title:?} overlaps another panel");
        }
        let mut queries = BTreeSet::new();
        for query in panel["targets"].as_array().into_iter().flatten() {
            let name = query["refId"].as_str();
            ensure!(queries.insert(name), "{title:?} has two queries {name:?}");
        }
    }
    Ok(())
}

/// The cells of the grid that a panel covers.
fn cells(panel: &Value) -> Option<Vec<(u64, u64)>> {
    let at = |key: &str| panel["gridPos"][key].as_u64();
    let (left, top, width, height) = (at("x")?, at("y")?, at("w")?, at("h")?);
    let columns = left..left + width;
    let cells = columns.flat_map(|x| (top..top + height).map(move |y| (x, y)));
    Some(cells.collect())
}

/// The schema is of the Grafana that the compose file starts.
fn check_version(workspace: &Workspace, resolved: &str) -> Result<()> {
    let package = read(&workspace.root.join(NPM).join("package.json"))?;
    let package: Value = serde_json::from_str(&package)?;
    let schema = package["devDependencies"][SCHEMA].as_str();
    let schema = schema.with_context(|| format!("{NPM}/package.json has no {SCHEMA}"))?;
    let image = format!("image: grafana/grafana:{schema}");
    ensure!(
        resolved.lines().any(|line| line.trim() == image),
        "{COMPOSE} does not say `{image}`, and {NPM}/package.json has {SCHEMA} {schema}: they are \
         to be of one version"
    );
    Ok(())
}

/// The folder in which Grafana is told to look is mounted.
fn check_provider(workspace: &Workspace, resolved: &str) -> Result<()> {
    let told = read(&workspace.root.join(PROVIDERS))?;
    let path = told
        .lines()
        .find_map(|line| line.trim().strip_prefix("path: "));
    let path = path.with_context(|| format!("{PROVIDERS} names no path"))?;
    ensure!(
        resolved.contains(path),
        "{PROVIDERS} looks into {path}, which {COMPOSE} does not mount"
    );
    Ok(())
}

/// The dashboard is of the type that Grafana's schema says.
fn check_types(workspace: &Workspace, text: &str) -> Result<()> {
    let folder = scratch(workspace)?;
    let file = folder.join("dashboard.ts");
    // In a file of its own, JSON is of no more than its widest type: each string of any.
    let typed = format!(
        "import type {{ Dashboard }} from \"schema\";\nexport const dashboard: Dashboard = {text}"
    );
    fs::write(&file, typed).with_context(|| format!("cannot write {}", file.display()))?;
    let config = json!({
        "compilerOptions": {
            "strict": true, "noEmit": true, "skipLibCheck": true, "types": [],
            "module": "esnext", "moduleResolution": "bundler",
            "paths": { "schema": [workspace.root.join(TYPES)] },
        },
        "files": ["dashboard.ts"],
    });
    let project = folder.join("tsconfig.json");
    fs::write(&project, config.to_string())?;
    workspace
        .cmd("node")
        .arg(
            workspace
                .root
                .join(NPM)
                .join("node_modules/typescript/bin/tsc"),
        )
        .arg("--project")
        .arg(&project)
        .run()
        .with_context(|| format!("{DASHBOARD} is not as {SCHEMA} says; line 2 there is 1 here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(id: u64, x: u64, y: u64) -> Value {
        json!({
            "id": id, "title": format!("panel {id}"),
            "gridPos": { "x": x, "y": y, "w": 12, "h": 2 },
            "targets": [{ "refId": "A" }, { "refId": "B" }],
        })
    }

    fn checked(panels: [Value; 2]) -> Result<()> {
        check_layout(&json!({ "uid": "mesh", "panels": panels }))
    }

    #[test]
    fn panels_have_ids_and_places_of_their_own() {
        checked([panel(1, 0, 0), panel(2, 12, 0)]).expect("side by side");
        let mut twice = panel(2, 0, 2);
        twice["targets"][1]["refId"] = "A".into();
        for (second, told) in [
            (panel(1, 12, 0), "the id of another"),
            (panel(2, 0, 1), "overlaps"),
            (panel(2, 13, 0), "beyond"),
            (twice, "two queries"),
            (json!({ "id": 2, "title": "nowhere" }), "no place"),
        ] {
            let error = checked([panel(1, 0, 0), second]).expect_err(told);
            assert!(format!("{error:#}").contains(told), "{error:#}");
        }
    }
}
