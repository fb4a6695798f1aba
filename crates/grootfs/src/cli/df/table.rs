//! What `df` prints for a person: `?` is what nobody knows, `-` what does not apply.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::Report;
use crate::cli::table::{Align, aligned, plain, row};
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
            paragraph(&mut out, "* ", warning);
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
        (VolumeState::Building, "being built", "", false),
        (VolumeState::Unfinished, "half built", "by a killed process: `clean` removes them", false),
        (
            VolumeState::Kept,
            "kept",
            "by clean.ignore_images, or for a pull that is going on",
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
    let limit = match image.limit() {
        Some(0) => "none".to_owned(),
        limit => known(limit),
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
    let mut rows = Vec::new();
    if promised.limited > 0 {
        let committed = format!(
            "{} for {}, layers included: {} % of the file system",
            Short(promised.committed),
            of(promised.limited, "image", "images"),
            promised.percent(space.size),
        );
        let growth = format!("{}, {} are free", Short(promised.growth), Short(space.free));
        rows.push(row(["Limits", &committed]));
        rows.push(row(["May still be written", &growth]));
    }
    let unlimited = match promised.unlimited {
        0 => "no image".to_owned(),
        count => of(count, "image: it may fill the disk", "images: they may fill the disk"),
    };
    rows.push(row(["Without a limit", &unlimited]));
    if promised.unknown > 0 {
        rows.push(row(["Limit not known", &of(promised.unknown, "image", "images")]));
    }
    format!("PROMISED\n{}", aligned(&rows, [Align::Left, Align::Left]))
}

fn clean(report: &Report<'_>) -> String {
    let books = report.accounting;
    let reclaimable = Short(books.reclaimable());
    let holds = Short(books.measured);
    let (gives, threshold) = if report.threshold == 0 {
        (reclaimable.to_string(), "none: every `clean` removes what is unused".to_owned())
    } else {
        let limit = Short(report.threshold);
        if report.threshold_reached() {
            let gives = if report.keep_recent {
                format!(
                    "at most {reclaimable}: no more than the threshold asks for (clean.keep_recent)"
                )
            } else {
                reclaimable.to_string()
            };
            (gives, format!("{limit}, the store holds {holds}: reached"))
        } else {
            let gives = format!("nothing now, {reclaimable} with `--threshold-bytes 0`");
            (gives, format!("{limit}, the store holds {holds}: not reached"))
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
            "",
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
        let images: BTreeSet<&str> =
            books.volumes.values().flat_map(|volume| volume.images()).collect();
        format!(
            "{} in {} that {}",
            size(used),
            of(used.count, "layer", "layers"),
            of(images.len() as u64, "image uses", "images use")
        )
    };
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
        let images = volume.images();
        let named: Vec<String> =
            images.iter().take(NAMED_IMAGES).map(|image| plain(image)).collect();
        let mut users = named.join(", ");
        let more = images.len().saturating_sub(NAMED_IMAGES);
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

/// A text in lines of [`WIDTH`], the first after a mark and the others below it.
fn paragraph(out: &mut String, mark: &str, text: &str) {
    let indent = " ".repeat(mark.len());
    let mut line = mark.to_owned();
    let mut empty = true;
    for word in plain(text).split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line.clone_from(&indent);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::driver::Kind;
    use crate::driver::limit::Inodes;
    use crate::store::accounting::{Backing, Space, Unmeasured, Volume};
    use crate::store::gc::Verdict;

    const MIB: u64 = 1 << 20;

    fn volume(name: &str, size: Option<u64>, verdict: Verdict) -> (String, Volume) {
        (name.to_owned(), Volume { size, verdict })
    }

    fn used(images: &[&str]) -> Verdict {
        Verdict::Used(images.iter().map(|&id| id.to_owned()).collect())
    }

    fn image(name: &str, usage: Result<Usage, Unmeasured>) -> Image {
        Image { name: name.to_owned(), state: ImageState::Whole, layers: Some(300 * MIB), usage }
    }

    fn usage(exclusive: u64, quota: u64, inodes: Option<Inodes>) -> Usage {
        let committed = if quota == 0 { 0 } else { quota + 300 * MIB };
        Usage { total: exclusive + 300 * MIB, exclusive, quota, committed, inodes }
    }

    fn books() -> Accounting {
        let unmeasured = |why: &str, unlimited| Unmeasured { why: why.to_owned(), unlimited };
        let inodes = Inodes { used: 1200, limit: 100_000 };
        let everywhere = ["web-1", "web-2", "web-3", "x\x1b[2J", "web-5"];
        Accounting {
            space: Space {
                mount_point: "/srv/groot".into(),
                size: 10_240 * MIB,
                used: 3 << 30,
                free: 7 << 30,
            },
            backing: Some(Backing {
                path: "/srv/groot.backing-store".into(),
                size: 10_240 * MIB,
                allocated: 3100 * MIB,
                free: 120 << 30,
            }),
            volumes: BTreeMap::from([
                volume("0123456789abcdef-of-base", Some(250 * MIB), used(&everywhere)),
                volume("1123456789abcdef", Some(50 * MIB), used(&["web-1"])),
                volume("2123456789abcdef", None, used(&["web-2"])),
                volume("3123456789abcdef", Some(30 * MIB), Verdict::Unused),
                volume("4123456789abcdef-incomplete-1-1", None, Verdict::BeingWritten),
                volume("gc.5123456789abcdef", Some(MIB), Verdict::Garbage),
            ]),
            images: vec![
                image("web-1", Ok(usage(40 * MIB, 2048 * MIB, Some(inodes)))),
                image("web-2", Ok(usage(123, 0, Some(Inodes { used: 7, limit: 0 })))),
                image("web-3", Err(unmeasured("nobody counts", true))),
                image("a\x1b[2J", Err(unmeasured("nobody counts", true))),
                Image {
                    state: ImageState::Unfinished,
                    layers: None,
                    ..image("web-5", Err(unmeasured("open: no such file", false)))
                },
            ],
            removed: vec![Ok(usage(2 * MIB, 0, None))],
            measured: 331 * MIB,
            stale: None,
        }
    }

    fn text(books: &Accounting, threshold: u64, warnings: &[&str]) -> String {
        print(&Report {
            store: "/srv/groot",
            driver: Kind::OverlayXfs,
            threshold,
            keep_recent: false,
            accounting: books,
            warnings: warnings.iter().map(|&text| text.to_owned()).collect(),
        })
    }

    #[test]
    fn everything_that_can_be_shown() {
        let warning = "word ".repeat(25);
        let expected = r"Store         /srv/groot, driver overlay-xfs
File system   10 GiB, 3 GiB used, 7 GiB free, mounted at /srv/groot
Backing file  10 GiB, takes 3 GiB, 120 GiB free where it lies: /srv/groot.backing-store

LAYERS          COUNT         SIZE
used by images      3  300 MiB + ?
unused              1       30 MiB  no image uses them: `clean` removes them
being removed       1        1 MiB  a `clean` is at it or was cut short
being built         1            ?

IMAGES: 5, and 1 being removed, with 2 MiB of their own
  TOTAL   LAYERS  EXCLUSIVE  LIMIT       INODES  STATE           ID
340 MiB  300 MiB     40 MiB  2 GiB  1200/100000  whole           web-1
300 MiB  300 MiB  123 bytes   none            7  whole           web-2
      ?  300 MiB          ?   none            ?  whole [1]       web-3
      ?  300 MiB          ?   none            ?  whole [1]       a\u{1b}[2J
      ?        -          ?      ?            ?  unfinished [2]  web-5
[1] not measured: nobody counts
[2] no dependency file: it is being made or deleted, or a killed process left it half so; `grootfs
    delete` removes it

PROMISED
Limits                2.2 GiB for 1 image, layers included: 22 % of the file system
May still be written  1.9 GiB, 7 GiB are free
Without a limit       3 images: they may fill the disk
Limit not known       1 image

CLEAN
Gives back  33 MiB
Threshold   none: every `clean` removes what is unused
Stays       300 MiB + ? in 3 layers that 5 images use; the largest:
    250 MiB  0123456789ab  web-1, web-2, web-3 and 2 more
     50 MiB  1123456789ab  web-1
          ?  2123456789ab  web-2
By the sizes of the layers' files: what the file system frees differs by its block size and by what
layers share.

WARNINGS
* word word word word word word word word word word word word word word word word word word word
  word word word word word word
";
        assert_eq!(text(&books(), 0, &[warning.trim_end()]), expected);
    }

    #[test]
    fn nothing_to_show() {
        let mut books = books();
        (books.volumes, books.images, books.removed) = Default::default();
        books.backing = None;
        let expected = r"Store        /srv/groot, driver overlay-xfs
File system  10 GiB, 3 GiB used, 7 GiB free, mounted at /srv/groot

LAYERS          COUNT     SIZE
used by images      0  0 bytes
unused              0  0 bytes

IMAGES: 0

PROMISED
Without a limit  no image

CLEAN
Gives back  0 bytes
Threshold   none: every `clean` removes what is unused
Stays       no layer is in use
";
        assert_eq!(text(&books, 0, &[]), expected);
    }

    #[test]
    fn thresholds() {
        let books = books();
        assert!(
            text(&books, 331 * MIB, &[])
                .contains("\nThreshold   331 MiB, the store holds 331 MiB: reached\n")
        );
        let below = text(&books, 332 * MIB, &[]);
        assert!(below.contains("\nGives back  nothing now, 33 MiB with `--threshold-bytes 0`\n"));
        assert!(below.contains("the store holds 331 MiB: not reached\n"));
    }

    #[test]
    fn long_texts_are_cut_between_words_and_long_words_are_not() {
        let mut out = String::new();
        let path = "/p".repeat(80);
        paragraph(&mut out, "* ", &format!("{} {path} end\n", "w ".repeat(60)));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 4, "{out}");
        assert_eq!(lines[2], format!("  {path}"));
        assert_eq!(lines[3], "  end\\n");
        assert!(lines[..2].iter().all(|line| line.len() <= WIDTH));
    }
}
