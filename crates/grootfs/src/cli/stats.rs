//! `grootfs stats`

use serde::Serialize;

use super::Context;
use super::args::Stats;
use super::find::{Found, find};
use crate::driver::limit::Usage;
use crate::driver::{Driver, Told};
use crate::error::{Error, chain};
use crate::image::argument;
use crate::observe::Level;
use crate::observe::log::data;
use crate::observe::metrics::Timing;
use crate::store::images;
use crate::store::layout::ImagePaths;

/// One line. Garden takes two levels of unsigned numbers and nothing else (garden.md, section 2), so `id`
/// is there only where several are told of.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    disk_usage: DiskUsage,
}

#[derive(Serialize)]
struct DiskUsage {
    total_bytes_used: u64,
    exclusive_bytes_used: u64,
    quota_size_bytes: u64,
    committed_space_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    inodes_used: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode_limit: Option<u64>,
}

pub fn run(context: &Context, args: &Stats) -> Result<String, Error> {
    if args.all {
        return context.metrics.timed(Timing::ImageStats, || all(context));
    }
    let argument = args.arguments.first().map(String::as_str).unwrap_or_default();
    let paths = match find(context, argument)? {
        Found::Missing(text) => {
            context.log.tell(Level::Error, "find-id-failed", || {
                data([
                    ("id", argument::redacted(argument).into()),
                    ("storePath", context.layout.root().to_string_lossy().into()),
                    ("error", text.as_str().into()),
                ])
            });
            return Err(Error::Message(text));
        }
        Found::Image(_, paths) => paths,
    };
    context.metrics.timed(Timing::ImageStats, || {
        let driver = context.driver();
        let driver = Told::new(&*driver, &context.log);
        driver.count()?;
        match driver.usage(&paths) {
            // Somebody is at it; that is no fault of the store.
            Err(_) if !paths.rootfs().exists() => Err(Error::Message(format!(
                "Image `{argument}` not found: it is being made or deleted."
            ))),
            usage => line(None, &usage?),
        }
    })
}

/// A line for each root file system. One that goes away meanwhile, or cannot be measured, is left out and
/// logged: the others count.
fn all(context: &Context) -> Result<String, Error> {
    context.store()?;
    let driver = context.driver();
    let driver = Told::new(&*driver, &context.log);
    driver.count()?;
    let mut out = String::new();
    let mut failed = None;
    for path in images::list(&context.layout)? {
        let paths = ImagePaths::at(path);
        let Some(id) = paths.dir().file_name().and_then(|name| name.to_str()) else { continue };
        match driver.usage(&paths) {
            Ok(usage) => out.push_str(&line(Some(id), &usage)?),
            Err(_) if !paths.dir().exists() => {}
            Err(error) => {
                context.log.error("fetching-stats", &error);
                failed.get_or_insert(format!("stats of image `{id}` failed: {}", chain(&error)));
            }
        }
    }
    match failed {
        Some(text) if out.is_empty() => Err(Error::Message(text)),
        _ => Ok(out),
    }
}

fn line(id: Option<&str>, usage: &Usage) -> Result<String, Error> {
    let line = Line {
        id,
        disk_usage: DiskUsage {
            total_bytes_used: usage.total,
            exclusive_bytes_used: usage.exclusive,
            quota_size_bytes: usage.quota,
            committed_space_bytes: usage.committed,
            inodes_used: usage.inodes.map(|inodes| inodes.used),
            inode_limit: usage.inodes.map(|inodes| inodes.limit),
        },
    };
    let text = serde_json::to_string(&line).map_err(|error| Error::Message(error.to_string()))?;
    Ok(text + "\n")
}
