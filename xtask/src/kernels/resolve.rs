//! From Debian's meta package to the packages that hold a kernel. Pure: `apt-cache show` text in.

use anyhow::{Context, Result, anyhow};

/// One stanza of `apt-cache show`, the fields that matter.
#[derive(Debug, PartialEq)]
pub struct Stanza {
    pub package: String,
    pub version: String,
    pub depends: Vec<String>,
}

pub fn parse_stanza(text: &str) -> Result<Stanza> {
    let first = text.split("\n\n").next().unwrap_or_default();
    let field = |name: &str| -> Option<String> {
        first.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key == name).then(|| value.trim().to_string())
        })
    };
    let need = |name: &str| field(name).with_context(|| format!("apt-cache show: no {name} field"));
    Ok(Stanza {
        package: need("Package")?,
        version: need("Version")?,
        depends: field("Depends").map(|text| parse_depends(&text)).unwrap_or_default(),
    })
}

/// Names only; of alternatives the first.
pub fn parse_depends(text: &str) -> Vec<String> {
    text.split(',')
        .filter_map(|dependency| {
            let first = dependency.split('|').next()?;
            let name = first.split_whitespace().next()?;
            Some(name.split(':').next()?.to_string())
        })
        .collect()
}

/// `linux-image-6.1.0-56-amd64` of the meta package `linux-image-amd64`.
pub fn image_of(meta: &Stanza) -> Result<&str> {
    meta.depends
        .iter()
        .find(|name| name.strip_prefix("linux-image-").is_some_and(starts_with_digit))
        .map(String::as_str)
        .ok_or_else(|| anyhow!("{} {} depends on no linux-image-*", meta.package, meta.version))
}

/// The packages that hold files. Up to 6.12 that is the image itself; from 7 on the image is empty
/// and depends on linux-binary-* (vmlinuz), linux-modules-* and linux-base-* (config, System.map).
pub fn content_of(image: &Stanza) -> Vec<String> {
    let parts: Vec<String> = image
        .depends
        .iter()
        .filter(|name| {
            ["linux-binary-", "linux-modules-", "linux-base-"]
                .iter()
                .any(|prefix| name.strip_prefix(prefix).is_some_and(starts_with_digit))
        })
        .cloned()
        .collect();
    if parts.is_empty() { vec![image.package.clone()] } else { parts }
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const META_7: &str = "Package: linux-image-amd64\nSource: linux-signed-amd64 (7.2.13+1)\n\
        Version: 7.2.13-1\nDepends: linux-base-amd64 (= 7.2.13-1), \
        linux-image-7.2.13+deb14-amd64 (= 7.2.13-1)\nDescription: Linux\n of: course\n\n\
        Package: linux-image-amd64\nVersion: 7.1.1-1\n";

    #[test]
    fn the_first_stanza_counts() {
        let meta = parse_stanza(META_7).unwrap();
        assert_eq!((meta.package.as_str(), meta.version.as_str()), ("linux-image-amd64", "7.2.13-1"));
        assert_eq!(image_of(&meta).unwrap(), "linux-image-7.2.13+deb14-amd64");
    }

    #[test]
    fn alternatives_and_architectures() {
        let names = parse_depends("kmod, dracut | initramfs-tools (>= 0.1), libc6:amd64 (>= 2)");
        assert_eq!(names, ["kmod", "dracut", "libc6"]);
        assert!(parse_depends("").is_empty());
    }

    #[test]
    fn old_images_hold_everything_new_ones_nothing() {
        let stanza = |package: &str, depends: &str| Stanza {
            package: package.into(),
            version: "1".into(),
            depends: parse_depends(depends),
        };
        let old = stanza("linux-image-6.1.0-56-amd64", "kmod, linux-base (>= 4.3~)");
        assert_eq!(content_of(&old), ["linux-image-6.1.0-56-amd64"]);
        let new = stanza(
            "linux-image-7.2.13+deb14-amd64",
            "dracut | x, linux-base-7.2.13+deb14-amd64 (= 1), linux-binary-7.2.13+deb14-amd64 (= 1), \
             linux-modules-7.2.13+deb14-amd64 (= 1)",
        );
        assert_eq!(content_of(&new).len(), 3);
    }

    #[test]
    fn a_meta_package_without_image_is_an_error() {
        let meta = parse_stanza("Package: linux-image-amd64\nVersion: 1\nDepends: kmod\n").unwrap();
        assert!(image_of(&meta).unwrap_err().to_string().contains("linux-image-amd64 1"));
        assert!(parse_stanza("Package: x\n").is_err());
    }
}
