//! Compiles the default seccomp profile for the capability sets that containers usually have, with the compiler that
//! the runtime carries for all others: compiling takes longer than the rest of a start.

#[path = "src/capability_names.rs"]
mod capability_names;
#[path = "src/seccomp/compiler/mod.rs"]
// The runtime uses the rest.
#[allow(dead_code)]
mod compiler;

use std::fmt::Write;
use std::{env, fs, path::PathBuf};

use capability_names::NAMES;
use compiler::profile::{DEFAULT, Host, Profile};
use compiler::{Arch, compile};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/seccomp");
    println!("cargo::rerun-if-changed=src/capability_names.rs");
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}"));
    if target("ARCH").as_deref() == Ok("x86_64") && target("OS").as_deref() == Ok("linux") {
        // pyd_sys::start. Not for the weakened program, which must be able to leave it out.
        println!("cargo::rustc-link-arg-bin=pyd-runtime=-Wl,--entry=pyd_sealed_start");
    }
    let profile = Profile::parse(DEFAULT).expect("the default profile parses");
    let relevant = profile.relevant(&NAMES);
    let kernel = profile.newest_kernel();
    let chroot = bit("CAP_SYS_CHROOT");
    // Docker's default set, none at all, and the additions that are asked for most.
    let sets = [
        chroot,
        0,
        chroot | bit("CAP_SYS_ADMIN"),
        chroot | bit("CAP_SYS_PTRACE"),
        chroot | bit("CAP_SYS_NICE"),
        relevant,
    ];
    let mut source = format!(
        "/// Capabilities that the default profile looks at.\n\
         const RELEVANT_CAPABILITIES: u64 = {relevant:#x};\n\
         /// The programs below are for this kernel and later ones.\n\
         const PRECOMPILED_KERNEL: (u32, u32) = {kernel:?};\n\
         /// The relevant part of a bounding set, and the default profile compiled for it.\n\
         static PRECOMPILED: &[(u64, &[Instruction])] = &[\n"
    );
    let target = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    // Elsewhere there is no compiler at run time either; the runtime says so when a filter is asked for.
    if let Some(arch) = Arch::from_target(&target) {
        for bounding in sets {
            let host = Host {
                arch,
                kernel,
                bounding,
                capabilities: &NAMES,
            };
            let policy = profile
                .resolve(&host)
                .expect("the default profile resolves");
            let program = compile(&policy, arch);
            writeln!(source, "    ({bounding:#x}, &[").unwrap();
            for i in &program.instructions {
                let (code, jt, jf, k) = (i.code, i.jt, i.jf, i.k);
                writeln!(
                    source,
                    "        Instruction {{ code: {code}, jt: {jt}, jf: {jf}, k: {k:#x} }},"
                )
                .unwrap();
            }
            source.push_str("    ]),\n");
        }
    }
    source.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("seccomp_default.rs"), source).expect("cannot write to OUT_DIR");
}

fn bit(name: &str) -> u64 {
    let index = NAMES.iter().position(|known| *known == name);
    1 << index.expect("a capability of the list")
}
