//! The shell script that starts the program inside the guest.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What every program gets; a variable of the caller with the same name wins.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("TMPDIR", super::SCRATCH),
];

/// Writes the script that runs `command` in `directory` with an environment of its own.
///
/// The program is started by a second shell, because `env` would take a program whose name has a
/// `=` for a variable.
pub(super) fn script<S: AsRef<OsStr>>(
    directory: &Path,
    environment: &[(OsString, OsString)],
    command: &[S],
) -> Vec<u8> {
    let mut script = b"cd -- ".to_vec();
    script.extend(quoted(directory.as_os_str()));
    script.extend(b" || exit 126\nexec env -i");
    let fixed = ENVIRONMENT.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
    let chosen = environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    for (name, value) in fixed.chain(chosen) {
        script.push(b' ');
        script.extend(quoted(&[name, value].join(OsStr::new("="))));
    }
    script.extend(b" sh -c 'exec \"$@\"' sh");
    for word in command {
        script.push(b' ');
        script.extend(quoted(word.as_ref()));
    }
    script.push(b'\n');
    script
}

/// Returns `word` as the shell reads it back byte for byte.
fn quoted(word: &OsStr) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for &byte in word.as_bytes() {
        match byte {
            b'\'' => quoted.extend(b"'\\''"),
            _ => quoted.push(byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn run(environment: &[(OsString, OsString)], command: &[&OsStr]) -> Vec<u8> {
        let script = script(Path::new("/"), environment, command);
        let output = Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output();
        output.expect("a shell").stdout
    }

    #[test]
    fn every_byte_of_a_word_arrives() {
        let odd = OsStr::from_bytes(b"a 'b' \"$c\" \\ \n\xff*");
        let words = [OsStr::new("printf"), OsStr::new("%s|"), odd, OsStr::new(""), odd];
        let expected = [odd.as_bytes(), b"", odd.as_bytes(), b""].join(&b"|"[..]);
        assert_eq!(run(&[], &words), expected);
    }

    #[test]
    fn the_environment_is_only_what_was_chosen() {
        let chosen = [(OsString::from("A"), OsString::from("x y")), ("HOME".into(), "/h".into())];
        let output = run(&chosen, &[OsStr::new("env")]);
        let mut lines: Vec<&str> = std::str::from_utf8(&output).expect("text").lines().collect();
        lines.retain(|line| !line.starts_with("PWD=") && !line.starts_with("PATH="));
        lines.sort_unstable();
        let scratch = format!("TMPDIR={}", crate::uml::SCRATCH);
        assert_eq!(lines, ["A=x y", "HOME=/h", &scratch]);
    }
}
