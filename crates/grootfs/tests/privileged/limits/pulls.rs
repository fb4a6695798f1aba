//! An image that cannot fit is refused as early as that can be known.

use testkit::image::Compression;

use super::*;
use crate::fixture::assert_contains;

with_limits!(what_is_not_in_the_store, what_is_in_the_store, a_bomb, several_layers);

/// Bytes that do not compress.
fn noise(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn create(fixture: &Fixture, limit: u64, url: &str) -> String {
    let limit = limit.to_string();
    fixture.fails_cleanly(&["create", "--disk-limit-size-bytes", &limit, url, "x"])
}

/// By the sizes of the blobs, before one byte of them is fetched.
fn what_is_not_in_the_store(fixture: &Fixture) {
    let layer = Layer::new().file("noise", noise(2 << 20, 1));
    let (url, written) = fixture.oci("image", &Image::new().layer_as(&layer, Compression::None));
    // Nobody has the blob: it is not looked for.
    let size = layer.tar().len();
    for entry in std::fs::read_dir(fixture.scratch("image/blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        if path.metadata().unwrap().len() == size as u64 {
            std::fs::remove_file(path).unwrap();
        }
    }
    drop(written);
    let text = create(fixture, MIB, &url);
    assert_contains(&text, &format!("layers exceed disk quota {size}/1048576 bytes"));
    assert_contains(&text, "largest layers: sha256:");
    // Where the image does not count it is the blob that is missing.
    let limit = ["--disk-limit-size-bytes", "1048576", "--exclude-image-from-quota"];
    let text = fixture.fails_cleanly(&[&["create"], &limit as &[&str], &[&url, "x"]].concat());
    assert!(!text.contains("quota"), "{text}");
    delete_all(fixture);
}

/// By what the layers hold, not by their blobs (contract D2.40).
fn what_is_in_the_store(fixture: &Fixture) {
    let url = image_of(fixture, 32);
    fixture.grootfs.ok(&["pull", &url]);
    let text = create(fixture, MIB, &url);
    let expected = if fixture.is_overlay() {
        format!("layers exceed disk quota {}/1048576 bytes", 2 * MIB)
    } else {
        "disk limit is smaller than volume size: the limit is 1 MiB".to_owned()
    };
    assert_contains(&text, &expected);
    delete_all(fixture);
}

/// Small on its way and large afterwards: it ends at the limit, not when the disk is full.
fn a_bomb(fixture: &Fixture) {
    let layer = Layer::new().file("zeros", vec![0; 16 << 20]);
    let (url, _) = fixture.oci("image", &Image::new().layer(&layer));
    let text = create(fixture, MIB, &url);
    assert_contains(&text, "uncompressed layer size exceeds quota");
    assert!(fixture.names("volumes").is_empty() && fixture.names("tmp").is_empty());
    // The image is none of the limit's business here.
    create_limited(fixture, MIB, &url, "x");
    delete_all(fixture);
}

/// Each fits, together they do not.
fn several_layers(fixture: &Fixture) {
    let layer = |n: u8| Layer::new().file(&format!("file-{n}"), vec![n; 700 << 10]);
    let (url, _) = fixture.oci("image", &Image::new().layer(&layer(1)).layer(&layer(2)));
    let before = fixture.names("images");
    let limit = ["create", "--disk-limit-size-bytes", "1048576", &url, "x"];
    let text = fixture.grootfs.fails(&limit);
    let expected = if fixture.is_overlay() {
        "uncompressed layer size exceeds quota"
    } else {
        "disk limit is smaller than volume size"
    };
    assert_contains(&text, expected);
    assert_eq!(fixture.names("images"), before);
    create_with(fixture, &["--disk-limit-size-bytes", "4194304"], &url, "x");
    delete_all(fixture);
}
