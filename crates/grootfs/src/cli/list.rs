//! `grootfs list`

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Context;
use super::args::List;
use super::table::{Align, aligned, plain, row};
use crate::driver::limit::{Short, Usage};
use crate::error::Error;
use crate::observe::log::rfc3339;
use crate::store::id::ImageId;
use crate::store::layout::ImagePaths;
use crate::store::{dependencies, images, origin};

pub fn run(context: &Context, args: &List) -> Result<String, Error> {
    let root = context.layout.root();
    if !root.exists() {
        return Err(Error::Message(format!("no store found at {}", root.display())));
    }
    let paths = images::list(&context.layout)?;
    if paths.is_empty() {
        return Ok(if args.json { String::new() } else { "Store empty\n".to_owned() });
    }
    if !args.json && !args.long {
        return Ok(paths.iter().map(|path| path.to_string_lossy() + "\n").collect());
    }
    let images = look(context, &paths)?;
    if args.json { json(&images) } else { Ok(table(&images)) }
}

/// What is told of a root file system. What nobody knows is `null` or `?`.
#[derive(Debug, Serialize)]
struct Image {
    id: String,
    path: String,
    image: Option<String>,
    created: Option<String>,
    layers: Option<usize>,
    limit_bytes: Option<u64>,
    used_bytes: Option<u64>,
    total_bytes: Option<u64>,
}

/// One that goes away meanwhile is left out.
fn look(context: &Context, paths: &[impl AsRef<Path>]) -> Result<Vec<Image>, Error> {
    context.store()?;
    let driver = context.driver();
    let counted = driver.count();
    if let Err(error) = &counted {
        context.log.error("fetching-stats", error);
    }
    let mut images = Vec::with_capacity(paths.len());
    for path in paths {
        let paths = ImagePaths::at(path.as_ref().to_owned());
        // A file system that counts nothing has told so already.
        let usage = counted.is_ok().then(|| driver.usage(&paths)).and_then(|usage| {
            usage.inspect_err(|error| context.log.error("fetching-stats", error)).ok()
        });
        if paths.dir().exists() {
            images.push(image(context, &paths, usage));
        }
    }
    Ok(images)
}

fn image(context: &Context, paths: &ImagePaths, usage: Option<Usage>) -> Image {
    let name = paths.dir().file_name().unwrap_or_default().to_string_lossy();
    let id = ImageId::new(&name).ok();
    let volumes = id.as_ref().and_then(|id| dependencies::read(&context.layout, id).ok().flatten());
    Image {
        path: paths.dir().to_string_lossy().into_owned(),
        image: id.as_ref().and_then(|id| origin::read(&context.layout, id)),
        created: created(paths.dir()),
        layers: volumes.map(|volumes| volumes.len()),
        limit_bytes: usage.map(|usage| usage.quota),
        used_bytes: usage.map(|usage| usage.exclusive),
        total_bytes: usage.map(|usage| usage.total),
        id: name.into_owned(),
    }
}

/// When the directory was made; `None` where the file system does not remember it.
fn created(path: &Path) -> Option<String> {
    let time: SystemTime = std::fs::symlink_metadata(path).ok()?.created().ok()?;
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let text = rfc3339(Duration::from_secs(seconds));
    Some(text.split('.').next().unwrap_or_default().to_owned() + "Z")
}

fn json(images: &[Image]) -> Result<String, Error> {
    let mut out = String::new();
    for image in images {
        let line = serde_json::to_string(image).map_err(|e| Error::Message(e.to_string()))?;
        out.push_str(&line);
        out.push('\n');
    }
    Ok(out)
}

fn table(images: &[Image]) -> String {
    let bytes = |bytes: Option<u64>| bytes.map_or("?".to_owned(), |n| Short(n).to_string());
    let mut rows = vec![row(["ID", "CREATED (UTC)", "LAYERS", "LIMIT", "USED", "IMAGE"])];
    for image in images {
        let created = image.created.as_deref().unwrap_or("?");
        rows.push([
            plain(&image.id),
            created.trim_end_matches('Z').replace('T', " "),
            image.layers.map_or("?".to_owned(), |layers| layers.to_string()),
            if image.limit_bytes == Some(0) { "none".to_owned() } else { bytes(image.limit_bytes) },
            bytes(image.used_bytes),
            image.image.as_deref().map_or("?".to_owned(), plain),
        ]);
    }
    use Align::{Left, Right};
    aligned(&rows, [Left, Left, Right, Right, Right, Left])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing_known(id: &str) -> Image {
        Image {
            id: id.to_owned(),
            path: format!("/s/images/{id}"),
            image: None,
            created: None,
            layers: None,
            limit_bytes: None,
            used_bytes: None,
            total_bytes: None,
        }
    }

    #[test]
    fn what_nobody_knows_shows_so() {
        let known = Image {
            image: Some("docker://x/y:\u{1b}[2J".to_owned()),
            created: Some("2026-11-27T01:02:03Z".to_owned()),
            layers: Some(3),
            limit_bytes: Some(256 << 20),
            used_bytes: Some(1536),
            ..nothing_known("web-1")
        };
        let free = Image { limit_bytes: Some(0), used_bytes: Some(0), ..nothing_known("a\nb") };
        assert_eq!(
            table(&[known, free, nothing_known("c")]),
            "ID     CREATED (UTC)        LAYERS    LIMIT     USED  IMAGE\n\
             web-1  2026-11-27 01:02:03       3  256 MiB  1.5 KiB  docker://x/y:\\u{1b}[2J\n\
             a\\nb   ?                         ?     none  0 bytes  ?\n\
             c      ?                         ?        ?        ?  ?\n"
        );
    }
}
