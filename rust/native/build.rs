//! Builds the static `pyd-runtime` beside the extension, so that one wheel carries both.
//!
//! maturin builds one artefact per wheel: an extension or a binary. The binary is therefore built here, by a
//! nested cargo with its own target directory (the outer one is locked), and maturin picks it up from OUT_DIR
//! (`[tool.maturin] include` in pyproject.toml).
use std::{env, fs, path::PathBuf, process::Command};

fn main() {
    for dir in ["runtime", "net", "sys"] {
        println!("cargo::rerun-if-changed=../{dir}");
    }
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    if env::var_os("CARGO_FEATURE_BUNDLE_RUNTIME").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = env::var("TARGET").expect("cargo sets TARGET");
    // OUT_DIR is <target>/<profile>/build/<package>/out. Beside the profiles the nested build outlives a new OUT_DIR.
    let target_dir = out
        .ancestors()
        .nth(4)
        .expect("OUT_DIR lies in the target directory")
        .join("pyd-runtime");
    let workspace =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"))
            .join("../..");
    let status = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .current_dir(&workspace)
        .args([
            "build",
            "--package",
            "pyd-runtime",
            "--bin",
            "pyd-runtime",
            "--profile",
            "runtime",
        ])
        .args(["--target", &target, "--target-dir"])
        .arg(&target_dir)
        // The outer build's flags are for a shared object; static glibc needs its own.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env(
            "RUSTFLAGS",
            "-C target-feature=+crt-static -C relocation-model=static",
        )
        .status()
        .expect("cannot start cargo for pyd-runtime");
    assert!(
        status.success(),
        "building pyd-runtime failed: is libc.a (libc6-dev) installed?"
    );
    fs::copy(
        target_dir.join(&target).join("runtime/pyd-runtime"),
        out.join("pyd-runtime"),
    )
    .expect("cannot copy pyd-runtime to OUT_DIR");
}
