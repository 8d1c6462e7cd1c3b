//! No release of the server has a hook, even when the simulator is built beside it.
#![expect(clippy::unwrap_used, reason = "a test that fails, panics")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Whether this crate, with the simulator's feature, compiles with `-C debug-assertions=` that and
/// the claim that no hook can be set.
fn compiles_without_hooks(debug_assertions: &str) -> bool {
    let folder = std::env::temp_dir().join(format!("muster-hooks-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for name in ["mutants.rs", "points.rs"] {
        fs::copy(sources.join(name), folder.join(name)).unwrap();
    }
    let claimed = fs::read_to_string(sources.join("lib.rs")).unwrap()
        + "\nconst _: () = assert!(!LIVE, \"a hook can be set\");\n";
    let file = folder.join("lib.rs");
    fs::write(&file, claimed).unwrap();
    let status = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()))
        .args(["--edition=2024", "--crate-type=rlib", "--crate-name=muster_hooks"])
        .args(["--cfg", "feature=\"simulated\"", "--emit=metadata", "--out-dir"])
        .arg(&folder)
        .args(["-C", &format!("debug-assertions={debug_assertions}")])
        .arg(&file)
        .output()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    status.status.success()
}

#[test]
fn only_debug_assertions_bring_hooks() {
    assert!(compiles_without_hooks("off"));
    assert!(!compiles_without_hooks("on"), "the claim itself must be able to fail");
}

#[test]
fn what_is_handed_out_has_no_debug_assertions_and_only_the_simulator_asks_for_hooks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let manifest = read("Cargo.toml");
    let profile = |name: &str| {
        let rest = manifest.split(&format!("[profile.{name}]")).nth(1).unwrap();
        rest.split("\n[").next().unwrap().to_owned()
    };
    assert!(profile("dist").contains("inherits = \"release\""));
    for name in ["release", "dist"] {
        assert!(!profile(name).contains("debug-assertions"), "{name}");
    }
    for file in ["Cargo.toml", "cluster/Cargo.toml", "proto/Cargo.toml", "tests/fuzz/Cargo.toml"] {
        assert!(!read(file).contains("\"simulated\""), "{file} asks for hooks");
    }
    assert!(read("chaos/Cargo.toml").contains("features = [\"simulated\"]"));
    assert!(read("deploy/static/build").contains("cargo build --profile dist"));
}
