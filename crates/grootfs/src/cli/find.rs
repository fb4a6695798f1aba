//! Which image an argument of `delete` or `stats` means (contract 7.1).

use super::Context;
use crate::error::Error;
use crate::image::argument;
use crate::store::id::ImageId;
use crate::store::layout::ImagePaths;

/// What was found.
pub enum Found {
    /// An image that is there.
    Image(ImageId, ImagePaths),
    /// Nothing, and the text that says so.
    Missing(String),
}

/// Looks for an image by id or by path.
pub fn find(context: &Context, argument: &str) -> Result<Found, Error> {
    // Somebody may have given the image's name in place of the id, and a password in it.
    let argument = &argument::redacted(argument);
    let outside = format!("path `{argument}` is outside store path");
    let id = match ImageId::from_argument(argument, &context.layout.images()) {
        None => return Ok(Found::Missing(outside)),
        Some(Err(_)) => return Ok(Found::Missing(not_found(argument))),
        Some(Ok(id)) => id,
    };
    let paths = context.layout.image(&id);
    match std::fs::symlink_metadata(paths.dir()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(Found::Missing(not_found(id.as_str())))
        }
        // What cannot be looked at is there: the command itself says what is wrong.
        _ => Ok(Found::Image(id, paths)),
    }
}

/// What is said of an image that is not there.
pub fn not_found(id: &str) -> String {
    format!("Image `{id}` not found. Skipping delete.")
}
