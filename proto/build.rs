//! Compiles `airlock/v1/airlock.proto` with protox, so that no `protoc` has to be installed.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let out = env::var("OUT_DIR")?;
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_source_info(true).include_imports(true).open_files(["airlock/v1/airlock.proto"])?;
    // Written by hand: tonic-prost-build's own descriptor option does nothing for compile_fds (0.14.9).
    fs::write(Path::new(&out).join("airlock_v1.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().bytes(".").compile_fds(compiler.file_descriptor_set())?;
    println!("cargo:rerun-if-changed=airlock");
    Ok(())
}
