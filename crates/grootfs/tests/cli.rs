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
            "doctor",
            "capacity",
            "config",
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

#[test]
fn the_configuration_that_is_in_effect() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let file = write(
        "mine.yml",
        "store: /from/file\ndriver: btrfs\ncreate: {with_clean: yes, cache_size: 5}\n\
         metron_endpoint: \"me:hunter2@h:1\"\n\
         registries: {docker.io: {mirrors: [\"https://me:hunter2@mirror/x\"]}}\n",
    );
    let output = Command::new(env!("CARGO_BIN_EXE_grootfs"))
        .args(["--config", &file, "--store", "/from/flag", "config"])
        .env_clear()
        .env("GROOTFS_COMPAT", "garden")
        .output()
        .unwrap();
    let text = stdout(&output);
    assert!(!text.contains("hunter2"), "{text}");
    let shown = |key: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{key}: ")));
        let line = line.unwrap_or_else(|| panic!("no {key} in {text}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown("store"), "store: /from/flag # flag --store");
    assert_eq!(shown("driver"), format!("driver: btrfs # file {file}"));
    assert_eq!(shown("with_clean"), format!("with_clean: true # file {file}"));
    assert_eq!(shown("compat"), "compat: garden # environment GROOTFS_COMPAT");
    assert_eq!(shown("tardis_bin"), "tardis_bin: tardis # default");
    assert_eq!(shown("log_timestamp_format"), "log_timestamp_format: rfc3339 # default");
    assert!(text.ends_with("# ignored, because nobody knows it: create.cache_size\n"), "{text}");

    // What is printed is a configuration with the same effect.
    let again = write("again.yml", &text.replace("***@", ""));
    let values = |text: &str| -> Vec<String> {
        let value = |line: &str| line.split(" # ").next().unwrap().trim_end().to_owned();
        text.lines().filter(|line| !line.starts_with('#')).map(value).collect()
    };
    let printed = stdout(&grootfs(&["--config", &again, "config"]));
    assert_eq!(values(&printed), values(&text.replace("***@", "")));
}

/// Garden's thresholder writes every key that it knows, mostly empty.
#[test]
fn a_file_that_gardens_tools_have_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("grootfs.yml");
    let log = dir.path().join("log");
    let text = "clean:\n  threshold_bytes: 0\n\
         create:\n  exclude_image_from_quota: false\n  skip_layer_validation: false\n  with_clean: true\n  \
         without_mount: false\n  disk_limit_size_bytes: 0\n  insecure_registries: []\n  \
         remote_layer_client_certificates_path: \"\"\n  clean_log_file: \"\"\n\
         init:\n  store_size_bytes: 49536401408\n  with_direct_io: false\n  owneruser: \"\"\n  ownergroup: \"\"\n\
         store: /var/vcap/data/grootfs/store/unprivileged\ndriver: \"\"\ndrax_bin: \"\"\n\
         tardis_bin: /var/vcap/packages/grootfs/bin/tardis\nbtrfs_progs_path: \"\"\nnewuidmap_bin: \"\"\n\
         newgidmap_bin: \"\"\nmetron_endpoint: \"\"\nlog_level: \"\"\nlog_file: \"\"\n\
         log_timestamp_format: \"\"\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    expect(&["--config", path, "capacity"], 0, "{\"capacity\":49536401408}\n");
    let output = grootfs(&["--config", path, "--log-file", log.to_str().unwrap(), "config"]);
    let text = stdout(&output);
    for line in [
        "store: /var/vcap/data/grootfs/store/unprivileged",
        "driver: \"\"",
        "drax_bin: drax",
        "metron_endpoint: \"\"",
        "log_timestamp_format: unix-epoch",
        "  insecure_registries: []",
        "  store_size_bytes: 49536401408",
    ] {
        assert!(text.lines().any(|found| found.starts_with(&format!("{line} "))), "{line}: {text}");
    }
    // Every key is one that we know.
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "");
}

#[test]
fn keys_that_nobody_knows_and_wrong_types() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("grootfs.yml");
    let run = |text: &str, more: &[&str]| {
        std::fs::write(&path, text).unwrap();
        grootfs(&[&["--config", path.to_str().unwrap(), "--store", "/no/such"], more].concat())
    };
    let unknown = "store_path: /x\ncreate:\n  cache_size: 5\n";
    let output = run(unknown, &["--log-level", "info", "list"]);
    assert_eq!(stdout(&output), "no store found at /no/such\n");
    let lines = String::from_utf8(output.stderr).unwrap();
    let told: Vec<(String, String)> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            (text(&line["message"]), text(&line["data"]["subject"]))
        })
        .filter(|(_, subject)| !subject.is_empty())
        .collect();
    let line = |key: &str| ("grootfs.list.config-unknown-key".to_owned(), key.to_owned());
    assert_eq!(told, [line("store_path"), line("create.cache_size")]);

    let output = run("store: /s\nclean:\n  threshold_bytes: much\n", &["list"]);
    let text = stdout(&output);
    let start = "invalid config file: yaml: unmarshal errors:\n  line 3: cannot unmarshal: clean.threshold_bytes: ";
    assert!(text.starts_with(start), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn logs_for_people() {
    let output = grootfs(&[
        "--store",
        "/no/such",
        "--log-level",
        "error",
        "--log-format",
        "text",
        "stats",
        "a\u{1b}[2Jb",
    ]);
    let lines = String::from_utf8(output.stderr).unwrap();
    let line = lines.lines().last().unwrap();
    let (time, rest) = line.split_at(8);
    assert!(time.bytes().all(|byte| byte.is_ascii_digit() || byte == b':'), "{line}");
    assert_eq!(
        rest,
        " error stats.fetching-stats Image `a\\u{1b}[2Jb` not found. Skipping delete."
    );
    expect_start(&["--log-format", "xml", "list"], 1, "invalid log format `xml`");
}
