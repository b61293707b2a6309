//! Links airlock-keeper as a static program: one lives beside every job, so its memory counts, and it must not depend on files of a
//! mount namespace that it is about to change.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let out = env::var("OUT_DIR")?;
    // rustc links the standard library against shared C libraries unless everything it builds is static (crt-static), which
    // cannot be said of one program alone. These linker scripts stand before the shared libraries and name the static ones.
    fs::write(Path::new(&out).join("libc.so"), "GROUP(-l:libc.a -l:libgcc.a -l:libgcc_eh.a)\n")?;
    fs::write(Path::new(&out).join("libgcc_s.so"), "GROUP(-l:libgcc_eh.a -l:libgcc.a -l:libc.a)\n")?;
    fs::write(Path::new(&out).join("libm.so"), "GROUP(-l:libm.a)\n")?;
    for argument in ["-static", "-no-pie", &format!("-L{out}")] {
        println!("cargo:rustc-link-arg-bin=airlock-keeper={argument}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
