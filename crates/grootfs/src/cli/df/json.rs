//! What `df --json` prints. Keys stay; what is not known is `null`, and all numbers are unsigned.

use serde::Serialize;

use super::Report;
use crate::error::Error;
use crate::store::accounting::{self, ImageState, Sum, VolumeState};

#[derive(Serialize)]
struct Document<'a> {
    store: Store<'a>,
    layers: Layers,
    volumes: Vec<Volume<'a>>,
    images: Vec<Image<'a>>,
    promised: Promised,
    clean: Clean,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Store<'a> {
    path: &'a str,
    driver: &'static str,
    mount_point: String,
    size_bytes: u64,
    used_bytes: u64,
    free_bytes: u64,
    backing_file: Option<Backing>,
}

#[derive(Serialize)]
struct Backing {
    path: String,
    size_bytes: u64,
    allocated_bytes: u64,
    free_bytes: u64,
}

#[derive(Serialize)]
struct Layers {
    used: Part,
    unused: Part,
    removing: Part,
    building: Part,
    unfinished: Part,
    kept: Part,
}

/// Layers or images, with the bytes of those that are known.
#[derive(Serialize)]
struct Part {
    count: u64,
    bytes: u64,
    unknown_count: u64,
}

#[derive(Serialize)]
struct Volume<'a> {
    name: &'a str,
    state: &'static str,
    bytes: Option<u64>,
    images: Vec<&'a str>,
}

#[derive(Serialize)]
struct Image<'a> {
    id: &'a str,
    state: &'static str,
    total_bytes: Option<u64>,
    exclusive_bytes: Option<u64>,
    layers_bytes: Option<u64>,
    limit_bytes: Option<u64>,
    committed_bytes: Option<u64>,
    inodes_used: Option<u64>,
    inode_limit: Option<u64>,
    problem: Option<String>,
}

#[derive(Serialize)]
struct Promised {
    limited_images: u64,
    unlimited_images: u64,
    unknown_images: u64,
    committed_bytes: u64,
    committed_percent: u64,
    may_still_write_bytes: u64,
}

#[derive(Serialize)]
struct Clean {
    reclaimable_bytes: u64,
    removed_images: Part,
    measured_bytes: u64,
    threshold_bytes: u64,
    threshold_reached: bool,
    keep_recent: bool,
    threshold_unreachable: bool,
}

pub fn print(report: &Report<'_>) -> Result<String, Error> {
    let text = serde_json::to_string(&document(report));
    Ok(text.map_err(|error| Error::Message(error.to_string()))? + "\n")
}

fn document<'a>(report: &'a Report<'_>) -> Document<'a> {
    let books = report.accounting;
    let promised = books.promised();
    Document {
        store: Store {
            path: report.store,
            driver: report.driver.name(),
            mount_point: books.space.mount_point.to_string_lossy().into_owned(),
            size_bytes: books.space.size,
            used_bytes: books.space.used,
            free_bytes: books.space.free,
            backing_file: books.backing.as_ref().map(|backing| Backing {
                path: backing.path.to_string_lossy().into_owned(),
                size_bytes: backing.size,
                allocated_bytes: backing.allocated,
                free_bytes: backing.free,
            }),
        },
        layers: Layers {
            used: books.layers(VolumeState::Used).into(),
            unused: books.layers(VolumeState::Unused).into(),
            removing: books.layers(VolumeState::Removing).into(),
            building: books.layers(VolumeState::Building).into(),
            unfinished: books.layers(VolumeState::Unfinished).into(),
            kept: books.layers(VolumeState::Kept).into(),
        },
        volumes: books.volumes.iter().map(|(name, volume)| volume_of(name, volume)).collect(),
        images: books.images.iter().map(image).collect(),
        promised: Promised {
            limited_images: promised.limited,
            unlimited_images: promised.unlimited,
            unknown_images: promised.unknown,
            committed_bytes: promised.committed,
            committed_percent: promised.percent(books.space.size),
            may_still_write_bytes: promised.growth,
        },
        clean: Clean {
            reclaimable_bytes: books.reclaimable(),
            removed_images: books.removed().into(),
            measured_bytes: books.measured,
            threshold_bytes: report.threshold,
            keep_recent: report.keep_recent,
            threshold_reached: report.threshold_reached(),
            threshold_unreachable: report.threshold_unreachable(),
        },
        warnings: &report.warnings,
    }
}

fn volume_of<'a>(name: &'a str, volume: &'a accounting::Volume) -> Volume<'a> {
    let state = match volume.state() {
        VolumeState::Used => "used",
        VolumeState::Unused => "unused",
        VolumeState::Removing => "removing",
        VolumeState::Building => "building",
        VolumeState::Unfinished => "unfinished",
        VolumeState::Kept => "kept",
    };
    Volume { name, state, bytes: volume.size, images: volume.images() }
}

fn image(image: &accounting::Image) -> Image<'_> {
    let usage = image.usage.as_ref().ok();
    let inodes = usage.and_then(|usage| usage.inodes);
    Image {
        id: &image.name,
        state: match image.state {
            ImageState::Whole => "whole",
            ImageState::Unfinished => "unfinished",
            ImageState::Broken(_) => "broken",
        },
        total_bytes: usage.map(|usage| usage.total),
        exclusive_bytes: usage.map(|usage| usage.exclusive),
        layers_bytes: image.layers,
        limit_bytes: image.limit(),
        committed_bytes: usage.map(|usage| usage.committed),
        inodes_used: inodes.map(|inodes| inodes.used),
        inode_limit: inodes.map(|inodes| inodes.limit),
        problem: image.problem(),
    }
}

impl From<Sum> for Part {
    fn from(sum: Sum) -> Self {
        Self { count: sum.count, bytes: sum.bytes, unknown_count: sum.unknown }
    }
}
