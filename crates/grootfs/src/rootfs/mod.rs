//! What the runtime gets: one OCI runtime spec object on standard output (contract 4.8), or a whole bundle.

use std::path::Path;

use serde::Serialize;

use crate::driver::Mount;
use crate::image::ImageConfig;
use crate::store::layout::ImagePaths;

pub mod bundle;
mod users;

/// Which of the two originals' shapes is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// `"args":null` in the process.
    pub null_args: bool,
    /// Where an unmounted root is to be mounted: at its own path, or at `/`.
    pub mount_at_root: bool,
    /// Whether volumes that the image declares are bind-mounted.
    pub declared_volumes: bool,
}

#[derive(Serialize)]
struct Spec<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'static str,
    process: Process<'a>,
    root: Root<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<MountEntry>,
}

#[derive(Serialize)]
struct Process<'a> {
    user: User,
    /// `Some(None)` is written as `null`, `None` not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Option<()>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    env: &'a [String],
    cwd: &'static str,
}

#[derive(Serialize)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Serialize)]
struct Root<'a> {
    path: &'a Path,
}

#[derive(Serialize)]
struct MountEntry {
    destination: String,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    kind: &'static str,
    source: String,
    options: Vec<String>,
}

/// Writes the spec of a root file system as one line without the line's end.
pub fn spec(
    paths: &ImagePaths,
    config: &ImageConfig,
    mount: Option<&Mount>,
    shape: Shape,
) -> serde_json::Result<String> {
    let rootfs = paths.rootfs();
    let destination = if shape.mount_at_root { "/".to_owned() } else { text(&rootfs) };
    let mut mounts: Vec<MountEntry> =
        mount.map(|mount| root_mount(mount, destination)).into_iter().collect();
    if shape.declared_volumes {
        mounts.extend(declared_mounts(paths, config));
    }
    let spec = Spec {
        oci_version: "",
        process: Process {
            user: User { uid: 0, gid: 0 },
            args: shape.null_args.then_some(None),
            env: &config.env,
            cwd: "",
        },
        root: Root { path: &rootfs },
        mounts,
    };
    Ok(escape_like_go(&serde_json::to_string(&spec)?))
}

fn declared_mounts(paths: &ImagePaths, config: &ImageConfig) -> impl Iterator<Item = MountEntry> {
    config.volumes.iter().map(|volume| MountEntry {
        destination: volume.clone(),
        kind: "bind",
        source: text(&paths.declared_volume(volume)),
        options: vec!["bind".into()],
    })
}

fn root_mount(mount: &Mount, destination: String) -> MountEntry {
    match mount {
        Mount::Overlay { lower, upper, work, user_xattrs } => {
            let lower: Vec<String> = lower.iter().map(|path| text(path)).collect();
            let options = format!(
                "lowerdir={},upperdir={},workdir={}{}",
                lower.join(":"),
                text(upper),
                text(work),
                if *user_xattrs { ",userxattr" } else { "" }
            );
            MountEntry {
                destination,
                kind: "overlay",
                source: "overlay".into(),
                options: vec![options],
            }
        }
        Mount::Bind(source) => {
            MountEntry { destination, kind: "", source: text(source), options: vec!["bind".into()] }
        }
    }
}

/// Store paths are checked to be UTF-8 when the configuration is read.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Go writes these characters of strings as escapes, and they occur nowhere else in JSON.
fn escape_like_go(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const V030: Shape = Shape { null_args: true, mount_at_root: false, declared_volumes: true };
    const GARDEN: Shape = Shape { null_args: false, mount_at_root: true, declared_volumes: false };

    fn config(env: &[&str], volumes: &[&str]) -> ImageConfig {
        let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        ImageConfig { env: strings(env), volumes: strings(volumes), ..ImageConfig::default() }
    }

    fn paths() -> ImagePaths {
        ImagePaths::at("/s/images/a".into())
    }

    #[test]
    fn mounted_without_anything() {
        assert_eq!(
            spec(&paths(), &config(&[], &[]), None, V030).unwrap(),
            r#"{"ociVersion":"","process":{"user":{"uid":0,"gid":0},"args":null,"cwd":""},"root":{"path":"/s/images/a/rootfs"}}"#
        );
        assert_eq!(
            spec(&paths(), &config(&["A=<&>"], &["/v"]), None, GARDEN).unwrap(),
            r#"{"ociVersion":"","process":{"user":{"uid":0,"gid":0},"env":["A=\u003c\u0026\u003e"],"cwd":""},"root":{"path":"/s/images/a/rootfs"}}"#
        );
    }

    #[test]
    fn unmounted_roots_and_volumes() {
        let overlay = Mount::Overlay {
            lower: vec!["/s/l/b".into(), "/s/l/a".into()],
            upper: "/s/images/a/diff".into(),
            work: "/s/images/a/workdir".into(),
            user_xattrs: false,
        };
        let line = spec(&paths(), &config(&[], &["/data"]), Some(&overlay), V030).unwrap();
        assert!(line.contains(r#""mounts":[{"destination":"/s/images/a/rootfs","type":"overlay","source":"overlay","options":["lowerdir=/s/l/b:/s/l/a,upperdir=/s/images/a/diff,workdir=/s/images/a/workdir"]},{"destination":"/data","type":"bind","source":"/s/images/a/vol-"#), "{line}");
        let bind = Mount::Bind("/s/images/a/snapshot".into());
        let line = spec(&paths(), &config(&[], &[]), Some(&bind), GARDEN).unwrap();
        assert!(line.ends_with(r#""mounts":[{"destination":"/","source":"/s/images/a/snapshot","options":["bind"]}]}"#), "{line}");
    }
}
