//! Finds what is compiled in: the page, and the options of browsers that tests start. In the
//! repository both lie beside this crate, in a package of it within.

use std::env;
use std::path::PathBuf;

/// The variable that names it to the compiler, where a package has it, and where the repository.
const COMPILED_IN: [(&str, &str, &str); 2] = [
    ("MESH_WEB", "web", "../web"),
    (
        "MESH_WEBDRIVER",
        "webdriver.json",
        "../mesh-wasm/webdriver.json",
    ),
];

fn main() {
    let root = env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_default();
    for (variable, within, beside) in COMPILED_IN {
        let own = root.join(within);
        let path = if own.exists() { own } else { root.join(beside) };
        println!("cargo:rustc-env={variable}={}", path.display());
        println!("cargo:rerun-if-changed={}", path.display());
    }
}
