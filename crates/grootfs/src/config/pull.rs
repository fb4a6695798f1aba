//! The `pull` and `registries` sections: how images are fetched (keys of our own).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Error;

/// Where certificates of registries lie for Docker, and so for us.
const CERTIFICATES: &str = "/etc/docker/certs.d";

/// Where containerd's `hosts.toml` files lie.
const HOSTS: &str = "/etc/containerd/certs.d";

/// The `pull` section as it is written. Times are in seconds, sizes in bytes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct File {
    /// Connections for layers at once.
    pub concurrency: Option<i64>,
    /// Bytes of a part of a blob.
    pub chunk_size: Option<i64>,
    /// Tries in all.
    pub attempts: Option<i64>,
    /// For a connection.
    pub connect_timeout_seconds: Option<i64>,
    /// For the next bytes.
    pub read_timeout_seconds: Option<i64>,
    /// For one answer.
    pub total_timeout_seconds: Option<i64>,
    /// How many times its size a layer may grow.
    pub ratio_limit: Option<i64>,
    /// Directories with `<registry>/hosts.toml`.
    pub hosts_directories: Option<Vec<PathBuf>>,
    /// Directories with `<host[:port]>/*.crt`.
    pub certificate_directories: Option<Vec<PathBuf>>,
}

impl File {
    /// The keys that say something, with their section.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let keys = [
            ("pull.concurrency", self.concurrency.is_some()),
            ("pull.chunk_size", self.chunk_size.is_some()),
            ("pull.attempts", self.attempts.is_some()),
            ("pull.connect_timeout_seconds", self.connect_timeout_seconds.is_some()),
            ("pull.read_timeout_seconds", self.read_timeout_seconds.is_some()),
            ("pull.total_timeout_seconds", self.total_timeout_seconds.is_some()),
            ("pull.ratio_limit", self.ratio_limit.is_some()),
            ("pull.hosts_directories", self.hosts_directories.is_some()),
            ("pull.certificate_directories", self.certificate_directories.is_some()),
        ];
        keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
    }
}

/// One registry of the `registries` section.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Registry {
    /// URLs in the order in which they are asked.
    pub mirrors: Option<Vec<String>>,
}

/// How images are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Connections for layers at once.
    pub concurrency: usize,
    /// Bytes of a part, where one blob is fetched over several connections.
    pub chunk_size: u64,
    /// How often something is tried in all.
    pub attempts: u32,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the next bytes.
    pub read_timeout: Duration,
    /// Longest time for one answer with its body.
    pub total_timeout: Duration,
    /// How many times its size a layer may grow when it is decompressed; 0 for any.
    pub ratio_limit: u64,
    /// Directories with `<registry>/hosts.toml`.
    pub hosts_directories: Vec<PathBuf>,
    /// Directories with `<host[:port]>/*.crt`.
    pub certificate_directories: Vec<PathBuf>,
    /// By registry: its mirrors, in order.
    pub mirrors: BTreeMap<String, Vec<String>>,
}

impl Pull {
    /// Fills in what is not said, and checks the rest.
    pub fn from_file(
        file: File,
        registries: BTreeMap<String, Option<Registry>>,
    ) -> Result<Self, Error> {
        let number = |value: Option<i64>, key: &str, default: u64, least: u64, most: u64| {
            let Some(value) = value else { return Ok(default) };
            let fits = |value: &u64| (least..=most).contains(value);
            u64::try_from(value).ok().filter(fits).ok_or_else(|| {
                Error::Value(format!(
                    "invalid argument: pull.{key} is {least} to {most}, not {value}"
                ))
            })
        };
        let seconds = |value, key, default| {
            number(value, key, default, 1, 7 * 86_400).map(Duration::from_secs)
        };
        // 64 connections are more than any registry likes; a part is held in memory.
        let concurrency = number(file.concurrency, "concurrency", 4, 1, 64)?;
        let attempts = number(file.attempts, "attempts", 3, 1, 100)?;
        let mirrors = registries
            .into_iter()
            .map(|(name, registry)| (name, registry.and_then(|r| r.mirrors).unwrap_or_default()))
            .collect();
        Ok(Self {
            concurrency: usize::try_from(concurrency).unwrap_or(1),
            chunk_size: number(file.chunk_size, "chunk_size", 4 << 20, 64 << 10, 64 << 20)?,
            attempts: u32::try_from(attempts).unwrap_or(1),
            // The original's 30 seconds; a minute without a byte is a dead connection; nobody
            // waits longer than an hour for one layer.
            connect_timeout: seconds(file.connect_timeout_seconds, "connect_timeout_seconds", 30)?,
            read_timeout: seconds(file.read_timeout_seconds, "read_timeout_seconds", 60)?,
            total_timeout: seconds(file.total_timeout_seconds, "total_timeout_seconds", 3600)?,
            // Above the first GiB: real layers stay below 20, gzip can reach 1032.
            ratio_limit: number(file.ratio_limit, "ratio_limit", 200, 0, u64::MAX)?,
            hosts_directories: file.hosts_directories.unwrap_or_else(|| vec![HOSTS.into()]),
            certificate_directories: file
                .certificate_directories
                .unwrap_or_else(|| vec![CERTIFICATES.into()]),
            mirrors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(yaml: &str) -> Result<Pull, String> {
        let file = serde_saphyr::from_str(yaml).unwrap();
        Pull::from_file(file, BTreeMap::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn fills_in_and_checks() {
        let pull = parsed("concurrency: 8\nread_timeout_seconds: 5\n").unwrap();
        assert_eq!((pull.concurrency, pull.attempts), (8, 3));
        assert_eq!(pull.read_timeout, Duration::from_secs(5));
        assert_eq!(pull.certificate_directories, [PathBuf::from(CERTIFICATES)]);
        for bad in ["concurrency: 0", "chunk_size: 1", "attempts: -1", "connect_timeout_seconds: 0"]
        {
            let error = parsed(bad).unwrap_err();
            assert!(error.contains(bad.split(':').next().unwrap()), "{error}");
        }
    }
}
