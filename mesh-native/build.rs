//! Finds the page, which is compiled into the hub: in the repository it lies beside this crate, in
//! a package of it within.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_HUB").is_none() {
        return;
    }
    let root = env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_default();
    let own = root.join("web");
    let path = if own.exists() {
        own
    } else {
        root.join("../web")
    };
    println!("cargo:rustc-env=MESH_WEB={}", path.display());
    println!("cargo:rerun-if-changed={}", path.display());
}
