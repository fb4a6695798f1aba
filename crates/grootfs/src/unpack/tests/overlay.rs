//! Deletions as overlay reads them; devices and `trusted` attributes need root.

use super::*;

impl Place {
    /// Unpacks as for overlay; returns the names of whiteouts and of opaque directories.
    fn unpack_for_overlay(&self, items: &[Item<'_>]) -> Result<[Vec<String>; 2], Error> {
        assert!(rustix::process::geteuid().is_root(), "makes devices: run it as root");
        let device = self.dir.path().join("device");
        if !device.exists() {
            groot_sys::fs::make_device(rustix::fs::CWD, &device, 0).unwrap();
        }
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW;
        let device =
            rustix::fs::openat(rustix::fs::CWD, &device, flags, rustix::fs::Mode::empty()).unwrap();
        let root = fs::File::open(self.path("")).unwrap();
        let target = Target {
            root: root.as_fd(),
            on_disk: OnDisk::Overlay { whiteout_device: device.as_fd() },
            mappings: &self.mappings,
            base_directory: None,
            limits: Limits { bytes: u64::MAX, entries: u64::MAX },
        };
        unpack(&mut Cursor::new(archive(items)), &target)?;
        let is_opaque = |name: &String| {
            let mut value = [0_u8; 1];
            let name_of = c"trusted.overlay.opaque";
            rustix::fs::lgetxattr(self.path(name), name_of, &mut value[..]).is_ok()
        };
        let is_whiteout = |name: &String| {
            fs::symlink_metadata(self.path(name)).unwrap().file_type().is_char_device()
        };
        let (mut whiteouts, mut opaque) = (self.names(), self.names());
        whiteouts.retain(is_whiteout);
        opaque.retain(is_opaque);
        Ok([whiteouts, opaque])
    }
}

fn whiteout(path: &str) -> Item<'_> {
    item(b'0', path)
}

#[test]
fn privileged_a_directory_in_place_of_anything_is_opaque() {
    for first in [file("d", b"x"), link(b'2', "d", "nowhere"), whiteout(".wh.d")] {
        let place = Place::new();
        let [whiteouts, opaque] =
            place.unpack_for_overlay(&[first, dir("d"), file("d/f", b"x")]).unwrap();
        assert_eq!((whiteouts, opaque), (vec![], vec!["d".to_owned()]));
    }
    let place = Place::new();
    let found = place.unpack_for_overlay(&[dir("d"), dir("d"), file("d/f", b"x")]).unwrap();
    assert_eq!(found, [Vec::<String>::new(), vec![]]);
}

#[test]
fn privileged_deletions_spare_their_own_layer() {
    let place = Place::new();
    let found = place
        .unpack_for_overlay(&[
            file("f", b"kept"),
            whiteout("f/.wh.x"),
            link(b'2', "l", "/nowhere"),
            whiteout("l/.wh.x"),
            whiteout(".wh.gone"),
            whiteout("gone/.wh.x"),
        ])
        .unwrap();
    assert_eq!(found, [vec!["gone".to_owned()], vec![]]);
    assert_eq!(place.names(), ["f", "gone", "l"]);
}

#[test]
fn privileged_a_directory_of_deletions_can_be_deleted() {
    let place = Place::new();
    let found = place
        .unpack_for_overlay(&[
            whiteout("d/.wh.x"),
            whiteout("d/s/.wh.y"),
            whiteout(".wh.d"),
            whiteout("e/.wh.x"),
            file("e/s/own", b"x"),
            whiteout(".wh.e"),
            dir("described"),
            whiteout("described/.wh.x"),
            whiteout(".wh.described"),
        ])
        .unwrap();
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(found, [texts(&["d"]), texts(&["described", "e"])]);
    assert_eq!(place.names(), ["d", "described", "e", "e/s", "e/s/own"]);
}

#[test]
fn privileged_what_is_deleted_cannot_be_linked() {
    let place = Place::new();
    let error = place.unpack_for_overlay(&[whiteout(".wh.a"), link(b'1', "b", "a")]).unwrap_err();
    assert!(matches!(error, Error::Entry { errno: Errno::NOENT, .. }), "{error}");
}

/// Overlay would list a mark there as a name that cannot be opened.
#[test]
fn privileged_no_marks_below_what_hides_everything() {
    let place = Place::new();
    let found = place
        .unpack_for_overlay(&[
            whiteout("d/.wh.x"),
            whiteout("d/s/.wh.y"),
            dir("d/t"),
            whiteout("d/t/.wh.z"),
            file("d/own", b"x"),
            whiteout("d/.wh..wh..opq"),
            whiteout("d/.wh.later"),
            whiteout("d/t/.wh.later"),
        ])
        .unwrap();
    assert_eq!(found, [vec![], vec!["d".to_owned()]]);
    assert_eq!(place.names(), ["d", "d/own", "d/t"]);
}
