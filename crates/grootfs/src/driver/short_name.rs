//! Short names of volumes: what a mount option is made of, whose length is limited (contract 3.5).

/// Letters of short names: what a path and a mount option take as they are.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A new short name: ten letters and the pid (contract 3.5). The kernel's hash keys are random.
pub fn new() -> String {
    use std::hash::{BuildHasher, RandomState};
    let mut random = RandomState::new().hash_one(std::process::id());
    let mut name = String::with_capacity(20);
    for _ in 0..10 {
        name.push(char::from(ALPHABET[(random & 63) as usize]));
        random >>= 6;
    }
    name + &std::process::id().to_string()
}

/// Whether the content of a link file is a name and not a path to somewhere else.
pub fn is_valid(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| ALPHABET.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_names() {
        let (a, b) = (new(), new());
        assert!(is_valid(&a) && is_valid(&b) && a != b, "{a} {b}");
        for bad in ["", "..", "a/b", "a,b", "a:b", &"a".repeat(65)] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
