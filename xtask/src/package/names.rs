//! The names by which the packages are published. In the workspace they are short; on crates.io
//! `mesh-core` is another project's. Libraries keep their names, so that no code changes.

use std::env;

use anyhow::{Context as _, Result, bail};

use super::of_workspace;
use crate::workspace::Workspace;

/// A crate that is published.
#[derive(Debug)]
pub(super) struct Crate {
    /// Its folder and its name in the workspace.
    pub(super) name: &'static str,
    /// Its name on crates.io.
    pub(super) published: &'static str,
    /// How it is used, for its README.
    usage: &'static str,
}

/// The crates, each after those that it depends on.
pub(super) const CRATES: [Crate; 3] = [
    Crate {
        name: "mesh-core",
        published: "webrtc-agent-mesh-core",
        usage: "`webrtc-agent-mesh-core` is the core of the WebRTC agent mesh, the library \
                `mesh_core`. Programs use it as `mesh_native::core` of `webrtc-agent-mesh-native`.",
    },
    Crate {
        name: "mesh-native",
        published: "webrtc-agent-mesh-native",
        usage: "`cargo add webrtc-agent-mesh-native` adds native agents of the WebRTC agent mesh \
                to a program, as the library `mesh_native`.",
    },
    Crate {
        name: "mesh-cli",
        published: "webrtc-agent-mesh-cli",
        usage: "`cargo install webrtc-agent-mesh-cli` installs `mesh`, the command of the WebRTC \
                agent mesh.",
    },
];

/// The package for pages, on npm.
const NPM: &str = "mesh-wasm";

/// Fails if a name is another project's, as far as the registries can be asked.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let repository = of_workspace(workspace, "repository")?;
    // Outside of the workspace: within it cargo tells of the workspace's own package.
    let outside = env::temp_dir();
    for Crate { published, .. } in &CRATES {
        let asked = workspace
            .cmd("cargo")
            .args(["info", "--registry", "crates-io", published])
            .dir(&outside)
            .output();
        tell(
            "crates.io",
            published,
            owner(asked, "could not find", &repository),
        )?;
    }
    let asked = workspace
        .cmd("npm")
        .args(["view", NPM, "repository.url"])
        .dir(&outside)
        .output();
    tell("npm", NPM, owner(asked, "E404", &repository))
}

/// Of whom a name is.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    Us,
    Others,
    /// The registry did not say.
    Unknown(String),
}

/// Whose a name is, by what a registry answered. `absent` is in its answer if it is nobody's.
fn owner(asked: Result<String>, absent: &str, repository: &str) -> Owner {
    match asked {
        Ok(said) if said.contains(repository) => Owner::Us,
        Ok(_) => Owner::Others,
        Err(error) if format!("{error:#}").contains(absent) => Owner::Nobody,
        Err(error) => Owner::Unknown(format!("{error:#}")),
    }
}

fn tell(registry: &str, name: &str, owner: Owner) -> Result<()> {
    match owner {
        Owner::Nobody => println!("{registry}: {name} is free"),
        Owner::Us => println!("{registry}: {name} is ours"),
        Owner::Others => bail!(
            "{name} is another project's on {registry}: choose another name in \
             xtask/src/package/names.rs, and tell of it in docs/library.md"
        ),
        Owner::Unknown(why) => {
            println!(
                "WARNING: whether {name} is free is not known, {registry} was not asked: {why}"
            );
        }
    }
    Ok(())
}

/// A manifest, or the lock file, with the names by which the crates are published. Dependants go on
/// to call them as before.
pub(super) fn renamed(text: &str) -> String {
    let mut text = text.to_owned();
    for Crate {
        name, published, ..
    } in &CRATES
    {
        for (of_workspace, on_registry) in [
            (
                format!("\nname = \"{name}\"\n"),
                format!("\nname = \"{published}\"\n"),
            ),
            (
                format!("\n{name} = {{ path"),
                format!("\n{name} = {{ package = \"{published}\", path"),
            ),
            (
                format!("\n \"{name}\",\n"),
                format!("\n \"{published}\",\n"),
            ),
        ] {
            text = text.replace(&of_workspace, &on_registry);
        }
    }
    text
}

/// The README of a crate: how it is used comes first, and links lead to the repository, for the
/// files that they name are not in the package.
pub(super) fn readme(package: &Crate, shared: &str, repository: &str) -> Result<String> {
    let (title, rest) = shared
        .split_once("\n\n")
        .context("README.md has no title")?;
    let text = format!("{title}\n\n{}\n\n{rest}", package.usage);
    let mut parts = text.split("](");
    let mut absolute = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        absolute.push_str("](");
        if !part.starts_with("http") && !part.starts_with('#') {
            absolute.push_str(repository);
            absolute.push_str("/blob/HEAD/");
        }
        absolute.push_str(part);
    }
    Ok(absolute)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    const OURS: &str = "https://example.org/mesh";

    #[test]
    fn manifests_and_the_lock_file_have_the_names_of_the_registry() {
        let manifest = "[package]\nname = \"mesh-native\"\n\n[dependencies]\n\
                        mesh-core.workspace = true\nmesh-native = { path = \".\" }\n";
        assert_eq!(
            renamed(manifest),
            "[package]\nname = \"webrtc-agent-mesh-native\"\n\n[dependencies]\n\
             mesh-core.workspace = true\n\
             mesh-native = { package = \"webrtc-agent-mesh-native\", path = \".\" }\n"
        );
        let lock = "[[package]]\nname = \"mesh-cli\"\ndependencies = [\n \"mesh-core\",\n \
                    \"mesh-native\",\n]\n";
        assert_eq!(
            renamed(lock),
            "[[package]]\nname = \"webrtc-agent-mesh-cli\"\ndependencies = [\n \
             \"webrtc-agent-mesh-core\",\n \"webrtc-agent-mesh-native\",\n]\n"
        );
    }

    #[test]
    fn a_readme_tells_the_published_name_and_links_to_the_repository() {
        let shared = "# Mesh\n\nSee [this](docs/a.md), [that](https://b.example) and [here](#c).\n";
        for package in &CRATES {
            let readme = readme(package, shared, OURS).expect("it has a title");
            assert!(readme.starts_with("# Mesh\n\n`"), "{readme}");
            assert!(readme.contains(package.published), "{readme}");
            let links = "[this](https://example.org/mesh/blob/HEAD/docs/a.md), \
                         [that](https://b.example) and [here](#c).";
            assert!(readme.contains(links), "{readme}");
        }
    }

    #[test]
    fn a_name_is_free_or_ours_or_of_another_project() {
        let of = |asked| owner(asked, "could not find", OURS);
        assert_eq!(of(Err(anyhow!("could not find `a`"))), Owner::Nobody);
        let unknown = of(Err(anyhow!("no network")));
        assert_eq!(unknown, Owner::Unknown("no network".to_owned()));
        tell("a registry", "a", unknown).expect("the rehearsal goes on");
        assert_eq!(of(Ok(format!("repository: {OURS}\n"))), Owner::Us);
        let theirs = of(Ok("repository: https://example.org/other\n".to_owned()));
        let error = tell("a registry", "a", theirs).expect_err("it is taken");
        assert!(error.to_string().contains("names.rs"), "{error}");
    }
}
