//! Which entry of an index is meant.

use super::document::{self, Descriptor};
use super::platform::Platform;

/// The entry for a platform; an error names the platforms that are there.
pub fn for_platform<'a>(
    what: &str,
    entries: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, document::Error> {
    let images = || entries.iter().filter(|entry| is_image(entry));
    let suits = |entry: &Descriptor| match &entry.platform {
        Some(platform) => wanted.suits(platform),
        None => None,
    };
    // The first of those that suit equally well, as every other client takes it.
    let best =
        images().rev().filter(|entry| suits(entry).is_some()).max_by_key(|entry| suits(entry));
    if let Some(best) = best {
        return Ok(best);
    }
    let mut without_platform = images().filter(|entry| entry.platform.is_none());
    if let (Some(only), None, 1) =
        (without_platform.next(), without_platform.next(), images().count())
    {
        return Ok(only);
    }
    let mut offered: Vec<String> =
        images().filter_map(|entry| entry.platform.as_ref()).map(ToString::to_string).collect();
    offered.sort();
    offered.dedup();
    let offered =
        if offered.is_empty() { "none that is named".to_owned() } else { offered.join(", ") };
    Err(document::Error {
        what: what.to_owned(),
        why: format!("no image for platform {wanted}; offered: {offered} (--platform chooses)"),
    })
}

/// The entry of a layout's index that a name means; without a name, the only one.
pub fn by_name<'a>(
    entries: &'a [Descriptor],
    name: Option<&str>,
    wanted: &Platform,
) -> Result<&'a Descriptor, document::Error> {
    let what = "index.json".to_owned();
    let images: Vec<&Descriptor> = entries.iter().filter(|entry| is_image(entry)).collect();
    let named: Vec<&Descriptor> = match name {
        Some(name) => {
            images.iter().copied().filter(|entry| entry.ref_name.as_deref() == Some(name)).collect()
        }
        None => images.clone(),
    };
    match (named.as_slice(), name) {
        ([only], _) => Ok(only),
        ([first, ..], Some(name)) => {
            // One name for several platforms is fine; several images of one name are not told
            // apart by anybody, and the first is what the original took.
            let best = named.iter().rev().filter_map(|entry| {
                let level = entry.platform.as_ref().and_then(|platform| wanted.suits(platform));
                level.map(|level| (level, *entry))
            });
            let best = best.max_by_key(|(level, _)| *level).map(|(_, entry)| entry);
            match best {
                Some(entry) => Ok(entry),
                None if first.platform.is_none() => Ok(first),
                None => Err(document::Error {
                    what,
                    why: format!("reference \"{name}\" has no image for platform {wanted}"),
                }),
            }
        }
        ([], Some(name)) => Err(document::Error {
            what,
            why: format!(
                "no descriptor found for reference \"{name}\" (there are: {})",
                names(&images)
            ),
        }),
        ([], None) => Err(document::Error { what, why: "the layout holds no image".to_owned() }),
        (_, None) => Err(document::Error {
            what,
            why: format!(
                "more than one image in oci, choose an image by a reference after a colon: {}",
                names(&images)
            ),
        }),
    }
}

fn names(images: &[&Descriptor]) -> String {
    let name = |entry: &&Descriptor| entry.ref_name.clone();
    let mut names: Vec<String> = images.iter().filter_map(name).take(20).collect();
    names.sort();
    names.dedup();
    if names.is_empty() { "none with a name".to_owned() } else { names.join(", ") }
}

/// Signatures and proofs of builds stand among the images and are none.
fn is_image(entry: &Descriptor) -> bool {
    let unknown = |platform: &Platform| platform.os == "unknown";
    let kind = document::Kind::of_media_type(&entry.media_type);
    !entry.about_another
        && !entry.platform.as_ref().is_some_and(unknown)
        && (kind.is_some() || entry.media_type.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Digest;

    fn entry(number: u8, platform: &str, name: &str) -> Descriptor {
        Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            digest: Digest::sha256_of(&[number]),
            size: u64::from(number),
            urls: Vec::new(),
            platform: platform.parse().ok(),
            ref_name: (!name.is_empty()).then(|| name.to_owned()),
            base_directory: None,
            about_another: false,
        }
    }

    fn wanted() -> Platform {
        "linux/amd64/v2".parse().unwrap()
    }

    #[test]
    fn takes_the_platform_that_suits_best() {
        let proof = Descriptor { about_another: true, ..entry(9, "linux/amd64/v2", "") };
        let other = Descriptor { media_type: "text/spdx".into(), ..entry(8, "linux/amd64/v2", "") };
        let entries = [
            proof,
            other,
            entry(1, "linux/arm64", ""),
            entry(2, "linux/amd64", ""),
            entry(3, "linux/amd64", ""),
            entry(4, "linux/amd64/v3", ""),
        ];
        assert_eq!(for_platform("i", &entries, &wanted()).unwrap().size, 2);
        let arm = "linux/arm/v7".parse().unwrap();
        let error = for_platform("i", &entries, &arm).unwrap_err().to_string();
        assert!(error.contains("offered: linux/amd64, linux/amd64/v3, linux/arm64"), "{error}");
        assert_eq!(for_platform("i", &[entry(1, "", "")], &wanted()).unwrap().size, 1);
        assert!(for_platform("i", &[entry(1, "", ""), entry(2, "", "")], &wanted()).is_err());
        assert!(for_platform("i", &[], &wanted()).is_err());
    }

    #[test]
    fn takes_images_of_a_layout_by_name() {
        let one = [entry(1, "", "a")];
        let two = [entry(1, "", "a"), entry(2, "linux/arm64", "b"), entry(3, "linux/amd64", "b")];
        let find = |entries: &[Descriptor], name| {
            by_name(entries, name, &wanted()).map(|entry| entry.size).map_err(|e| e.to_string())
        };
        assert_eq!(find(&one, None), Ok(1));
        assert_eq!(find(&two, Some("a")), Ok(1));
        assert_eq!(find(&two, Some("b")), Ok(3));
        let error = find(&two, None).unwrap_err();
        assert!(error.contains("more than one image in oci, choose an image"), "{error}");
        let error = find(&one, Some("c")).unwrap_err();
        assert!(
            error.contains("no descriptor found for reference \"c\" (there are: a)"),
            "{error}"
        );
        assert!(find(&[], None).unwrap_err().contains("holds no image"));
        assert!(find(&two[1..2], None).is_ok());
    }
}
