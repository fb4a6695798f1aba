//! The command line as a user or a script sees it, without a store: texts, streams, exit codes
//! (contract sections 1.1 to 1.6).

#![allow(clippy::unwrap_used, reason = "a panic is the failure that a test reports")]

use std::path::Path;
use std::process::{Command, Output};

fn grootfs(args: &[&str]) -> Output {
    grootfs_in(Path::new("/"), args)
}

fn grootfs_in(directory: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_grootfs"))
        .args(args)
        .current_dir(directory)
        .env_clear()
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn expect(args: &[&str], code: i32, text: &str) {
    let output = grootfs(args);
    assert_eq!(stdout(&output), text, "{args:?}");
    assert_eq!(output.status.code(), Some(code), "{args:?}");
    assert!(output.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn expect_start(args: &[&str], code: i32, text: &str) {
    let output = grootfs(args);
    assert!(stdout(&output).starts_with(text), "{args:?}: {}", stdout(&output));
    assert_eq!(output.status.code(), Some(code), "{args:?}");
    assert!(output.stderr.is_empty(), "{args:?}");
}

#[test]
fn help_and_version() {
    let about = "Makes root file systems for containers from images";
    for args in [&[][..], &["help"], &["h"], &["--help"], &["-h"]] {
        expect_start(args, 0, about);
    }
    let help = stdout(&grootfs(&["--help"]));
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        commands,
        [
            "init-store",
            "delete-store",
            "create",
            "pull",
            "delete",
            "stats",
            "limit",
            "df",
            "clean",
            "check",
            "list",
            "capacity",
            "help"
        ]
    );
    for command in
        ["create", "delete", "stats", "df", "clean", "list", "init-store", "delete-store"]
    {
        let by_flag = stdout(&grootfs(&[command, "--help"]));
        assert!(by_flag.contains(&format!("grootfs [global options] {command}")), "{by_flag}");
        assert_eq!(by_flag, stdout(&grootfs(&[command, "-h"])));
        assert_eq!(by_flag, stdout(&grootfs(&["help", command])));
    }
    let version = concat!("grootfs version ", env!("CARGO_PKG_VERSION"), "\n");
    for args in [["--version"], ["-v"], ["-version"]] {
        expect(&args, 0, version);
    }
}

#[test]
fn usage_errors() {
    expect(&["frob"], 3, "No help topic for 'frob'\n");
    expect_start(&["--frob", "list"], 1, "Incorrect Usage.");
    expect_start(&["create", "--frob", "a", "b"], 1, "Incorrect Usage.");
    expect_start(&["create", "--disk-limit-size-bytes", "many", "a", "b"], 1, "Incorrect Usage.");
    expect_start(&["create", "--with-clean=maybe", "a", "b"], 1, "Incorrect Usage.");
    expect_start(&["list", "--store"], 1, "Incorrect Usage.");
    let text = stdout(&grootfs(&["create", "--frob", "a", "b"]));
    assert!(text.contains("\n\nMakes a root file system from an image\n"), "{text}");
}

#[test]
fn numbers_of_arguments() {
    let create = "invalid arguments - usage: create [options] <image> <id>\n";
    for args in [&["create"][..], &["create", "a"], &["create", "a", "b", "c"]] {
        expect(args, 1, create);
    }
    let stats = "invalid arguments - usage: stats [options] <id|image path>\n";
    for args in [&["stats"][..], &["stats", "a", "b"]] {
        expect(args, 1, stats);
    }
    expect(&["df", "x"], 1, "invalid arguments - usage: df [options]\n");
    expect(&["init-store", "x"], 1, "invalid arguments - usage: init-store --store <path>\n");
    expect(&["generate-volume-size-metadata", "x"], 1, "invalid arguments - usage: \n");
    expect(&["delete"], 1, "id was not specified\n");
    expect(&["delete", "a", "b"], 1, "id was not specified\n");
    // Before the configuration is read.
    expect(&["--config", "/no/such", "delete"], 1, "id was not specified\n");
}

#[test]
fn bad_values() {
    expect(
        &["--store", "/s", "create", "--disk-limit-size-bytes", "-1", "a", "b"],
        1,
        "invalid argument: disk limit cannot be negative\n",
    );
    expect(
        &["--store", "/s", "clean", "-threshold-bytes=-1"],
        1,
        "invalid argument: clean threshold cannot be negative\n",
    );
    expect(
        &["create", "--with-clean", "a", "b", "--without-clean"],
        1,
        "with-clean and without-clean cannot be used together\n",
    );
    expect_start(
        &["--driver", "zfs", "create", "a", "b"],
        1,
        "filesystem driver not supported: zfs",
    );
    expect_start(&["create", "foo://bar", "b"], 1, "unsupported image url scheme `foo`");
}

#[test]
fn mappings_of_a_store() {
    let init = |flags: &[&str], text: &str| {
        expect_start(&[&["--store", "/no/such/store", "init-store"], flags].concat(), 1, text);
    };
    let uid = |first: &'static str, second: &'static str| {
        ["--uid-mapping", first, "--uid-mapping", second, "--gid-mapping", "0:0:1"]
    };
    let both = "cannot specify --rootless and --uid-mapping/--gid-mapping\n";
    init(&["--rootless", "a:b", "--uid-mapping", "0:1:1"], both);
    init(&["--gid-mapping", "0:1:1", "--rootless", "a:b"], both);
    for parameter in ["", "a", ":", "a:", ":b", "a:b:c", "a:b:"] {
        let form = "invalid --rootless parameter, format must be <user>:<group>";
        init(&["--rootless", parameter], &format!("{form} (given: `{parameter}`)\n"));
    }
    let together = "--uid-mapping and --gid-mapping must be given together";
    init(&["--uid-mapping", "0:1:1"], together);
    init(&["--gid-mapping", "0:1:1"], together);
    init(&uid("0:1", "1:1:1"), "parsing uid-mapping: unexpected EOF: `0:1` is not");
    init(&uid("0:x:1", "1:1:1"), "parsing uid-mapping: expected integer: `x` in `0:x:1`");
    init(&uid("0:5:0", "1:1:1"), "parsing uid-mapping: `0:5:0` maps nothing");
    init(&uid("0:4294967295:1", "1:1:1"), "parsing uid-mapping: `0:4294967295:1` goes up to");
    init(
        &uid("0:5000:10", "9:6000:1"),
        "parsing uid-mapping: `0:5000:10` and `9:6000:1` overlap: both have the namespace ids 9 to 9\n",
    );
    init(
        &["--gid-mapping", "0:5:1", "--uid-mapping", "0:0:1", "--gid-mapping", "1:0:100"],
        "parsing gid-mapping: `1:0:100` and `0:5:1` overlap: both have the host ids 5 to 5\n",
    );
    let many: Vec<String> = (0..341).map(|id| format!("--gid-mapping={id}:{id}:1")).collect();
    let mut flags: Vec<&str> = many.iter().map(String::as_str).collect();
    flags.push("--uid-mapping=0:0:1");
    init(&flags, "parsing gid-mapping: 341 mappings are too many: the kernel takes 340\n");
}

#[test]
fn stores_that_are_not_there() {
    let store = ["--store", "/no/such/store"];
    let run = |args: &[&str], code, text: &str| expect(&[&store, args].concat(), code, text);
    run(&["list"], 1, "no store found at /no/such/store\n");
    run(&["df"], 1, "no store found at /no/such/store\n");
    run(&["clean"], 0, "no store found at /no/such/store\n");
    run(&["delete-store"], 0, "");
    run(&["delete", "x"], 0, "Image `x` not found. Skipping delete.\n");
    run(
        &["delete", "/elsewhere/images/x"],
        0,
        "path `/elsewhere/images/x` is outside store path\n",
    );
    run(&["stats", "/elsewhere/images/x"], 1, "path `/elsewhere/images/x` is outside store path\n");
    let output = grootfs(&[&store[..], &["stats", "x"]].concat());
    assert!(stdout(&output).starts_with("Image `x` not found."), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(1));
    let output = grootfs(&[&store[..], &["create", "/x.tar", "x"]].concat());
    assert!(
        stdout(&output).starts_with("Store path is not initialized. Please run init-store."),
        "{}",
        stdout(&output)
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn configuration_files() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // A failed preparation is told on both streams.
    let output = grootfs(&["--config", "/no/such", "list"]);
    let text = "invalid config path: open /no/such: no such file or directory\n";
    assert!(stdout(&output).starts_with(&format!("{text}\nMakes root file systems")));
    assert_eq!(String::from_utf8_lossy(&output.stderr), text);
    assert_eq!(output.status.code(), Some(1));
    let list = write("list.yml", "- a\n");
    let number = write("number.yml", "create:\n  disk_limit_size_bytes: many\n");
    for path in [&list, &number] {
        let output = grootfs(&["--config", path, "list"]);
        let text = stdout(&output);
        assert!(text.starts_with("invalid config file: yaml: unmarshal errors:\n"), "{text}");
        assert_eq!(output.status.code(), Some(1));
    }
    let good =
        write("good.yml", "store: /from/file\nnobody_knows: this\nclean:\n  ignore_images: [a]\n");
    expect(&["--config", &good, "list"], 1, "no store found at /from/file\n");
    expect(&["--config", &good, "--store", "/s", "list"], 1, "no store found at /s\n");
    // Relative paths are made absolute at once.
    let output = grootfs_in(dir.path(), &["--store", "here", "list"]);
    let here = dir.path().join("here");
    assert_eq!(stdout(&output), format!("no store found at {}\n", here.display()));
    let capacity = write("capacity.yml", "init:\n  store_size_bytes: 12345\n");
    expect(&["--config", &capacity, "capacity"], 0, "{\"capacity\":12345}\n");
}

#[test]
fn logs_go_to_standard_error_or_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let log = log.to_str().unwrap();
    expect(&["--store", "/s", "--log-file", log, "list"], 1, "no store found at /s\n");
    assert!(Path::new(log).exists());
    let output = grootfs(&["--log-file", "/no/such/log", "list"]);
    assert!(stdout(&output).starts_with("open /no/such/log: no such file or directory\n"));
    assert_eq!(output.status.code(), Some(1));
}
