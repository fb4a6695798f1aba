//! Garden's whole sequence of calls, with its command lines, its environment and its parsing rules, on a cell
//! with both stores (garden.md, sections 1 to 4). The configuration is that of docs/garden.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use testkit::certificates::Certificates;
use testkit::container::{run_in, run_mapped};
use testkit::fault_proxy::FaultProxy;
use testkit::filesystem::mounts_below;
use testkit::image::preloaded::Preloaded;
use testkit::image::{Compression, Hash, Image, OciLayout, busybox, write_tar};
use testkit::layer::{Entry, Layer};
use testkit::push::Format;
use testkit::registry::Registry;
use testkit::token_server::TokenServer;

use crate::fixture::{Driver, assert_contains};

mod cell;
mod gdn;

use cell::{Cell, DISK, MAPPINGS, Wishes};
use gdn::{Created, Plugin};

/// Makes two tests of each function: one a driver.
macro_rules! on_cells {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::fixture::Driver;

            #[test]
            fn privileged_overlay_xfs() {
                super::$name(Driver::OverlayXfs);
            }

            #[test]
            fn privileged_btrfs() {
                super::$name(Driver::Btrfs);
            }
        }
    )+};
}

on_cells!(
    starts_again,
    many_at_once,
    many_at_once_with_the_protocol_of_2017,
    containers,
    what_the_client_is_told,
    preloaded_layers,
    roots_that_gdn_mounts,
);

/// As the manual says.
const GARDEN: &[&str] = &["--compat", "garden"];

/// What Diego gives as handle, the end of it.
const GUID: &str = "0c5ab4c1-7f4e-4e0e-5d0c-b5b5";

/// Larger than the images here.
const LIMIT: u64 = 64 << 20;

/// The tar that buildpack applications start from.
fn stack(cell: &Cell) -> String {
    let path = cell.path("packages/stack.tar");
    if !path.exists() {
        let home = Entry::directory("home/vcap").owner(2000, 2000).mode(0o750);
        let layer = busybox().directory("home").entry(home);
        write_tar(&path, &layer, Compression::None);
    }
    path.display().to_string()
}

/// The flags of a container with a limit, where there can be one.
fn limited(cell: &Cell, is_exclusive: bool) -> Vec<&'static str> {
    // 64 MiB, and the words are those of guardian.
    const FLAGS: [&str; 3] = ["--disk-limit-size-bytes", "67108864", "--exclude-image-from-quota"];
    assert_eq!(FLAGS[1], LIMIT.to_string());
    match (cell.has_limits(), is_exclusive) {
        (false, _) => Vec::new(),
        (true, false) => FLAGS[..2].to_vec(),
        (true, true) => FLAGS.to_vec(),
    }
}

/// Puts an image of three layers into a registry, `app:v1`; returns the layout that it came from.
fn push(cell: &Cell, registry: &Registry) -> OciLayout {
    let mut layout = OciLayout::new(cell.path("data/app"));
    let layer = |name: &str| {
        let files = (0..30).map(|n| Entry::file(format!("{name}/{n}"), vec![n; 20_000]));
        files.fold(Layer::new().directory(name), Layer::entry)
    };
    let image = Image::new()
        .layer(&busybox())
        .layer(&layer("a"))
        .layer(&layer("b"))
        .env("PATH=/bin")
        .env("A=b");
    layout.add(&image, Some("v1"));
    registry.push_layout(layout.path(), "v1", "app", "v1", Format::Kept);
    layout
}

/// Layers that no root uses go with the next create, or after it. What must be gone in the end, is so with this.
fn assert_clean(cell: &Cell) {
    for (name, plugin) in [("unprivileged", &cell.unprivileged), ("privileged", &cell.privileged)] {
        let answer = plugin.call(&["clean"]);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(0), "clean completed\n"));
        for directory in ["images", "volumes", "meta/dependencies", "tmp"] {
            let mut left = cell.names(&format!("{name}/{directory}"));
            left.retain(|name| !name.starts_with("baseimage:") && !name.starts_with("new-"));
            assert!(left.is_empty(), "{name}/{directory}: {left:?}");
        }
    }
    assert_eq!(mounts_below(&cell.store("")).len(), 2);
}

/// Each start of Garden makes the stores again; so does one after a reboot.
fn starts_again(driver: Driver) {
    let cell = Cell::new(driver, &Wishes { extra: GARDEN, ..Wishes::default() });
    let image = stack(&cell);
    let handle = format!("executor-healthcheck-{GUID}");
    let created = cell.unprivileged.create_with(&limited(&cell, false), &image, &handle).unwrap();
    assert_eq!(created.root.path, cell.store("unprivileged/images").join(&handle).join("rootfs"));
    assert!(created.process.env.is_empty() && created.mounts.is_empty());
    let layers = cell.names("unprivileged/volumes");
    let size = if driver == Driver::Btrfs { 0 } else { DISK };
    for plugin in [&cell.unprivileged, &cell.privileged] {
        let capacity = plugin.capacity().unwrap();
        assert_eq!(capacity.into_iter().collect::<Vec<_>>(), [("capacity".to_owned(), size)]);
    }
    cell.wait_for_cleans();
    let sent: BTreeSet<String> =
        cell.metron.envelopes().iter().map(|one| one.name().to_owned()).collect();
    for name in ["ImageCreationTime", "CommittedQuotaInBytes", "UsedLayersSize"] {
        assert!(sent.contains(name), "{sent:?}");
    }
    // Garden alone, with the root in use.
    cell.start();
    assert!(created.root.path.join("bin/busybox").exists());
    // The machine. gdn then destroys what it had, all at once.
    cell.reboot();
    let text = cell.unprivileged.create(&image, "too-early").unwrap_err();
    assert_contains(&text, "Store path is not initialized. Please run init-store.");
    cell.start();
    assert_eq!(cell.names("unprivileged/volumes"), layers);
    let texts = cell.destroy(&handle).unwrap();
    assert_eq!(texts[0], format!("Image {handle} deleted\n"));
    assert_eq!(texts[1], format!("Image `{handle}` not found. Skipping delete.\n"));
    let again = cell.unprivileged.create(&image, &handle).unwrap();
    assert!(again.root.path.join("bin/busybox").exists());
    assert_eq!(cell.names("unprivileged/volumes"), layers);
    cell.destroy(&handle).unwrap();
    assert_clean(&cell);
}

fn many_at_once(driver: Driver) {
    at_once(driver, GARDEN);
}

fn many_at_once_with_the_protocol_of_2017(driver: Driver) {
    at_once(driver, &[]);
}

/// Containers that there are, for whoever polls.
#[derive(Debug, Default)]
struct Alive {
    handles: Mutex<BTreeSet<String>>,
    polls: AtomicUsize,
}

impl Alive {
    fn set(&self, handle: &str, is_alive: bool) {
        let mut handles = self.handles.lock().unwrap();
        if is_alive {
            handles.insert(handle.to_owned())
        } else {
            handles.remove(handle)
        };
    }

    fn has(&self, handle: &str) -> bool {
        self.handles.lock().unwrap().contains(handle)
    }

    /// One round of Diego's, which asks for all containers that it knows, there or not.
    fn poll(&self, cell: &Cell, handles: &[String]) {
        for handle in handles {
            let before = self.has(handle);
            let metrics = cell.metrics(handle);
            let is_alive = before && self.has(handle);
            match metrics {
                Ok(metrics) => {
                    let usage = &metrics["disk_usage"];
                    assert!(usage["total_bytes_used"] >= usage["exclusive_bytes_used"]);
                    self.polls.fetch_add(1, Ordering::Relaxed);
                }
                Err(text) => {
                    assert!(!is_alive, "{text}");
                    assert_contains(&text, &format!("Image `{handle}` not found"));
                }
            }
        }
    }
}

/// Set when it is dropped: a failure ends the polling too.
#[derive(Debug, Default)]
struct Done(Arc<AtomicBool>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Twenty creates, stats for all of them the whole time, and forty destroys.
fn at_once(driver: Driver, extra: &[&str]) {
    let registry = Registry::plain();
    let hosts = [registry.host()];
    let cell =
        Cell::new(driver, &Wishes { extra, insecure_registries: &hosts, ..Wishes::default() });
    let mut layout = push(&cell, &registry);
    // Other layers: those that nobody has checked do not stand for others.
    let unchecked = busybox().file("etc/unchecked", "");
    layout.add(&Image::new().layer(&unchecked).env("PATH=/bin").env("A=b"), Some("v2"));
    let images = [
        stack(&cell),
        format!("docker://{}/app#v1", registry.host()),
        format!("oci://{}#v2", layout.path().display()),
    ];
    let handles: Vec<String> = (0..20).map(|number| format!("{GUID}{number}")).collect();
    let alive = Alive::default();
    thread::scope(|scope| {
        let done = Done::default();
        let poller = scope.spawn({
            let done = Arc::clone(&done.0);
            let (cell, alive, handles) = (&cell, &alive, &handles);
            move || {
                while !done.load(Ordering::Relaxed) {
                    alive.poll(cell, handles);
                }
            }
        });
        let creates: Vec<_> = handles
            .iter()
            .enumerate()
            .map(|(number, handle)| {
                let (cell, alive, image) = (&cell, &alive, &images[number % images.len()]);
                scope.spawn(move || create(cell, alive, number, image, handle))
            })
            .collect();
        creates.into_iter().for_each(|one| one.join().unwrap());
        alive.poll(&cell, &handles);
        // The client has lost the answer, and asks again.
        let destroys: Vec<_> = handles
            .iter()
            .flat_map(|handle| [handle, handle])
            .map(|handle| {
                let (cell, alive) = (&cell, &alive);
                scope.spawn(move || {
                    alive.set(handle, false);
                    cell.destroy(handle).unwrap()
                })
            })
            .collect();
        destroys.into_iter().for_each(|one| drop(one.join().unwrap()));
        drop(done);
        poller.join().unwrap();
    });
    assert!(alive.polls.load(Ordering::Relaxed) >= handles.len());
    for handle in &handles {
        assert_contains(&cell.metrics(handle).unwrap_err(), "not found");
    }
    cell.wait_for_cleans();
    assert_clean(&cell);
}

fn create(cell: &Cell, alive: &Alive, number: usize, image: &str, handle: &str) {
    let is_privileged = number % 2 == 1;
    let plugin = if is_privileged { &cell.privileged } else { &cell.unprivileged };
    let created = plugin.create_with(&limited(cell, number % 4 < 2), image, handle).unwrap();
    alive.set(handle, true);
    let env: &[&str] = if image.contains("://") { &["PATH=/bin", "A=b"] } else { &[] };
    assert_eq!(created.process.env, env);
    let owner = if is_privileged { 0 } else { u32::MAX - 1 };
    for path in ["", "bin", "bin/busybox"] {
        let found = fs::metadata(created.root.path.join(path)).unwrap();
        assert_eq!((found.uid(), found.gid()), (owner, owner), "{path}");
    }
}

/// A process in each, with the limit that it was given.
fn containers(driver: Driver) {
    let cell = Cell::new(driver, &Wishes { extra: GARDEN, ..Wishes::default() });
    let image = stack(&cell);
    let script = "mkdir -p /home/vcap/app; echo 10.0.0.1 me >/etc/hosts; id -u; \
                  stat -c %u:%a /bin/busybox /home/vcap; dd if=/dev/zero of=/home/vcap/8M bs=1M count=8 2>/dev/null";
    for (plugin, mappings) in [(&cell.unprivileged, &MAPPINGS[..]), (&cell.privileged, &[])] {
        let created = plugin.create_with(&limited(&cell, false), &image, GUID).unwrap();
        let used = |name: &str| plugin.metrics(GUID).unwrap()["disk_usage"][name];
        let before = used("exclusive_bytes_used");
        let run = |script: &str| run_mapped(&created.line, mappings, &["/bin/sh", "-c", script]);
        assert_eq!(run(script).success(), "0\n0:755\n2000:750\n");
        let hosts = fs::read_to_string(created.root.path.join("etc/hosts")).unwrap();
        assert_eq!(hosts, "10.0.0.1 me\n");
        if cell.has_limits() {
            assert!(used("exclusive_bytes_used") >= before + (8 << 20));
            assert!(used("total_bytes_used") > used("exclusive_bytes_used"));
            let full = run("dd if=/dev/zero of=/root/full bs=1M count=65 2>/dev/null || echo full");
            assert_eq!(full.success(), "full\n");
            assert!(used("total_bytes_used") <= LIMIT + 65536);
        }
        // A second process with an image of its own ("pea"), beside it.
        let pea = plugin.create(&image, &format!("{GUID}-pea")).unwrap();
        assert_eq!(run_in(&pea.line, &["/bin/ls", "/root"]).success(), "");
        cell.destroy(&format!("{GUID}-pea")).unwrap();
        cell.destroy(GUID).unwrap();
        cell.destroy(GUID).unwrap();
    }
    cell.wait_for_cleans();
    assert_clean(&cell);
}

/// Fails, and says so in these words; afterwards gdn destroys on both sides, and nothing is left.
#[track_caller]
fn refused(cell: &Cell, created: Result<Created, String>, text: &str) {
    let error = created.unwrap_err();
    assert!(error.starts_with("running image plugin create: "), "{error}");
    assert!(error.ends_with("\n: exit status 1"), "{error}");
    assert_contains(&error, text);
    cell.destroy(GUID).unwrap();
}

fn what_the_client_is_told(driver: Driver) {
    let certificates = Certificates::generate();
    let tls = Registry::setup().tls(&certificates).start();
    let tokens = TokenServer::setup().user("alice", "s3cret-word").start();
    let closed = Registry::setup().token_login(&tokens).start();
    let hosts = [closed.host()];
    let cell = Cell::new(
        driver,
        &Wishes { extra: GARDEN, insecure_registries: &hosts, ..Wishes::default() },
    );
    let layout = push(&cell, &closed);
    let plugin = &cell.unprivileged;
    let image = stack(&cell);
    refused(&cell, plugin.create("/no/such/image.tar", GUID), "no such file or directory");
    refused(&cell, plugin.create("oci:///no/such/layout", GUID), "Image source doesn't exist");
    let directory = cell.path("data").display().to_string();
    refused(
        &cell,
        plugin.create(&directory, GUID),
        "invalid base image: directory provided instead of a tar file",
    );
    refused(
        &cell,
        plugin.create(&format!("docker://{}/app", tls.host()), GUID),
        "This registry is insecure. To pull images from this registry, please use the \
         --insecure-registry option.",
    );
    plugin.create(&image, GUID).unwrap();
    refused(&cell, plugin.create(&image, GUID), &format!("image for id `{GUID}` already exists"));
    with_limits(&cell, &image, &format!("oci://{}:v1", layout.path().display()));
    // Garden says which words are right: user and password stand in front of the image, and in no log.
    let private = format!("docker://{}/app:v1", closed.host());
    let unknown = "does not exist or you do not have permissions to see it.";
    refused(&cell, plugin.create(&private, GUID), unknown);
    let talkative = |password: &'static str| {
        let extra = [plugin.extra.clone(), vec!["--log-level".into(), "debug".into()]].concat();
        let plugin = Plugin { extra, ..plugin.clone() };
        let words = ["create", "--username", "alice", "--password", password, &private, GUID];
        let answer = plugin.call(&words);
        assert!(!answer.entries.is_empty());
        let told = format!("{:?}{}", answer.entries, answer.stdout);
        assert!(!told.contains(password), "{told}");
        answer
    };
    assert_eq!(talkative("s3cret-word").code, Some(0));
    cell.destroy(GUID).unwrap();
    let answer = talkative("wr0ng-word");
    assert_eq!(answer.code, Some(1));
    assert_contains(&answer.stdout, "username");
    assert!(answer.entries.iter().any(|entry| entry.level.as_deref() == Some("error")));
    cell.destroy(GUID).unwrap();
    let text = cell.metrics(GUID).unwrap_err();
    assert_eq!(
        text,
        format!("running image plugin metrics: Image `{GUID}` not found.\n: exit status 1")
    );
    cell.wait_for_cleans();
    assert_clean(&cell);
}

/// The texts about limits, where there are any.
fn with_limits(cell: &Cell, tar: &str, layout: &str) {
    let small = ["--disk-limit-size-bytes", "100000"];
    for image in [tar, layout] {
        let created = cell.unprivileged.create_with(&small, image, GUID);
        let text = match &created {
            _ if !cell.has_limits() => "disk limits are not available",
            // Nobody knows how large a tar is before, unless its layer is still there: a clean decides.
            Err(text) if image == tar && !text.contains("layers exceed") => {
                "disk limit is smaller than volume size"
            }
            _ => "layers exceed disk quota",
        };
        refused(cell, created, text);
    }
}

/// `preloaded+layer`: gdn writes a layout of its own, and the droplet is fetched with client certificates.
fn preloaded_layers(driver: Driver) {
    let cell = Cell::new(driver, &Wishes { extra: GARDEN, ..Wishes::default() });
    let stack = stack(&cell);
    let certificates = Certificates::generate();
    let layer = Compression::Gzip.compress(&Layer::new().file("droplet", "runs").tar());
    let blobs = testkit::bare_registry::BareRegistry::start();
    blobs.add_blob(&Hash::Sha256.digest(&layer), &layer);
    let store = FaultProxy::setup().tls_with_client(&certificates).start(&blobs.host());
    let url = format!("{}/v2/app/blobs/{}", store.url(), Hash::Sha256.digest(&layer));
    let write = |handle: &str, base_directory: &str| {
        let image =
            Preloaded { stack: Path::new(&stack), url: &url, layer: &layer, base_directory };
        image.write(&cell.path(&format!("data/depot/{handle}/image")))
    };
    let image = write(GUID, "/home/vcap");
    refused(
        &cell,
        cell.unprivileged.create(&image, GUID),
        "certificate signed by unknown authority",
    );
    for (from, to) in [
        (certificates.ca(), "remote-layer.crt"),
        (certificates.client_certificate(), "remote-layer.cert"),
        (certificates.client_key(), "remote-layer.key"),
    ] {
        fs::copy(from, cell.path("jobs/garden/certs").join(to)).unwrap();
    }
    for plugin in [&cell.unprivileged, &cell.privileged] {
        let owner = if std::ptr::eq(plugin, &cell.privileged) { 0 } else { u32::MAX - 1 };
        let created = plugin.create_with(&limited(&cell, false), &image, GUID).unwrap();
        let droplet = created.root.path.join("home/vcap/droplet");
        assert_eq!(fs::read_to_string(&droplet).unwrap(), "runs");
        assert_eq!(fs::metadata(&droplet).unwrap().uid(), owner);
        let home = fs::metadata(created.root.path.join("home/vcap")).unwrap();
        assert_eq!((home.uid(), home.gid(), home.mode() & 0o7777), (2000, 2000, 0o750));
        cell.destroy(GUID).unwrap();
    }
    // The same droplet, and somewhere else.
    let image = write("root", "/root");
    let created = cell.privileged.create(&image, GUID).unwrap();
    assert!(created.root.path.join("root/droplet").exists());
    assert!(!created.root.path.join("home/vcap/droplet").exists());
    cell.destroy(GUID).unwrap();
    let image = write("elsewhere", "/no/such/directory");
    refused(
        &cell,
        cell.unprivileged.create(&image, GUID),
        "base directory not found in parent layer",
    );
    cell.wait_for_cleans();
    assert_clean(&cell);
}

/// `grootfs.skip_mount`: gdn puts the one entry in front of its own mounts.
fn roots_that_gdn_mounts(driver: Driver) {
    let wishes = Wishes { extra: GARDEN, skip_mount: true, ..Wishes::default() };
    let cell = Cell::new(driver, &wishes);
    let created = cell.unprivileged.create(&stack(&cell), GUID).unwrap();
    let image = cell.store("unprivileged/images").join(GUID);
    assert_eq!(created.root.path, image.join("rootfs"));
    assert_eq!(mounts_below(&image).len(), 0);
    let [mount] = &created.mounts[..] else { panic!("{:?}", created.mounts) };
    let [options] = &mount.options[..] else { panic!("{mount:?}") };
    assert_eq!(mount.destination, "/");
    if driver == Driver::OverlayXfs {
        assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("overlay", "overlay"));
        let end = format!(",upperdir={0}/diff,workdir={0}/workdir", image.display());
        assert!(options.starts_with("lowerdir=") && options.ends_with(&end), "{options}");
    } else {
        let source = image.join("snapshot").display().to_string();
        assert_eq!((mount.source.as_str(), options.as_str()), (source.as_str(), "bind"));
    }
    let output = run_mapped(&created.line, &MAPPINGS, &["/bin/stat", "-c", "%u", "/home/vcap"]);
    assert_eq!(output.success(), "2000\n");
    cell.destroy(GUID).unwrap();
    cell.wait_for_cleans();
    assert_clean(&cell);
}
