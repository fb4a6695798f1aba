//! A plain tar as an image of one layer (contract 4.2), compressed or not by its first bytes.

use std::path::PathBuf;

use super::digest::Digest;
use super::files::{changed, open_file};
use super::{Blob, Cause, Error, Identity, Image, ImageConfig, ImageSource, Layer};
use crate::error::AtPath;

/// One tar file.
#[derive(Debug)]
pub struct Tarball {
    /// As it was given, made absolute.
    path: PathBuf,
    /// Whether the volume's name shows the modification time.
    shows_time: bool,
}

impl Tarball {
    /// Names a file; nothing is read yet.
    pub fn new(path: &str, shows_time: bool) -> Self {
        // One volume for each file: a relative path names another one in every directory.
        let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
        Self { path, shows_time }
    }

    fn volume(&self, changed: i128) -> String {
        let hex = |text: &str| Digest::sha256_of(text.as_bytes()).hex().to_owned();
        let path = self.path.to_string_lossy();
        if self.shows_time {
            format!("{}-{changed}", hex(&path))
        } else {
            hex(&format!("{path}-{changed}"))
        }
    }
}

impl ImageSource for Tarball {
    fn image(&self) -> Result<Image, Error> {
        let metadata = std::fs::metadata(&self.path).at("stat", &self.path);
        let metadata = metadata.map_err(Error::Timestamp)?;
        if metadata.is_dir() {
            return Err(Error::Blob(Cause::Directory(self.path.clone())));
        }
        let layer = Layer {
            blob: self.path.display().to_string(),
            digest: None,
            proof: None,
            size: None,
            media_type: String::new(),
            identity: Identity::Tar(self.volume(changed(&metadata))),
            base_directory: None,
            urls: Vec::new(),
            verify: false,
        };
        Ok(Image { layers: vec![layer], config: ImageConfig::default() })
    }

    fn open(&self, layer: &Layer) -> Result<Blob, Error> {
        let missing = |cause| match cause {
            Cause::Path(error) => Error::Blob(Cause::LocalImage { path: self.path.clone(), error }),
            other => Error::Blob(other),
        };
        let file = open_file(&self.path).map_err(missing)?;
        let metadata = file.metadata().at("stat", &self.path);
        let metadata = metadata.map_err(|error| missing(Cause::Path(error)))?;
        let found = Identity::Tar(self.volume(changed(&metadata)));
        if found != layer.identity {
            return Err(Error::Blob(Cause::Changed(self.path.clone())));
        }
        Ok(Box::new(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_changed_file_is_another_layer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b%20ü.tar");
        std::fs::write(&path, "x").unwrap();
        let text = path.to_str().unwrap();
        let set = |seconds| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        set(7);
        let tarball = Tarball::new(text, true);
        let layer = tarball.image().unwrap().layers.remove(0);
        let hex = Digest::sha256_of(text.as_bytes());
        assert_eq!(layer.identity, Identity::Tar(format!("{}-7000000000", hex.hex())));
        let garden = Tarball::new(text, false).image().unwrap().layers.remove(0);
        let hex = Digest::sha256_of(format!("{text}-7000000000").as_bytes());
        assert_eq!(garden.identity, Identity::Tar(hex.hex().to_owned()));
        assert!(tarball.open(&layer).is_ok());
        set(8);
        assert!(matches!(tarball.open(&layer), Err(Error::Blob(Cause::Changed(_)))));
    }

    #[test]
    fn says_what_is_no_tar_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &Path| Tarball::new(path.to_str().unwrap(), true).image().unwrap_err();
        assert!(matches!(at(dir.path()), Error::Blob(Cause::Directory(_))));
        let missing = at(&dir.path().join("none")).to_string();
        assert!(missing.starts_with("fetching image timestamp: stat /"), "{missing}");
        assert!(missing.ends_with(": no such file or directory"), "{missing}");
    }
}
