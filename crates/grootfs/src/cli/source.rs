//! What `create` and `pull` share: flags and configuration become the options of an image source.

use std::path::Path;

use super::args::ImageArgs;
use super::{Context, progress};
use crate::error::{AtPath, Error};
use crate::image::network::retry::Policy;
use crate::image::network::{NetworkOptions, Timeouts};
use crate::image::platform::Platform;
use crate::image::registry::Pull;
use crate::image::registry::endpoint::Mirrors;
use crate::image::{self, ImageSource, Secret, SourceOptions};

/// Environment variables for a login that shows in no process list.
const USERNAME: &str = "GROOTFS_USERNAME";
const PASSWORD: &str = "GROOTFS_PASSWORD";

/// Longest password file.
const LONGEST_PASSWORD: usize = 64 * 1024;

/// Reads an image argument; what is fetched is shown to who looks.
pub fn open(
    context: &Context,
    argument: &str,
    args: &ImageArgs,
) -> Result<Box<dyn ImageSource>, Error> {
    let source = image::open(argument, &options(context, args)?)?;
    Ok(progress::watch(source, context.progress, context.log.shows_errors()))
}

/// Puts the options together.
fn options(context: &Context, args: &ImageArgs) -> Result<SourceOptions, Error> {
    let config = &context.config;
    let pull = &config.pull;
    let platform = match &args.platform {
        Some(text) => text.parse().map_err(|error| Error::Message(format!("{error}")))?,
        None => Platform::host(),
    };
    let (username, password) = login(args)?;
    Ok(SourceOptions {
        network: NetworkOptions {
            timeouts: Timeouts {
                connect: pull.connect_timeout,
                read: pull.read_timeout,
                total: Some(pull.total_timeout),
            },
            retry: Policy { attempts: pull.attempts, ..Policy::default() },
            insecure: config.insecure_registries.clone(),
            certificates: pull.certificate_directories.clone(),
            interrupt: context.interrupt.clone(),
            log: context.log.clone(),
        },
        pull: Pull { concurrency: pull.concurrency, chunk_size: pull.chunk_size },
        mirrors: Mirrors {
            by_registry: pull.mirrors.clone(),
            directories: pull.hosts_directories.clone(),
        },
        skip_layer_validation: config.skip_layer_validation,
        remote_layer_client_certificates_path: config.remote_layer_client_certificates_path.clone(),
        username,
        password,
        mtime_in_tar_id: config.compat.shows_time_in_tar_volumes(),
        platform,
    })
}

/// The login that the environment names.
pub fn in_environment() -> Option<(String, Secret)> {
    Some((variable(USERNAME)?, Secret::new(variable(PASSWORD).unwrap_or_default())))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The flags, or else the environment. What is saved by `docker login` is looked up when a
/// registry asks.
fn login(args: &ImageArgs) -> Result<(Option<String>, Option<Secret>), Error> {
    let username = args.username.clone().filter(|name| !name.is_empty());
    let username = username.or_else(|| variable(USERNAME));
    let password = match (&args.password, &args.password_file) {
        (Some(_), Some(_)) => {
            let text = "--password and --password-file cannot be used together";
            return Err(Error::Message(text.to_owned()));
        }
        (Some(password), None) => Some(Secret::new(password.clone())),
        (None, Some(path)) => Some(read_password(path)?),
        (None, None) => variable(PASSWORD).map(Secret::new),
    };
    if username.is_none() && args.password_file.is_some() {
        let text = format!("--password-file needs --username or {USERNAME}");
        return Err(Error::Message(text));
    }
    Ok((username, password))
}

/// A password is the first line of its file.
fn read_password(path: &Path) -> Result<Secret, Error> {
    let text = std::fs::read_to_string(path).at("open", path)?;
    if text.len() > LONGEST_PASSWORD {
        let text = format!(
            "{} is too long for a password: at most {LONGEST_PASSWORD} bytes",
            path.display()
        );
        return Err(Error::Message(text));
    }
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}
