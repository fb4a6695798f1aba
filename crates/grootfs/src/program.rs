//! Other programs: where they are, and whether they have root's powers. A leaf beside the rooms.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A program by its path, or by its name in the `PATH` that is given.
pub fn find(program: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    std::env::split_paths(path?).map(|directory| directory.join(program)).find(|file| {
        file.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

/// Whether a program runs with root's powers, whoever starts it.
pub fn is_set_uid_root(program: &Path) -> std::io::Result<bool> {
    let found = std::fs::metadata(program)?;
    Ok(found.permissions().mode() & 0o4000 != 0 && found.uid() == 0)
}

/// Whether a program has capabilities of its own, which some distributions give in place of the set-uid
/// bit.
pub fn has_capabilities(program: &Path) -> bool {
    rustix::fs::getxattr(program, c"security.capability", &mut [0_u8; 0][..]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_in_path_for_names_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tardis");
        std::fs::write(&file, "").unwrap();
        let path = Some(dir.path().as_os_str());
        assert_eq!(find(Path::new("tardis"), path), None);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(Path::new("tardis"), path), Some(file.clone()));
        assert_eq!(find(Path::new("drax"), path), None);
        assert_eq!(find(Path::new("/no/tardis"), path), None);
        assert_eq!(find(Path::new("tardis"), None), None);
        assert!(!is_set_uid_root(&file).unwrap() && !has_capabilities(&file));
    }
}
