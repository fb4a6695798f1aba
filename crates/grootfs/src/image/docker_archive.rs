//! Tars as `docker save` writes them: `manifest.json` names configuration and plain layers.

use serde::Deserialize;

use super::argument::Located;
use super::document;
use super::files::{Archive, Files};
use super::reference::Reference;
use super::{Blob, Cause, Error, Identity, Image, ImageSource, Layer};

/// One image of an archive.
#[derive(Debug)]
pub struct DockerArchive {
    files: Archive,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl DockerArchive {
    /// Names an image; nothing is read yet.
    pub fn new(located: Located) -> Self {
        Self { files: Archive::new(&located.path), name: located.name }
    }

    fn entry(&self) -> Result<Entry, Cause> {
        let fail = |why: String| {
            Cause::Document(document::Error { what: "manifest.json".to_owned(), why })
        };
        let bytes = self.files.read("manifest.json")?;
        let entries: Vec<Entry> =
            serde_json::from_slice(&bytes).map_err(|error| fail(format!("broken: {error}")))?;
        let mut names: Vec<String> =
            entries.iter().flat_map(|entry| entry.repo_tags.clone().unwrap_or_default()).collect();
        names.sort();
        let offered = if names.is_empty() { "none with a name".into() } else { names.join(", ") };
        let count = entries.len();
        let mut found = entries.into_iter().filter(|entry| self.is_meant(entry));
        match (found.next(), found.next(), &self.name) {
            (Some(only), None, _) => Ok(only),
            (None, _, Some(name)) => {
                Err(fail(format!("no image found for reference \"{name}\" (there are: {offered})")))
            }
            (None, _, None) => Err(fail("the archive holds no image".to_owned())),
            (Some(_), Some(_), _) => Err(fail(format!(
                "the archive holds {count} images, choose one by a reference after a colon: {offered}"
            ))),
        }
    }

    fn is_meant(&self, entry: &Entry) -> bool {
        let Some(name) = &self.name else { return true };
        // `busybox` and `docker.io/library/busybox:latest` are one image.
        let full = |text: &str| text.parse::<Reference>().map(|found| found.to_string()).ok();
        let wanted = full(name);
        let tags = entry.repo_tags.iter().flatten();
        tags.into_iter().any(|tag| tag == name || (wanted.is_some() && full(tag) == wanted))
    }

    fn read(&self) -> Result<(Entry, document::Configuration), Error> {
        let entry = self.entry().map_err(Error::Reference)?;
        let configuration = self
            .files
            .read(&entry.config)
            .and_then(|bytes| Ok(document::configuration(&entry.config, &bytes)?))
            .map_err(Error::Configuration)?;
        Ok((entry, configuration))
    }
}

impl ImageSource for DockerArchive {
    fn image(&self) -> Result<Image, Error> {
        let (entry, configuration) = self.read()?;
        let (layers, diff_ids) = (entry.layers.len(), configuration.diff_ids.len());
        let fail = |why| {
            let what = "manifest.json".to_owned();
            Err(Error::Configuration(document::Error { what, why }.into()))
        };
        if layers == 0 {
            return fail("the image has no layers".to_owned());
        }
        if layers > document::MOST_LAYERS {
            let most = document::MOST_LAYERS;
            return fail(format!("it has {layers} layers, at most {most} are taken"));
        }
        if layers != diff_ids {
            return fail(format!(
                "the manifest has {layers} layers, but the configuration has {diff_ids} diff ids"
            ));
        }
        let version = self.files.version().map_err(Error::Reference)?;
        let layers = entry.layers.into_iter().zip(configuration.diff_ids).map(|(name, diff_id)| {
            Ok(Layer {
                proof: Some(format!("docker-archive:{version}/{name}")),
                size: Some(self.files.size(&name).map_err(Error::Configuration)?),
                blob: name,
                digest: None,
                media_type: String::new(),
                identity: Identity::DiffId(diff_id),
                base_directory: None,
                urls: Vec::new(),
                verify: true,
            })
        });
        let layers = layers.collect::<Result<_, Error>>()?;
        Ok(Image { layers, config: configuration.config })
    }

    fn open(&self, layer: &Layer) -> Result<Blob, Error> {
        self.files.open(&layer.blob).map_err(Error::Blob)
    }
}
