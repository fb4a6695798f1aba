//! What `df` prints for a person: `?` is what nobody knows, `-` what does not apply.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::Report;
use crate::driver::limit::{Short, Usage};
use crate::store::accounting::{Accounting, Image, ImageState, Sum, VolumeState};

/// Columns of a terminal that texts keep to; names may run over.
const WIDTH: usize = 100;

/// How many of the largest layers are named, and how many images of each.
const NAMED_LAYERS: usize = 3;
const NAMED_IMAGES: usize = 3;

/// Characters of a layer's name that tell it from the others.
const SHORT_NAME: usize = 12;

pub fn print(report: &Report<'_>) -> String {
    let mut out = store(report);
    for part in
        [layers(report.accounting), images(report.accounting), promised(report), clean(report)]
    {
        out.push('\n');
        out.push_str(&part);
    }
    if !report.warnings.is_empty() {
        out.push_str("\nWARNINGS\n");
        for warning in &report.warnings {
            paragraph(&mut out, "  ", warning);
        }
    }
    out
}

fn store(report: &Report<'_>) -> String {
    let space = &report.accounting.space;
    let mount = plain(&space.mount_point.to_string_lossy());
    let free = format!("{} used, {} free", Short(space.used), Short(space.free));
    let mut rows = vec![
        row(["Store", &format!("{}, driver {}", plain(report.store), report.driver)]),
        row(["File system", &format!("{}, {free}, mounted at {mount}", Short(space.size))]),
    ];
    if let Some(backing) = &report.accounting.backing {
        let (size, on_disk) = (Short(backing.size), Short(backing.allocated));
        let path = plain(&backing.path.to_string_lossy());
        let text =
            format!("{size}, takes {on_disk}, {} free where it lies: {path}", Short(backing.free));
        rows.push(row(["Backing file", &text]));
    }
    aligned(&rows, [Align::Left, Align::Left])
}

fn layers(books: &Accounting) -> String {
    let mut rows = vec![row(["LAYERS", "COUNT", "SIZE", ""])];
    for (state, name, remark, always) in [
        (VolumeState::Used, "used by images", "", true),
        (VolumeState::Unused, "unused", "no image uses them: `clean` removes them", true),
        (VolumeState::Removing, "being removed", "a `clean` is at it or was cut short", false),
        (
            VolumeState::Building,
            "being built",
            "or left by a killed process: then `clean` removes them",
            false,
        ),
    ] {
        let sum = books.layers(state);
        if always || sum.count > 0 {
            let remark = if sum.count > 0 { remark } else { "" };
            rows.push(row([name, &sum.count.to_string(), &size(sum), remark]));
        }
    }
    aligned(&rows, [Align::Left, Align::Right, Align::Right, Align::Left])
}

fn images(books: &Accounting) -> String {
    let mut out = format!("IMAGES: {}", books.images.len());
    let removed = books.removed();
    if removed.count > 0 {
        let held = size(removed);
        let _ = write!(out, ", and {} being removed, with {held} of their own", removed.count);
    }
    out.push('\n');
    if books.images.is_empty() {
        return out;
    }
    let mut notes: Vec<String> = Vec::new();
    let mut rows = vec![row(["TOTAL", "LAYERS", "EXCLUSIVE", "LIMIT", "INODES", "STATE", "ID"])];
    for image in &books.images {
        let note = image.problem().map(|problem| {
            notes.iter().position(|note| *note == problem).unwrap_or_else(|| {
                notes.push(problem);
                notes.len() - 1
            })
        });
        rows.push(image_row(image, note));
    }
    use Align::{Left, Right};
    out.push_str(&aligned(&rows, [Right, Right, Right, Right, Right, Left, Left]));
    for (number, note) in notes.iter().enumerate() {
        paragraph(&mut out, &format!("[{}] ", number + 1), note);
    }
    out
}

fn image_row(image: &Image, note: Option<usize>) -> [String; 7] {
    let number = |of: fn(&Usage) -> u64| {
        image.usage.as_ref().map_or("?".to_owned(), |usage| Short(of(usage)).to_string())
    };
    let limit = match &image.usage {
        Ok(usage) if usage.quota > 0 => Short(usage.quota).to_string(),
        Err(unmeasured) if !unmeasured.unlimited => "?".to_owned(),
        _ => "none".to_owned(),
    };
    let inodes = match image.usage.as_ref().map(|usage| usage.inodes) {
        Ok(Some(inodes)) if inodes.limit > 0 => format!("{}/{}", inodes.used, inodes.limit),
        Ok(Some(inodes)) => inodes.used.to_string(),
        Ok(None) => "-".to_owned(),
        Err(_) => "?".to_owned(),
    };
    let state = match image.state {
        ImageState::Whole => "whole",
        ImageState::Unfinished => "unfinished",
        ImageState::Broken(_) => "broken",
    };
    let note = note.map_or(String::new(), |number| format!(" [{}]", number + 1));
    let layers = match image.state {
        ImageState::Unfinished => "-".to_owned(),
        _ => known(image.layers),
    };
    [
        number(|usage| usage.total),
        layers,
        number(|usage| usage.exclusive),
        limit,
        inodes,
        format!("{state}{note}"),
        plain(&image.name),
    ]
}

fn promised(report: &Report<'_>) -> String {
    let (promised, space) = (report.accounting.promised(), &report.accounting.space);
    let committed = format!(
        "{}, {} % of the file system ({})",
        Short(promised.committed),
        promised.percent(space.size),
        of(promised.limited, "image with a limit", "images with a limit")
    );
    let growth = format!("{}, {} are free", Short(promised.growth), Short(space.free));
    let mut rows = vec![row(["Together with their layers", &committed])];
    if promised.limited > 0 {
        rows.push(row(["May still be written", &growth]));
    }
    rows.push(row([
        "Without a limit",
        &of(promised.unlimited, "image may fill the disk", "images may fill the disk"),
    ]));
    if promised.unknown > 0 {
        rows.push(row(["Limit not known", &of(promised.unknown, "image", "images")]));
    }
    format!("PROMISED BY LIMITS\n{}", aligned(&rows, [Align::Left, Align::Left]))
}

fn clean(report: &Report<'_>) -> String {
    let books = report.accounting;
    let reclaimable = Short(books.reclaimable());
    let holds = Short(books.all_layers().bytes);
    let (gives, threshold) = if report.threshold == 0 {
        (reclaimable.to_string(), "none: every `clean` removes what is unused".to_owned())
    } else {
        let limit = Short(report.threshold);
        if report.threshold_reached() {
            (reclaimable.to_string(), format!("{limit}, the layers hold {holds}: reached"))
        } else {
            let gives = format!("nothing now, {reclaimable} with `--threshold-bytes 0`");
            (gives, format!("{limit}, the layers hold {holds}: not reached"))
        }
    };
    let rows = [
        row(["Gives back", &gives]),
        row(["Threshold", &threshold]),
        row(["Stays", &stays(books)]),
    ];
    let mut out = format!("CLEAN\n{}", aligned(&rows, [Align::Left, Align::Left]));
    out.push_str(&largest(books));
    if books.reclaimable() > 0 {
        paragraph(
            &mut out,
            "  ",
            "By the sizes of the layers' files: what the file system frees differs by its block size and by \
             what layers share.",
        );
    }
    out
}

/// What a clean leaves, and why.
fn stays(books: &Accounting) -> String {
    let used = books.layers(VolumeState::Used);
    let mut text = if used.count == 0 {
        "no layer is in use".to_owned()
    } else {
        let images: BTreeSet<&String> = books.volumes.values().flat_map(|v| &v.images).collect();
        format!(
            "{} in {} that {}",
            size(used),
            of(used.count, "layer", "layers"),
            of(images.len() as u64, "image uses", "images use")
        )
    };
    let unused = books.layers(VolumeState::Unused);
    if books.blocked.is_some() && unused.count > 0 {
        let _ = write!(text, ", and {} in unused layers (see the warning)", size(unused));
    }
    if used.count > 0 {
        text.push_str("; the largest:");
    }
    text
}

/// The largest layers in use, and by which images.
fn largest(books: &Accounting) -> String {
    let mut rows = Vec::new();
    for (name, volume) in books.largest_used().into_iter().take(NAMED_LAYERS) {
        let name: String = plain(name).chars().take(SHORT_NAME).collect();
        let named: Vec<String> =
            volume.images.iter().take(NAMED_IMAGES).map(|image| plain(image)).collect();
        let mut users = named.join(", ");
        let more = volume.images.len().saturating_sub(NAMED_IMAGES);
        if more > 0 {
            let _ = write!(users, " and {more} more");
        }
        rows.push(["  ".to_owned(), known(volume.size), name, users]);
    }
    aligned(&rows, [Align::Left, Align::Right, Align::Left, Align::Left])
}

fn of(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn known(bytes: Option<u64>) -> String {
    bytes.map_or("?".to_owned(), |bytes| Short(bytes).to_string())
}

fn size(sum: Sum) -> String {
    match sum.unknown {
        0 => Short(sum.bytes).to_string(),
        unknown if unknown == sum.count => "?".to_owned(),
        _ => format!("{} + ?", Short(sum.bytes)),
    }
}

/// A name or path that cannot move the terminal's cursor.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// On which side of its column a cell lies.
#[derive(Debug, Clone, Copy)]
enum Align {
    Left,
    Right,
}

fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
    cells.map(str::to_owned)
}

/// Rows as lines, each column as wide as its widest cell.
fn aligned<const N: usize>(rows: &[[String; N]], sides: [Align; N]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), side) in row.iter().zip(widths).zip(sides) {
            // Writing to a string does not fail.
            let _ = match side {
                Align::Left => write!(line, "  {cell:<width$}"),
                Align::Right => write!(line, "  {cell:>width$}"),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A text in lines of [`WIDTH`], the first after a mark and the others below it.
fn paragraph(out: &mut String, mark: &str, text: &str) {
    let indent = " ".repeat(mark.len());
    let mut line = format!("  {mark}");
    let mut empty = true;
    for word in plain(text).split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = format!("  {indent}");
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(&line);
    out.push('\n');
}
