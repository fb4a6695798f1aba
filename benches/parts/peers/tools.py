"""The programs that are compared: with which commands each does what `grootfs` does.

A method returns commands (lists of words), or `None` where the program has nothing of the kind. Commands
that only make things ready are run by `prepare` and `forget`, which nobody measures.
"""

import json
import os
import subprocess


def quiet(*argv):
    """Runs a command that is not measured."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stdout.strip()}")
    return done.stdout


class Image:
    """An image in one compression: its layout, the same in a registry, and its layers."""

    def __init__(self, name, compression, layout, room):
        self.name, self.compression, self.layout = name, compression, layout
        self.room = room
        index = json.loads(self.read("index.json"))
        manifest = json.loads(self.blob_text(index["manifests"][0]["digest"]))
        self.layers = [layer["digest"].partition(":")[2] for layer in manifest["layers"]]
        config = json.loads(self.blob_text(manifest["config"]["digest"]))
        self.diff_ids = [diff.partition(":")[2] for diff in config["rootfs"]["diff_ids"]]

    def read(self, path):
        with open(f"{self.layout}/{path}") as file:
            return file.read()

    def blob_text(self, digest):
        return self.read("blobs/" + digest.replace(":", "/"))

    def blobs(self):
        return [f"{self.layout}/blobs/sha256/{digest}" for digest in self.layers]

    def remote(self, registry):
        """Where the registry has it."""
        return f"{registry}/{self.name}-{self.compression}:latest"

    def archive(self):
        """The layout as one file, which is what containerd imports."""
        path = f"{self.room}/archive-{self.name}-{self.compression}.tar"
        if not os.path.exists(path):
            quiet("tar", "--create", "--directory", self.layout, "--file", path, ".")
        return path


class Tool:
    """What all have in common; `place` is a directory of its own on the file system that it writes to."""

    daemon = None
    compressions = ("gzip", "zstd", "plain")
    sources = ("layout", "registry")
    # Roots that the program is measured with at most.
    most_roots = 100

    def __init__(self, name, place, filesystem, registry):
        self.name, self.place, self.filesystem, self.registry = name, place, filesystem, registry

    def reads(self, source, image):
        return source in self.sources and image.compression in self.compressions

    def prepare(self, _image, _source):
        pass

    def forget(self):
        pass

    def cold(self, _image, _source, _name):
        return None

    def cached(self, _image, _name):
        return None

    def bring_in(self, image):
        """Makes the image one that is there, with a root that keeps it."""

    def stats(self, _name):
        return None

    def list(self):
        return None

    def delete(self, _name):
        return None

    def clean(self):
        return None


class Grootfs(Tool):
    most_roots = 1 << 30

    def __init__(self, name, binary, store, filesystem, registry):
        super().__init__(name, store, filesystem, registry)
        self.run = [binary, "--store", store]

    def create(self, image, source, name):
        if source == "layout":
            return [[*self.run, "create", f"oci://{image.layout}:latest", name]]
        where = ["--insecure-registry", self.registry, f"docker://{image.remote(self.registry)}"]
        return [[*self.run, "create", *where, name]]

    def cold(self, image, source, name):
        return self.create(image, source, name)

    def bring_in(self, image):
        quiet(*self.create(image, "layout", "keep")[0])

    def cached(self, image, name):
        return self.create(image, "layout", name)

    def stats(self, name):
        return [[*self.run, "stats", name]]

    def list(self):
        return [[*self.run, "list"]]

    def delete(self, name):
        return [[*self.run, "delete", name]]

    def clean(self):
        return [[*self.run, "clean"]]


class Containers(Tool):
    """podman and buildah, which share their storage's layout and most words."""

    def __init__(self, name, place, filesystem, registry, driver):
        super().__init__(name, place, filesystem, registry)
        self.run = [name.split()[0], "--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", driver]
        self.image = None

    def where(self, image, source):
        if source == "layout":
            return [f"oci:{image.layout}:latest"]
        return ["--tls-verify=false", image.remote(self.registry)]

    def bring_in(self, image):
        quiet(*self.create([*self.where(image, "layout")], "keep"))
        self.image = quiet(*self.run, "images", "--quiet", "--no-trunc").split()[0].partition(":")[2]

    def cold(self, image, source, name):
        return [self.create(self.where(image, source), name)]

    def cached(self, _image, name):
        return [self.create([self.image], name)]

    def delete(self, name):
        return [[*self.run, "rm", name]]

    def clean(self):
        return [[*self.run, "rmi", "--all", "--force"]]


class Podman(Containers):
    def create(self, where, name):
        return [*self.run, "create", "--quiet", "--network", "none", "--name", name, *where, "/bin/sh"]

    def stats(self, name):
        return [[*self.run, "container", "inspect", "--size", name]]

    def list(self):
        return [[*self.run, "ps", "--all", "--quiet"]]


class Buildah(Containers):
    def create(self, where, name):
        return [*self.run, "from", "--quiet", "--name", name, *where]

    def list(self):
        return [[*self.run, "containers", "--quiet"]]


class Ctr(Tool):
    """containerd: the client is measured together with the daemon."""

    def __init__(self, name, place, filesystem, registry, snapshotter, address, daemon):
        super().__init__(name, place, filesystem, registry)
        # Names of containers are those of a namespace.
        self.run, self.daemon = ["ctr", "--address", address, "--namespace", filesystem], daemon
        self.snapshotter = ["--snapshotter", snapshotter]
        self.image = None

    def prepare(self, image, source):
        if source == "layout":
            image.archive()

    def fetch(self, image, source):
        if source == "layout":
            self.image = f"layout/{image.name}:latest"
            base = ["--base-name", f"layout/{image.name}"]
            return [*self.run, "images", "import", *self.snapshotter, *base, image.archive()]
        self.image = image.remote(self.registry)
        return [*self.run, "images", "pull", "--plain-http", *self.snapshotter, self.image]

    def create(self, name):
        return [*self.run, "containers", "create", *self.snapshotter, self.image, name]

    def cold(self, image, source, name):
        return [self.fetch(image, source), self.create(name)]

    def bring_in(self, image):
        quiet(*self.fetch(image, "layout"))

    def cached(self, _image, name):
        return [self.create(name)]

    def stats(self, name):
        return [[*self.run, "snapshots", *self.snapshotter, "usage", name]]

    def list(self):
        return [[*self.run, "containers", "list", "--quiet"]]

    def delete(self, name):
        return [[*self.run, "containers", "rm", name]]

    def clean(self):
        return [[*self.run, "images", "rm", "--sync", self.image]]


class Tree(Tool):
    """Programs that write one tree and know no store; `btrfs` trees are subvolumes."""

    def prepare(self, _image, _source):
        if self.filesystem == "btrfs":
            quiet("btrfs", "subvolume", "create", f"{self.place}/tree")
        else:
            os.mkdir(f"{self.place}/tree")

    def clean(self):
        if self.filesystem == "btrfs":
            return [["btrfs", "subvolume", "delete", f"{self.place}/tree"]]
        return [["rm", "-rf", f"{self.place}/tree"]]

    def forget(self):
        quiet("rm", "-rf", f"{self.place}/copy")

    def extract(self, tar):
        words = ["--extract", "--numeric-owner", "--directory", f"{self.place}/tree", "--file", tar]
        return ["tar", *words]


class Umoci(Tree):
    # The version of Debian 12 knows no zstd.
    compressions = ("gzip", "plain")
    sources = ("layout",)

    def cold(self, image, _source, _name):
        return [["umoci", "raw", "unpack", "--image", f"{image.layout}:latest", f"{self.place}/tree/bundle"]]


class SkopeoTar(Tree):
    def cold(self, image, source, _name):
        where = f"oci:{image.layout}:latest"
        if source == "registry":
            where = f"docker://{image.remote(self.registry)}"
        copy = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", where, f"dir:{self.place}/copy"]
        return [copy, *(self.extract(f"{self.place}/copy/{digest}") for digest in image.layers)]


class Part(Tree):
    """The floor: one part of the work by the fastest program for it."""

    sources = ("layout",)

    def __init__(self, name, place, filesystem, registry, tars):
        super().__init__(name, place, filesystem, registry)
        # The directory of plain tars, by diff id.
        self.tars = tars

    def plain(self, image):
        return [f"{self.tars(image)}/blobs/sha256/{diff}" for diff in image.diff_ids]


class Inflate(Part):
    def cold(self, image, _source, _name):
        # What is inflated goes nowhere: not even into the file that standard output is.
        program = {
            "gzip": lambda blob: ["igzip", "-d", "-f", "-o", "/dev/null", blob],
            "zstd": lambda blob: ["zstd", "-q", "-d", "-f", "-o", "/dev/null", blob],
            "plain": lambda blob: ["dd", f"if={blob}", "of=/dev/null", "bs=1M", "status=none"],
        }[image.compression]
        return [program(blob) for blob in image.blobs()]


class Hash(Part):
    def cold(self, image, _source, _name):
        return [["openssl", "dgst", "-sha256", *image.blobs(), *self.plain(image)]]


class Extract(Part):
    def cold(self, image, _source, _name):
        return [self.extract(tar) for tar in self.plain(image)]


class ExtractAndSnapshot(Part):
    """What any store on btrfs has to do: a snapshot on top of each layer."""

    def snapshots(self, image):
        return [f"{self.place}/snapshot-{number}" for number, _ in enumerate(image.layers)]

    def cold(self, image, _source, _name):
        tree = f"{self.place}/tree"
        steps = zip(self.plain(image), self.snapshots(image))
        make = ["btrfs", "subvolume", "snapshot", tree]
        return [argv for tar, snapshot in steps for argv in (self.extract(tar), [*make, snapshot])]

    def forget(self):
        quiet("sh", "-c", f"btrfs subvolume delete {self.place}/snapshot-*")


class Copy(Part):
    """A copy of the tree that is there already."""

    def prepare(self, image, source):
        super().prepare(image, source)
        quiet("mkdir", f"{self.place}/from")
        for tar in self.plain(image):
            quiet("tar", "--extract", "--numeric-owner", "--directory", f"{self.place}/from", "--file", tar)

    def cold(self, _image, _source, _name):
        return [["cp", "-a", f"{self.place}/from/.", f"{self.place}/tree"]]

    def forget(self):
        quiet("rm", "-rf", f"{self.place}/from")


class Nothing(Tool):
    """What any program costs."""

    most_roots = 1 << 30
    sources = ()

    def cached(self, _image, _name):
        return [["/bin/true"]]
