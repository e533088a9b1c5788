//! Compiles etcd's interface without an installed protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "proto/rpc.proto";
    println!("cargo::rerun-if-changed={file}");
    let descriptors = protox::compile([file], ["proto"])?;
    tonic_prost_build::configure().build_server(false).bytes(".").compile_fds(descriptors)?;
    Ok(())
}
