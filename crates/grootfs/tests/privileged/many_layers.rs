//! More layers than the classic overlay mount has room for.

use testkit::container::run_in;
use testkit::image::{Image, busybox};
use testkit::layer::Layer;

use crate::fixture::Fixture;

on_both_drivers!(two_hundred_layers);

/// On top of the base.
const LAYERS: usize = 199;

fn two_hundred_layers(fixture: &Fixture) {
    let mut image = Image::new().layer(&busybox());
    for number in 0..LAYERS {
        let layer = Layer::new()
            .directory("numbers")
            .file(&format!("numbers/{number}"), number.to_string())
            .file("last", number.to_string());
        image = image.layer(&layer);
    }
    let (url, _) = fixture.oci("image", &image);
    let spec = fixture.create(&url, "many");
    assert_eq!(fixture.names("volumes").len(), LAYERS + 1);
    let script = "ls /numbers | wc -l; cat /last /numbers/0; echo; echo x > /last; cat /last";
    let output = run_in(&spec.line, &["/bin/busybox", "sh", "-ec", script]).success();
    assert_eq!(output, format!("{LAYERS}\n{}0\nx\n", LAYERS - 1));
    fixture.grootfs.ok(&["delete", "many"]);
    fixture.grootfs.ok(&["clean"]);
    assert!(fixture.names("volumes").is_empty());
}
