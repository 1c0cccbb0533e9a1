//! Compiles the protocol with a pure-Rust compiler, so that building needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(
        [
            "proto/bankrefresh/v1/commands.proto",
            "proto/bankrefresh/v1/control.proto",
            "proto/bankrefresh/v1/events.proto",
            "proto/bankrefresh/v1/state.proto",
        ],
        ["proto"],
    )?;
    // The descriptors let the command line show any message as JSON.
    let descriptors = std::path::Path::new(&std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(descriptors, prost::Message::encode_to_vec(&files))?;
    prost_build::Config::new()
        .btree_map(["."])
        .bytes(["."])
        .compile_fds(files)?;
    Ok(())
}
