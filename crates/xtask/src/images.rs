//! `cargo xtask image`: images for tests, made from what the distribution installs.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use image::ImageBuilder;

/// Writes `<out>/busybox.tar`: a shell, a web server (`httpd`), and the usual tools.
pub(crate) fn busybox(binary: &Path, reference: &str, out: &Path) -> Result<()> {
    let listing = Command::new(binary)
        .arg("--list")
        .output()
        .with_context(|| format!("{}: install busybox-static", binary.display()))?;
    ensure!(
        listing.status.success(),
        "{} --list failed",
        binary.display()
    );
    let applets = String::from_utf8(listing.stdout)?;

    let mut image = ImageBuilder::new(reference)
        .file("/bin/busybox", binary, 0o755)
        .file(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            0o644,
        )
        .file("/etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)
        .file("/etc/nsswitch.conf", "hosts: files dns\n", 0o644)
        .directory("/root", 0o700)
        .directory("/tmp", 0o1777)
        .directory("/var/www", 0o1777)
        .command(["sh"]);
    for applet in applets.lines().filter(|name| *name != "busybox") {
        image = image.symlink(&format!("/bin/{applet}"), "busybox");
    }

    std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let path = out.join("busybox.tar");
    let mut file = BufWriter::new(
        File::create(&path).with_context(|| format!("creating {}", path.display()))?,
    );
    let written = image.write(&mut file)?;
    println!(
        "{}: {} {}",
        path.display(),
        written.reference,
        written.digest
    );
    Ok(())
}
