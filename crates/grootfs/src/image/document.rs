//! Manifests, indexes and image configurations: bytes from outside become checked values.
//!
//! A document is what its content says it is, and everything that names it must agree: the
//! descriptor, its own `mediaType`, the header of the answer that it came in. One that could be
//! read as two kinds is refused: two programs would see two images in it.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::digest::{Digest, Hasher};
use super::platform::Platform;
use super::{ImageConfig, schema1};

/// Largest index, manifest or configuration that is read: what registries take at most.
pub const LARGEST: u64 = 4 << 20;

/// Most layers of an image: overlay mounts no more than 500 (`OVL_MAX_STACK` in the kernel).
pub const MOST_LAYERS: usize = 500;

/// Most entries of an index: far more than there are platforms.
const MOST_ENTRIES: usize = 4096;

/// Annotation that names an image of a layout (OCI image specification, annotations).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation that says where in the root the entries of a layer go (contract 4.5).
const BASE_DIRECTORY: &str = "org.cloudfoundry.experimental.image.base-directory";
/// Annotation of a manifest that is about another one, such as a signature of its build.
const ABOUT_ANOTHER: &str = "vnd.docker.reference.type";

/// Why a document is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Error {
    /// Which document.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

/// The error about a document that is larger than [`LARGEST`].
pub fn too_large(what: &str) -> Error {
    Error { what: what.to_owned(), why: format!("more than {LARGEST} bytes are no document") }
}

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An OCI index or a Docker manifest list.
    Index,
    /// An OCI manifest or a Docker manifest of schema 2.
    Manifest,
    /// A Docker manifest of schema 1.
    Schema1,
}

impl Kind {
    /// By a media type; `None` for one that says nothing.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        // Parameters such as `; charset=utf-8` follow a semicolon.
        match media_type.split(';').next().unwrap_or_default().trim() {
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => Some(Self::Index),
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json" => Some(Self::Manifest),
            "application/vnd.docker.distribution.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v1+prettyjws" => Some(Self::Schema1),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Index => "an index",
            Self::Manifest => "a manifest",
            Self::Schema1 => "a manifest of schema 1",
        }
    }
}

/// A parsed index or manifest.
#[derive(Debug, Clone)]
pub enum Document {
    /// Several images, or one image for several platforms.
    Index(Vec<Descriptor>),
    /// One image.
    Manifest(Manifest),
    /// One image, as old registries have it.
    Schema1(schema1::Manifest),
}

/// What one document says about another blob.
#[derive(Debug, Clone)]
pub struct Descriptor {
    /// What the blob is; empty where it is not said.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Other places to get it from.
    pub urls: Vec<String>,
    /// What it was built for.
    pub platform: Option<Platform>,
    /// How a layout calls it.
    pub ref_name: Option<String>,
    /// Where in the root the entries of a layer go.
    pub base_directory: Option<PathBuf>,
    /// Whether this is no image but says something about one.
    pub about_another: bool,
}

/// One image: configuration and layers.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The configuration.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
}

/// An image configuration: what is used of it, and the digests of the plain layers.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// What the image says about its process.
    pub config: ImageConfig,
    /// One for each layer, base first.
    pub diff_ids: Vec<Digest>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: Option<String>,
    size: Option<i64>,
    urls: Option<Vec<String>>,
    platform: Option<Platform>,
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl Descriptor {
    fn from_raw(raw: RawDescriptor) -> Result<Self, String> {
        let text = raw.digest.ok_or("a descriptor without a digest")?;
        let digest: Digest =
            text.parse().map_err(|error: super::digest::ParseError| error.to_string())?;
        let size = raw.size.ok_or_else(|| format!("{digest} has no size"))?;
        let size = u64::try_from(size).map_err(|_| format!("{digest} has the size {size}"))?;
        let mut annotations = raw.annotations.unwrap_or_default();
        Ok(Self {
            media_type: raw.media_type.unwrap_or_default(),
            digest,
            size,
            urls: raw.urls.unwrap_or_default(),
            platform: raw.platform,
            ref_name: annotations.remove(REF_NAME).filter(|name| !name.is_empty()),
            base_directory: annotations
                .remove(BASE_DIRECTORY)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            about_another: annotations.contains_key(ABOUT_ANOTHER),
        })
    }

    /// Fails unless these are the bytes that are described.
    pub fn check(&self, what: &str, bytes: &[u8]) -> Result<(), Error> {
        let fail = |why| Err(Error { what: what.to_owned(), why });
        if bytes.len() as u64 != self.size {
            return fail(format!(
                "size mismatch: expected: {}, actual: {}",
                self.size,
                bytes.len()
            ));
        }
        check_digest(&self.digest, bytes).map_or(Ok(()), fail)
    }
}

/// What is wrong with the digest of these bytes.
pub fn check_digest(expected: &Digest, bytes: &[u8]) -> Option<String> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(bytes);
    let actual = hasher.finish();
    (actual != *expected)
        .then(|| format!("digest mismatch: expected: {expected}, actual: {actual}"))
}

/// Parses an index or a manifest. `said` is the media type under which it was handed out.
pub fn parse(what: &str, said: &str, bytes: &[u8]) -> Result<Document, Error> {
    let fail = |why: String| Error { what: what.to_owned(), why };
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| fail(format!("no JSON: {error}")))?;
    let kind = kind(&value).map_err(fail)?;
    let own = value.get("mediaType").and_then(Value::as_str).unwrap_or_default();
    for media_type in [said, own] {
        match Kind::of_media_type(media_type) {
            Some(said) if said != kind => {
                let (said, kind) = (said.name(), kind.name());
                return Err(fail(format!("it is called {media_type}, {said}, but is {kind}")));
            }
            None if media_type == own && !own.is_empty() => {
                return Err(fail(format!("the media type {media_type} is not that of an image")));
            }
            _ => {}
        }
    }
    match kind {
        Kind::Index => index(value).map(Document::Index),
        Kind::Manifest => manifest(value).map(Document::Manifest),
        Kind::Schema1 => schema1::parse(value).map(Document::Schema1),
    }
    .map_err(fail)
}

/// What a document is by its content.
fn kind(value: &Value) -> Result<Kind, String> {
    let has = |key| value.get(key).is_some_and(|value| !value.is_null());
    let version = value.get("schemaVersion").and_then(Value::as_u64);
    let parts = (has("manifests"), has("layers") || has("config"), has("fsLayers"));
    match (version, parts) {
        (Some(2), (true, false, false)) => Ok(Kind::Index),
        (Some(2), (false, true, false)) => Ok(Kind::Manifest),
        (Some(1), (false, false, true)) => Ok(Kind::Schema1),
        (None | Some(0), (true, false, false)) => Ok(Kind::Index),
        (Some(1 | 2), (false, false, false)) => {
            Err("it lists neither manifests nor layers".to_owned())
        }
        (Some(1 | 2), _) => Err("it can be read as more than one kind of document".to_owned()),
        (other, _) => {
            let version = other.map_or("no version".to_owned(), |v| format!("version {v}"));
            Err(format!("it is no image manifest (schema {version})"))
        }
    }
}

fn descriptors(value: Value, name: &str, most: usize) -> Result<Vec<Descriptor>, String> {
    let raw: Vec<RawDescriptor> =
        serde_json::from_value(value).map_err(|error| format!("broken {name}: {error}"))?;
    if raw.len() > most {
        return Err(format!("it has {} {name}, at most {most} are taken", raw.len()));
    }
    raw.into_iter()
        .map(Descriptor::from_raw)
        .collect::<Result<_, _>>()
        .map_err(|why| format!("broken {name}: {why}"))
}

fn index(mut value: Value) -> Result<Vec<Descriptor>, String> {
    descriptors(value["manifests"].take(), "manifests", MOST_ENTRIES)
}

fn manifest(mut value: Value) -> Result<Manifest, String> {
    let layers = value["layers"].take();
    let layers = if layers.is_null() { Value::Array(Vec::new()) } else { layers };
    let layers = descriptors(layers, "layers", MOST_LAYERS)?;
    if layers.is_empty() {
        return Err("the image has no layers".to_owned());
    }
    let config = value["config"].take();
    if config.is_null() {
        return Err("the image has no configuration".to_owned());
    }
    let config = descriptors(Value::Array(vec![config]), "configuration", 1)?;
    let config = config.into_iter().next().ok_or("the image has no configuration")?;
    if config.media_type == "application/vnd.oci.empty.v1+json" {
        return Err("it is an artifact and no image: its configuration is empty".to_owned());
    }
    Ok(Manifest { config, layers })
}

#[derive(Debug, Default, Deserialize)]
struct RawConfiguration {
    config: Option<RawConfig>,
    rootfs: Option<RawRootfs>,
}

#[derive(Debug, Default, Deserialize)]
struct RawRootfs {
    diff_ids: Option<Vec<String>>,
}

/// The `config` part, which schema 1 has as well.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RawConfig {
    env: Option<Vec<String>>,
    volumes: Option<std::collections::BTreeMap<String, Value>>,
    entrypoint: Option<Words>,
    cmd: Option<Words>,
    user: Option<String>,
    working_dir: Option<String>,
}

/// A list of words, or a single one as some old builders wrote it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    Many(Vec<String>),
    One(String),
}

impl Words {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::Many(words) => words,
            Self::One(word) => vec![word],
        }
    }
}

impl From<RawConfig> for ImageConfig {
    fn from(raw: RawConfig) -> Self {
        Self {
            env: raw.env.unwrap_or_default(),
            volumes: raw.volumes.unwrap_or_default().into_keys().collect(),
            entrypoint: raw.entrypoint.map(Words::into_vec).unwrap_or_default(),
            cmd: raw.cmd.map(Words::into_vec).unwrap_or_default(),
            user: raw.user.unwrap_or_default(),
            working_dir: raw.working_dir.unwrap_or_default(),
        }
    }
}

/// Parses an image configuration.
pub fn configuration(what: &str, bytes: &[u8]) -> Result<Configuration, Error> {
    let fail = |why: String| Error { what: what.to_owned(), why };
    let raw: RawConfiguration = serde_json::from_slice(bytes)
        .map_err(|error| fail(format!("no image configuration: {error}")))?;
    let diff_ids = raw
        .rootfs
        .and_then(|rootfs| rootfs.diff_ids)
        .ok_or_else(|| fail("no image configuration: rootfs.diff_ids is missing".to_owned()))?
        .iter()
        .map(|text| text.parse::<Digest>())
        .collect::<Result<_, _>>()
        .map_err(|error| fail(format!("broken diff id: {error}")))?;
    Ok(Configuration { config: raw.config.unwrap_or_default().into(), diff_ids })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> String {
        Digest::sha256_of(b"x").to_string()
    }

    fn descriptor(extra: &str) -> String {
        format!(r#"{{"mediaType":"t","digest":"{}","size":1{extra}}}"#, digest())
    }

    fn parsed(said: &str, text: &str) -> Result<Document, String> {
        parse("manifest", said, text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn knows_documents_by_their_content() {
        let layer = descriptor(
            r#","annotations":{"org.cloudfoundry.experimental.image.base-directory":"/home"},"urls":null"#,
        );
        let text =
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layer}]}}"#, descriptor(""));
        for said in ["", "application/vnd.oci.image.manifest.v1+json; charset=utf-8", "text/plain"]
        {
            let Document::Manifest(manifest) = parsed(said, &text).unwrap() else {
                panic!("{said}")
            };
            assert_eq!(manifest.layers[0].base_directory.as_deref(), Some("/home".as_ref()));
        }
        let entry =
            descriptor(r#","platform":{"os":"linux","architecture":"arm64","os.version":"1"}"#);
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{entry}],"layers":null}}"#);
        let Document::Index(entries) = parsed("", &text).unwrap() else { panic!() };
        assert_eq!(entries[0].platform.as_ref().unwrap().to_string(), "linux/arm64");
    }

    #[test]
    fn refuses_with_a_reason() {
        let d = descriptor("");
        let image = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d}]}}"#);
        let many = vec![d.as_str(); MOST_LAYERS + 1].join(",");
        for (said, text, why) in [
            ("", "{", "no JSON"),
            ("", "[]", "no image manifest"),
            ("", r#"{"schemaVersion":2}"#, "neither manifests nor layers"),
            ("", r#"{"schemaVersion":3,"layers":[]}"#, "schema version 3"),
            (
                "application/vnd.oci.image.index.v1+json",
                image.as_str(),
                "an index, but is a manifest",
            ),
            (
                "",
                &format!(
                    r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","config":{d},"layers":[{d}]}}"#
                ),
                "an index, but is a manifest",
            ),
            (
                "",
                &format!(
                    r#"{{"schemaVersion":2,"mediaType":"text/html","config":{d},"layers":[{d}]}}"#
                ),
                "text/html is not that of an image",
            ),
            (
                "",
                &format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d}],"manifests":[{d}]}}"#),
                "more than one kind",
            ),
            ("", &format!(r#"{{"schemaVersion":2,"config":{d},"layers":[]}}"#), "no layers"),
            ("", &format!(r#"{{"schemaVersion":2,"layers":[{d}]}}"#), "no configuration"),
            ("", &format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{many}]}}"#), "501 layers"),
            ("", &image.replace("\"size\":1", "\"size\":-1"), "has the size -1"),
            ("", &image.replace("\"size\":1", "\"sizes\":1"), "has no size"),
            ("", &image.replace("sha256:", "md5:"), "only sha256 and sha512"),
        ] {
            let error = parsed(said, text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn configurations_may_be_odd_but_not_empty() {
        let read = |text: &str| configuration("config", text.as_bytes());
        let odd = read(&format!(
            r#"{{"config":{{"Env":["A=b"],"Volumes":{{"/b":{{}},"/a":null}},"Cmd":"sh","Entrypoint":null,"ExposedPorts":[1]}},"rootfs":{{"diff_ids":["{}"]}}}}"#,
            digest()
        ))
        .unwrap();
        assert_eq!(odd.config.volumes, ["/a", "/b"]);
        assert_eq!(odd.config.cmd, ["sh"]);
        assert_eq!(odd.diff_ids.len(), 1);
        let bare = read(r#"{"config":null,"rootfs":{"diff_ids":[]}}"#).unwrap();
        assert_eq!(bare.config, ImageConfig::default());
        for bad in ["", "{}", "null", r#"{"rootfs":{}}"#, r#"{"rootfs":{"diff_ids":["x"]}}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn checks_bytes() {
        let raw: RawDescriptor = serde_json::from_str(&descriptor("")).unwrap();
        let descriptor = Descriptor::from_raw(raw).unwrap();
        assert!(descriptor.check("blob", b"x").is_ok());
        let error = |bytes: &[u8]| descriptor.check("blob", bytes).unwrap_err().to_string();
        assert!(error(b"y").starts_with("blob: digest mismatch"), "{}", error(b"y"));
        assert!(error(b"xx").contains("size mismatch: expected: 1, actual: 2"));
    }
}
