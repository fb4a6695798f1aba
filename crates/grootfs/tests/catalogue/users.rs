//! Errors of users other than root.

use testkit::image::{Compression, busybox, write_tar};
use testkit::user::{UID, User, open_up};

use crate::fixture::{Driver, Fixture};
use crate::plain::Plain;
use crate::{Said, say};

pub fn said() -> Said {
    let mut said = Said::new();
    let fixture = Fixture::without_store(Driver::OverlayXfs);
    let user = User::new(&fixture.scratch("etc"));
    open_up(&fixture.mount_point());
    let plain = Plain::default()
        .path(fixture.grootfs.store(), "/srv/groot")
        .path(&fixture.scratch("").join(""), "/images/");
    let alice = fixture.grootfs.clone().user(&user);
    let tar = fixture.scratch("image.tar");
    write_tar(&tar, &busybox(), Compression::None);
    let tar = tar.to_str().unwrap();
    let mut fails = |name: &'static str, arguments: &[&str]| {
        say(&mut said, name, &plain.text(&alice.fails(arguments)));
    };
    fails("root-makes-stores", &["init-store"]);
    let mappings = user.mappings();
    let mappings: Vec<&str> = mappings.iter().map(String::as_str).collect();
    fixture.grootfs.ok(&[&["init-store"][..], &mappings].concat());
    let create = ["create", "--without-mount", tar, "web-1"];
    let with = |flags: &[&'static str]| [flags, &create].concat();
    fails("who-mounts", &["create", tar, "web-1"]);
    fails("root-checks-stores", &["check"]);
    fails("ids-not-mapped", &with(&["--newuidmap-bin", "newxidmap"]));
    user.set_subids("");
    fails("ids-not-mapped", &create);
    user.set_subids("alice:100000:65536\n");
    let limited =
        ["create", "--without-mount", "--disk-limit-size-bytes", "99999999", tar, "web-1"];
    fails("helper-missing", &[&["--tardis-bin", "no-tardis"][..], &limited].concat());
    fails("helper-missing", &[&["--tardis-bin", "/bin/true"][..], &limited].concat());
    let bob = fixture.grootfs.clone().user(&user.other(UID + 1));
    say(&mut said, "store-of-somebody-else", &plain.text(&bob.fails(&["list"])));

    let unmapped = Fixture::new(Driver::Btrfs);
    open_up(&unmapped.mount_point());
    let owner = format!("{UID}:{UID}");
    let mut chown = std::process::Command::new("chown");
    testkit::command::run(chown.args(["-R", &owner]).arg(unmapped.grootfs.store())).success();
    let plain = plain.path(unmapped.grootfs.store(), "/srv/groot");
    let text = unmapped.grootfs.clone().user(&user).fails(&create);
    say(&mut said, "store-without-mappings", &plain.text(&text));
    said
}
