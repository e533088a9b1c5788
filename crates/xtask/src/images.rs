//! `cargo xtask image`: images for tests, made from what the distribution installs.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use image::ImageBuilder;

/// Answers every request on port 8080 with the name of its host, and a version in a header of
/// the page's folder.
fn web(version: u32) -> String {
    format!(
        "mkdir -p /var/www/version && hostname > /var/www/index.html && \
         echo {version} > /var/www/version/index.html && exec httpd -f -p 8080 -h /var/www"
    )
}

/// Writes the images that tests and the sample application use: `busybox`, with the usual tools,
/// and two versions of a web server made of it.
pub(crate) fn write(busybox: &Path, out: &Path) -> Result<()> {
    let base = tools(busybox)?;
    let server = |version| {
        ImageBuilder::command(base("ironclad.local/web", version), ["sh", "-c", &web(version)])
    };
    std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    for (file, image) in [
        ("busybox.tar", base("ironclad.local/busybox", 1).command(["sh"])),
        ("web-1.tar", server(1)),
        ("web-2.tar", server(2)),
    ] {
        let path = out.join(file);
        let mut archive = BufWriter::new(
            File::create(&path).with_context(|| format!("creating {}", path.display()))?,
        );
        let written = image.write(&mut archive)?;
        println!("{}: {} {}", path.display(), written.reference, written.digest);
    }
    Ok(())
}

/// Makes images that hold busybox with all its applets.
fn tools(binary: &Path) -> Result<impl Fn(&str, u32) -> ImageBuilder> {
    let listing = Command::new(binary)
        .arg("--list")
        .output()
        .with_context(|| format!("{}: install busybox-static", binary.display()))?;
    ensure!(listing.status.success(), "{} --list failed", binary.display());
    let applets = String::from_utf8(listing.stdout)?;
    let binary = binary.to_owned();
    Ok(move |name: &str, version: u32| {
        let image = ImageBuilder::new(&format!("{name}:{version}"))
            .file("/bin/busybox", binary.as_path(), 0o755)
            .file(
                "/etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
                0o644,
            )
            .file("/etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)
            .file("/etc/nsswitch.conf", "hosts: files dns\n", 0o644)
            .directory("/root", 0o700)
            .directory("/tmp", 0o1777)
            .directory("/var/www", 0o1777);
        applets
            .lines()
            .filter(|applet| *applet != "busybox")
            .fold(image, |image, applet| image.symlink(&format!("/bin/{applet}"), "busybox"))
    })
}
