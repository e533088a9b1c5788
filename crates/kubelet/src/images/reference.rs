//! Names of images.

/// An image name that breaks the grammar of references.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("couldn't parse image name {0:?}: invalid reference format")]
pub struct Invalid(pub String);

/// `image`, with `:latest` when it has neither tag nor digest.
pub fn with_default_tag(image: &str) -> Result<String, Invalid> {
    let invalid = || Invalid(image.to_owned());
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let (path, tag) = split_tag(name);
    if !valid_path(path) || tag.is_some_and(|tag| !valid_tag(tag)) {
        return Err(invalid());
    }
    if let Some(digest) = digest {
        let (_, hex) = digest.split_once(':').ok_or_else(invalid)?;
        if hex.len() < 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        return Ok(image.to_owned());
    }
    Ok(if tag.is_some() { image.to_owned() } else { format!("{image}:latest") })
}

/// Registry host of an image, as credentials name it.
pub fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// `image` with its registry and, in that of Docker, the folder of its own images: the name by which
/// container runtimes know it.
pub fn canonical(image: &str) -> String {
    match (registry(image), image.split_once('/')) {
        ("docker.io" | "index.docker.io", Some((host, path)))
            if host == "docker.io" || host == "index.docker.io" =>
        {
            if path.contains('/') {
                format!("docker.io/{path}")
            } else {
                format!("docker.io/library/{path}")
            }
        }
        ("docker.io", Some(_)) => format!("docker.io/{image}"),
        ("docker.io", None) => format!("docker.io/library/{image}"),
        _ => image.to_owned(),
    }
}

/// The repository of `image`, with its registry and without tag and digest.
pub fn repository(image: &str) -> String {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    canonical(split_tag(name).0)
}

fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        // A colon before the last slash belongs to a port.
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    }
}

fn valid_path(path: &str) -> bool {
    let mut parts = path.split('/').peekable();
    let first = parts.peek().copied().unwrap_or_default();
    if path.contains('/') && (first.contains(['.', ':']) || first == "localhost") {
        parts.next();
        let (host, port) = first.split_once(':').unwrap_or((first, "0"));
        let host_ok = !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        if !host_ok || port.parse::<u16>().is_err() {
            return false;
        }
    }
    parts.all(|part| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        !part.is_empty()
            && part.bytes().all(|b| inner(b) || matches!(b, b'.' | b'_' | b'-'))
            && part.bytes().next().is_some_and(inner)
            && part.bytes().last().is_some_and(inner)
    })
}

fn valid_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !tag.is_empty()
        && tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_added_where_missing() {
        let digest = format!("busybox@sha256:{}", "a".repeat(64));
        for (image, expected) in [
            ("busybox", Ok("busybox:latest")),
            ("busybox:1.36", Ok("busybox:1.36")),
            ("localhost:5000/a/b", Ok("localhost:5000/a/b:latest")),
            ("registry.k8s.io/pause:3.10", Ok("registry.k8s.io/pause:3.10")),
            (digest.as_str(), Ok(digest.as_str())),
            ("Busybox", Err(())),
            ("busybox:", Err(())),
            ("a//b", Err(())),
            ("", Err(())),
            ("a b", Err(())),
        ] {
            let got = with_default_tag(image);
            assert_eq!(got.as_deref().map_err(|_| ()), expected, "{image}");
        }
    }

    #[test]
    fn names_in_full() {
        for (image, full, repository_of) in [
            ("busybox:1", "docker.io/library/busybox:1", "docker.io/library/busybox"),
            ("a/b:1", "docker.io/a/b:1", "docker.io/a/b"),
            ("docker.io/b", "docker.io/library/b", "docker.io/library/b"),
            ("index.docker.io/a/b", "docker.io/a/b", "docker.io/a/b"),
            ("localhost:5000/b", "localhost:5000/b", "localhost:5000/b"),
            ("ghcr.io/a/b:1@sha256:aa", "ghcr.io/a/b:1@sha256:aa", "ghcr.io/a/b"),
        ] {
            assert_eq!(canonical(image), full);
            assert_eq!(repository(image), repository_of);
        }
    }

    #[test]
    fn registries() {
        assert_eq!(registry("busybox"), "docker.io");
        assert_eq!(registry("library/busybox"), "docker.io");
        assert_eq!(registry("ghcr.io/a/b:1"), "ghcr.io");
        assert_eq!(registry("localhost:5000/a"), "localhost:5000");
    }
}
