//! Links airlock-jobprobe as a static program: what it reports must not depend on libraries that the job can or cannot see.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let out = env::var("OUT_DIR")?;
    // Only crtstatic for everything makes rustc ask for static C libraries; these linker scripts stand before the shared ones.
    fs::write(Path::new(&out).join("libc.so"), "GROUP(-l:libc.a -l:libgcc.a -l:libgcc_eh.a)\n")?;
    fs::write(Path::new(&out).join("libgcc_s.so"), "GROUP(-l:libgcc_eh.a -l:libgcc.a -l:libc.a)\n")?;
    for library in ["m", "pthread", "dl", "util", "rt"] {
        fs::write(Path::new(&out).join(format!("lib{library}.so")), format!("GROUP(-l:lib{library}.a)\n"))?;
    }
    for argument in ["-static", "-no-pie", &format!("-L{out}")] {
        println!("cargo:rustc-link-arg-bin=airlock-jobprobe={argument}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
