//! Compiles the runtime interface definitions without an installed protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files =
        ["proto/cri.proto", "proto/containerd_events.proto", "proto/containerd_snapshots.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
