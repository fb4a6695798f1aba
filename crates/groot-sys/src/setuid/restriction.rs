//! Who may call a set-uid program at all, as the administrator of the machine has decided.
//!
//! The original decided it when it was built (`cloudfoundry`). Here one file decides, so that
//! one binary serves both.

use std::fs;

use rustix::fs::lstat;

use super::Caller;
use crate::Errno;

/// The file whose presence restricts the programs to root and to the largest mapped user.
pub const FILE: &str = "/etc/grootfs/cloudfoundry";

/// Whether this caller is one that the restriction keeps out.
///
/// Anything at all with that name restricts, and so does a name that cannot be looked at: only root
/// writes there, and a restriction that a wrong mode switches off would be none.
pub fn refuses(caller: Caller) -> bool {
    let free = matches!(lstat(FILE), Err(Errno::NOENT | Errno::NOTDIR));
    !free && !caller.is_root() && Some(caller.uid()) != largest_mapped()
}

/// What a caller reads who was refused. The first line is the original's, which people search for.
pub fn explanation(program: &str, caller: Caller) -> String {
    format!(
        "{program} was compiled with the cloudfoundry build tag\n\
         Your user uid `{}` does not have permission to run it\naborting",
        caller.uid()
    )
}

/// The largest id that is both a user and a group here: the root of unprivileged containers.
fn largest_mapped() -> Option<u32> {
    let largest = |path| parse(&fs::read_to_string(path).ok()?);
    Some(largest("/proc/self/uid_map")?.min(largest("/proc/self/gid_map")?))
}

/// The largest id of a map: lines of first id inside, first id outside, length.
fn parse(map: &str) -> Option<u32> {
    let last = |line: &str| -> Option<u32> {
        let mut fields = line.split_ascii_whitespace();
        let first: u32 = fields.next()?.parse().ok()?;
        let length: u32 = fields.nth(1)?.parse().ok()?;
        first.checked_add(length.checked_sub(1)?)
    };
    map.lines().filter_map(last).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_id_of_a_map() {
        for (map, largest) in [
            ("         0          0 4294967295\n", Some(4_294_967_294)),
            ("0 1000 1\n1 100000 65536\n", Some(65536)),
            ("5 0 1\n0 7 2\n", Some(5)),
            ("", None),
            ("0 0 0\n", None),
            ("4294967295 0 4294967295\n", None),
            ("a b c\n0 0\n", None),
        ] {
            assert_eq!(parse(map), largest, "{map:?}");
        }
    }
}
