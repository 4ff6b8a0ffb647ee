//! Finds the options of browsers that the load test starts: in the repository they lie beside this
//! crate, in a package of it within.

use std::env;
use std::path::PathBuf;

fn main() {
    let root = env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_default();
    let own = root.join("webdriver.json");
    let path = if own.exists() {
        own
    } else {
        root.join("../mesh-wasm/webdriver.json")
    };
    println!("cargo:rustc-env=MESH_WEBDRIVER={}", path.display());
    println!("cargo:rerun-if-changed={}", path.display());
}
