//! Images get into a registry.

use std::io;
use std::path::Path;
use std::process::Command;

use crate::daemon::require_program;
use crate::http::message::Headers;
use crate::http::upstream::exchange;
use crate::registry::Registry;

/// How a pushed image is to be described in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As it is in the source, digests included.
    Kept,
    /// As an OCI manifest.
    Oci,
    /// As a Docker schema 2 manifest; compressed layers keep their digests.
    DockerSchema2,
    /// As a signed Docker schema 1 manifest. The image's config must have a `history`.
    DockerSchema1,
}

impl Registry {
    /// Copies `reference` of an OCI layout to `repository:tag`, with all its platforms when it is
    /// an index. Gives nothing back: the digests are those of the layout when the format is kept.
    ///
    /// # Panics
    ///
    /// When `skopeo` is missing or fails. It knows no sha512: see [`Registry::put_blob`].
    pub fn push_layout(
        &self,
        layout: &Path,
        reference: &str,
        repository: &str,
        tag: &str,
        format: Format,
    ) {
        require_program("skopeo", "skopeo");
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "--command-timeout", "120s", "copy", "--all"]);
        match format {
            Format::Kept => command.arg("--preserve-digests"),
            Format::Oci => command.args(["--format", "oci"]),
            Format::DockerSchema2 => command.args(["--format", "v2s2"]),
            Format::DockerSchema1 => command.args(["--format", "v2s1"]),
        };
        match &self.access.certificates {
            Some(directory) => command.arg("--dest-cert-dir").arg(directory),
            None => command.arg("--dest-tls-verify=false"),
        };
        match &self.access.credentials {
            Some(credentials) => command.args(["--dest-creds", credentials]),
            None => command.arg("--dest-no-creds"),
        };
        command.arg(format!("oci:{}:{reference}", layout.display()));
        command.arg(format!("docker://{}/{repository}:{tag}", self.host()));
        let output = command.output().expect("skopeo starts");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "skopeo failed: {why}");
    }

    /// Sends a blob as it is to a registry without TLS and login; gives the status.
    ///
    /// # Errors
    ///
    /// When the registry cannot be reached.
    pub fn put_blob(&self, repository: &str, digest: &str, bytes: &[u8]) -> io::Result<u16> {
        let none = Headers::default();
        let uploads = format!("/v2/{repository}/blobs/uploads/");
        let (status, headers, _) = exchange(&self.host(), "POST", &uploads, &none, b"")?;
        let Some(location) = headers.get("location") else { return Ok(status) };
        let mark = if location.contains('?') { '&' } else { '?' };
        let target = format!("{location}{mark}digest={digest}");
        Ok(exchange(&self.host(), "PUT", &target, &none, bytes)?.0)
    }

    /// Sends a manifest as it is to a registry without TLS and login; gives the status and what the
    /// registry says to it.
    ///
    /// # Errors
    ///
    /// When the registry cannot be reached.
    pub fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> io::Result<(u16, String)> {
        let headers = Headers::from([("Content-Type", media_type)]);
        let target = format!("/v2/{repository}/manifests/{reference}");
        let (status, _, body) = exchange(&self.host(), "PUT", &target, &headers, bytes)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}
