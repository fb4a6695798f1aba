//! The rules of OCI layers (image-spec, layer.md) on a tree in memory, as plain as can be: what a
//! root file system made of these layers must look like.
//!
//! Paths are lists of names. What an operation leaves unsaid - the mode, owner and time of a
//! directory that only stands in the way of others - is unknown here and compared with nothing.

use std::collections::BTreeMap;
use std::rc::Rc;

/// A path below the root.
pub type Path = Vec<String>;

/// What a file is besides its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Time of the last change, seconds.
    pub mtime: i64,
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A directory.
    Directory(Path, Attributes),
    /// A regular file with a content.
    File(Path, Attributes, String),
    /// A symbolic link.
    Symlink(Path, String, Attributes),
    /// A named pipe.
    Fifo(Path, Attributes),
    /// A new name, and the file of this layer that it is for.
    HardLink(Path, Path),
    /// Deletes what the layers below have at a path.
    Whiteout(Path),
    /// Hides what the layers below have in a directory.
    Opaque(Path),
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory; nothing is known about one that no entry describes.
    Directory(Option<Attributes>),
    /// Anything else; the same `Rc` is the same file.
    Leaf(Rc<Leaf>),
}

/// A file that is no directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// With its content.
    File(Attributes, String),
    /// With its target.
    Symlink(String, Attributes),
    /// A named pipe.
    Fifo(Attributes),
}

/// A tree. The root itself is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// All nodes, and the number of the layer that wrote them.
    pub nodes: BTreeMap<Path, (Node, usize)>,
}

impl Model {
    /// The tree of some layers, base first. Operations that mean nothing are left out; the second
    /// value holds those that were done.
    pub fn of(layers: &[Vec<Operation>]) -> (Self, Vec<Vec<Operation>>) {
        let mut model = Self::default();
        let mut done = Vec::new();
        for (number, layer) in layers.iter().enumerate() {
            let lower = model.clone();
            // Deletions are of the layers below, wherever they stand.
            let kept: Vec<Operation> = layer
                .iter()
                .filter(|operation| lower.can_delete(operation))
                .filter(|operation| model.apply(operation, number, &lower))
                .cloned()
                .collect();
            done.push(kept);
        }
        (model, done)
    }

    fn is_directory(&self, path: &[String]) -> bool {
        path.is_empty() || matches!(self.nodes.get(path), Some((Node::Directory(_), _)))
    }

    /// Whether a deletion is of something that is there, by a path without links.
    fn can_delete(&self, operation: &Operation) -> bool {
        match operation {
            Operation::Whiteout(path) => self.nodes.contains_key(path),
            Operation::Opaque(path) => self.is_directory(path),
            _ => true,
        }
    }

    /// Does one operation; `false` when it means nothing and nothing was done.
    fn apply(&mut self, operation: &Operation, layer: usize, lower: &Self) -> bool {
        let path = match operation {
            Operation::Directory(path, _)
            | Operation::File(path, ..)
            | Operation::Symlink(path, ..)
            | Operation::Fifo(path, _)
            | Operation::HardLink(path, _)
            | Operation::Whiteout(path)
            | Operation::Opaque(path) => path,
        };
        let leaf = match operation {
            Operation::Whiteout(_) => return self.delete(path, layer, lower),
            Operation::Opaque(_) => return self.hide(path, layer),
            Operation::Directory(_, attributes) => {
                return self.directory(path, attributes, layer);
            }
            Operation::HardLink(_, target) => match self.linkable(path, target, layer) {
                Some(leaf) => leaf,
                None => return false,
            },
            Operation::File(_, attributes, content) => {
                Rc::new(Leaf::File(attributes.clone(), content.clone()))
            }
            Operation::Symlink(_, target, attributes) => {
                Rc::new(Leaf::Symlink(target.clone(), attributes.clone()))
            }
            Operation::Fifo(_, attributes) => Rc::new(Leaf::Fifo(attributes.clone())),
        };
        if path.is_empty() || !self.make_parents(path, layer) {
            return false;
        }
        self.remove(path);
        self.nodes.insert(path.clone(), (Node::Leaf(leaf), layer));
        true
    }

    /// The file of this layer that a hard link is for. Not one that replacing would remove.
    fn linkable(&self, path: &[String], target: &[String], layer: usize) -> Option<Rc<Leaf>> {
        if target.starts_with(path) || path.starts_with(target) {
            return None;
        }
        match self.nodes.get(target) {
            Some((Node::Leaf(leaf), of)) if *of == layer => Some(Rc::clone(leaf)),
            _ => None,
        }
    }

    fn directory(&mut self, path: &Path, attributes: &Attributes, layer: usize) -> bool {
        if path.is_empty() || !self.make_parents(path, layer) {
            return false;
        }
        if !self.is_directory(path) {
            self.remove(path);
        }
        self.nodes.insert(path.clone(), (Node::Directory(Some(attributes.clone())), layer));
        true
    }

    /// Makes what is missing on the way to a path. Links on the way are not followed here: such
    /// an operation is left out, because a layer that knows nothing of the layers below cannot
    /// know that they are links.
    fn make_parents(&mut self, path: &[String], layer: usize) -> bool {
        let parents = (1..path.len()).map(|length| &path[..length]);
        let is_link = |parent: &[String]| match self.nodes.get(parent) {
            Some((Node::Leaf(leaf), _)) => matches!(**leaf, Leaf::Symlink(..)),
            _ => false,
        };
        if parents.clone().any(is_link) {
            return false;
        }
        for parent in parents {
            if self.is_directory(parent) {
                // The layer has something in it now.
                let (node, of) = &mut self.nodes.get_mut(parent).unwrap();
                if *of != layer {
                    // On overlay it is a directory of this layer, made without a description.
                    *node = Node::Directory(None);
                }
                *of = layer;
            } else {
                self.remove(parent);
                self.nodes.insert(parent.to_vec(), (Node::Directory(None), layer));
            }
        }
        true
    }

    /// Removes a path with all below it.
    fn remove(&mut self, path: &[String]) {
        self.nodes.retain(|other, _| !other.starts_with(path));
    }

    /// Removes what is at a path and below it, but what this layer wrote; and says nothing more
    /// about a directory that stays for its sake.
    fn delete(&mut self, path: &Path, layer: usize, lower: &Self) -> bool {
        if !self.reaches(path, lower) {
            return false;
        }
        self.forget_attributes(&path[..path.len() - 1], layer);
        let is_own = self.nodes.get(path).is_some_and(|(_, of)| *of == layer);
        self.nodes.retain(|other, (_, of)| !other.starts_with(path) || *of == layer);
        is_own || !self.nodes.contains_key(path)
    }

    fn hide(&mut self, path: &Path, layer: usize) -> bool {
        if !self.is_directory(path) {
            return false;
        }
        let below = |other: &Path| other.starts_with(path) && other != path;
        self.nodes.retain(|other, (_, of)| !below(other) || *of == layer);
        self.forget_attributes(path, layer);
        true
    }

    /// Forgets what is known of the directories on a way that a layer goes without describing
    /// them: on overlay it has them for itself.
    fn forget_attributes(&mut self, path: &[String], layer: usize) {
        for length in 1..=path.len() {
            if let Some((Node::Directory(attributes), of)) = self.nodes.get_mut(&path[..length])
                && *of != layer
            {
                *attributes = None;
            }
        }
    }

    /// Whether a path leads over directories to where the layers below had it.
    fn reaches(&mut self, path: &[String], lower: &Self) -> bool {
        (1..path.len())
            .all(|length| lower.is_directory(&path[..length]) && self.is_directory(&path[..length]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.split('/').map(str::to_owned).collect()
    }

    fn attributes() -> Attributes {
        Attributes { mode: 0o644, owner: (0, 0), mtime: 1 }
    }

    fn file(name: &str, content: &str) -> Operation {
        Operation::File(path(name), attributes(), content.to_owned())
    }

    fn directory(name: &str) -> Operation {
        Operation::Directory(path(name), attributes())
    }

    fn names(layers: &[Vec<Operation>]) -> Vec<String> {
        Model::of(layers).0.nodes.keys().map(|path| path.join("/")).collect()
    }

    #[test]
    fn replaces() {
        assert_eq!(names(&[vec![file("a/x", "1"), file("a", "2")]]), ["a"]);
        assert_eq!(names(&[vec![file("a", "1"), file("a/x", "2")]]), ["a", "a/x"]);
        assert_eq!(names(&[vec![file("a/x", "1")], vec![directory("a")]]), ["a", "a/x"]);
        assert_eq!(names(&[vec![file("a/x", "1")], vec![file("a", ""), directory("a")]]), ["a"]);
    }

    #[test]
    fn deletes_what_is_below_and_nothing_of_its_own() {
        let lower = vec![file("a/x", "1"), file("a/y", "2"), file("b", "3")];
        let gone = Operation::Whiteout(path("a"));
        assert_eq!(names(&[lower.clone(), vec![gone.clone()]]), ["b"]);
        let own = vec![directory("a"), file("a/z", "n"), gone];
        assert_eq!(names(&[lower.clone(), own]), ["a", "a/z", "b"]);
        let opaque = Operation::Opaque(path("a"));
        assert_eq!(names(&[lower.clone(), vec![opaque.clone()]]), ["a", "b"]);
        assert_eq!(names(&[lower, vec![file("a/n", ""), opaque]]), ["a", "a/n", "b"]);
        // A layer cannot delete what only it has.
        assert_eq!(names(&[vec![file("a", ""), Operation::Whiteout(path("a"))]]), ["a"]);
    }

    #[test]
    fn hard_links_are_the_same_file() {
        let link = |name: &str, target: &str| Operation::HardLink(path(name), path(target));
        let (model, done) = Model::of(&[
            vec![file("a", "1"), link("b", "a"), file("a", "2")],
            vec![link("c", "b")],
        ]);
        let content = |name: &str| match &model.nodes[&path(name)].0 {
            Node::Leaf(leaf) => (**leaf).clone(),
            Node::Directory(_) => panic!("{name} is a directory"),
        };
        assert_eq!(content("b"), Leaf::File(attributes(), "1".into()));
        assert_eq!(content("a"), Leaf::File(attributes(), "2".into()));
        // Not to the files of another layer.
        assert!(done[1].is_empty() && !model.nodes.contains_key(&path("c")));
    }

    #[test]
    fn links_on_the_way_are_left_out() {
        let link = Operation::Symlink(path("l"), "a".into(), attributes());
        let (_, done) = Model::of(&[vec![link, file("l/x", "1")]]);
        assert_eq!(done[0].len(), 1);
    }
}
