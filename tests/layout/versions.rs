//! Versions of Rust: what `Cargo.toml` declares is enough for everything that the program is built from.
//!
//! Clippy's `incompatible_msrv` says it of our own code.

use std::process::Command;

use serde_json::Value;

#[test]
fn no_dependency_needs_a_newer_rust_than_is_declared() {
    let packages = packages();
    let (ours, others): (Vec<&Value>, Vec<&Value>) = packages.iter().partition(|package| package["source"].is_null());
    let [ours] = ours[..] else {
        panic!("one package is ours: {ours:?}")
    };
    let declared = rust_version(ours).expect("rust-version in Cargo.toml");
    let newer: Vec<String> = others
        .iter()
        .filter(|package| rust_version(package) > Some(declared))
        .map(|package| {
            format!(
                "{} {}: {}",
                package["name"], package["version"], package["rust_version"]
            )
        })
        .collect();
    assert!(others.len() > 100, "the dependencies were not found");
    assert!(newer.is_empty(), "dependencies that need a newer Rust: {newer:#?}");
}

/// What the program, its build and its tests may consist of, on any system.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--all-features", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("a list").clone()
}

/// `None` for one that declares nothing.
fn rust_version(package: &Value) -> Option<(u32, u32)> {
    let mut numbers = package["rust_version"].as_str()?.split('.').map(str::parse);
    match (numbers.next(), numbers.next().unwrap_or(Ok(0))) {
        (Some(Ok(major)), Ok(minor)) => Some((major, minor)),
        _ => panic!("{} has no version that can be read", package["rust_version"]),
    }
}
