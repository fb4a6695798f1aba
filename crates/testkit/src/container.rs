//! Running a process in a root file system with `runc`, from the JSON that `create` prints.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::command::{Output, run};

/// Runs a program in the root file system of a printed spec, and waits for its end.
///
/// Mounts of the spec are made: those of the image's volumes by `runc`, that of the root itself
/// (`--without-mount`) before, in a mount namespace that ends with the container.
pub fn run_in(spec: &str, argv: &[&str]) -> Output {
    run_mapped(spec, &[], argv)
}

/// The same in a user namespace with these mappings, `namespace:host:size`, for users and groups.
pub fn run_mapped(spec: &str, mappings: &[&str], argv: &[&str]) -> Output {
    let spec: Value = serde_json::from_str(spec).unwrap();
    let root = spec["root"]["path"].as_str().unwrap();
    let mounts = spec["mounts"].as_array().cloned().unwrap_or_default();
    let (own, others): (Vec<Value>, Vec<Value>) =
        mounts.into_iter().partition(|mount| is_root(mount, root));
    assert!(own.len() < 2, "more than one mount of the root: {own:?}");
    let bundle = tempfile::tempdir().unwrap();
    let mut config = config(&spec, argv, &others);
    add_mappings(&mut config, mappings);
    fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
    let script =
        format!("{}exec \"$@\"", own.first().map(|m| mount_line(m, root)).unwrap_or_default());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", &script, "sh", "runc"]);
    command.arg("--root").arg(bundle.path().join("state"));
    if !has_cgroups() {
        // Not about privileges: runc then goes on where it finds no control groups.
        command.arg("--rootless=true");
    }
    command.arg("run").arg("--bundle").arg(bundle.path()).arg(name(bundle.path()));
    run(&mut command)
}

/// Whether a mount is that of the root itself: at its path, or at `/` in the garden mode.
fn is_root(mount: &Value, root: &str) -> bool {
    let destination = mount["destination"].as_str().unwrap();
    destination == root || destination == "/"
}

/// The shell line that does what a mount entry says.
fn mount_line(mount: &Value, root: &str) -> String {
    let source = mount["source"].as_str().unwrap();
    let options: Vec<&str> = mount["options"]
        .as_array()
        .unwrap()
        .iter()
        .map(|option| option.as_str().unwrap())
        .collect();
    let options = options.join(",");
    let kind = mount["type"].as_str().map(|kind| format!("-t {kind} ")).unwrap_or_default();
    format!("mount {kind}-o '{options}' '{source}' '{root}'\n")
}

fn config(spec: &Value, argv: &[&str], others: &[Value]) -> Value {
    let mut env: Vec<Value> = spec["process"]["env"].as_array().cloned().unwrap_or_default();
    env.push(json!("PATH=/usr/bin:/bin"));
    let mut mounts = vec![json!({ "destination": "/proc", "type": "proc", "source": "proc" })];
    mounts.extend(others.iter().cloned());
    let capabilities = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID"
    ]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": spec["process"]["user"],
            "args": argv,
            "env": env,
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            },
        },
        "root": { "path": spec["root"]["path"], "readonly": false },
        "mounts": mounts,
        "linux": {
            "namespaces": [
                { "type": "mount" }, { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }
            ],
        },
    })
}

fn add_mappings(config: &mut Value, mappings: &[&str]) {
    if mappings.is_empty() {
        return;
    }
    let ranges: Vec<Value> = mappings
        .iter()
        .map(|mapping| {
            let ids: Vec<u32> = mapping.split(':').map(|id| id.parse().unwrap()).collect();
            json!({ "containerID": ids[0], "hostID": ids[1], "size": ids[2] })
        })
        .collect();
    let linux = &mut config["linux"];
    linux["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    linux["uidMappings"] = ranges.clone().into();
    linux["gidMappings"] = ranges.into();
}

fn has_cgroups() -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.contains(" - cgroup"))
}

/// A container name that no other test uses: that of the bundle's directory.
fn name(bundle: &Path) -> String {
    format!("grootfs-test-{}", bundle.file_name().unwrap().to_string_lossy().replace('.', ""))
}
