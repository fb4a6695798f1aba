//! `grootfs delete`

use super::Context;
use super::args::Delete;
use super::find::{Found, find};
use crate::error::Error;
use crate::store::{Store, images};

pub fn run(context: &Context, args: &Delete) -> Result<String, Error> {
    let argument = args.arguments.first().map(String::as_str).unwrap_or_default();
    let id = match find(context, argument)? {
        // Garden deletes every container in both of its stores: this must be a success.
        Found::Missing(text) => return Ok(text + "\n"),
        Found::Image(id, _) => id,
    };
    let mappings = crate::store::namespace::read(&context.layout)?;
    let store = Store { layout: context.layout.clone(), mappings };
    images::delete(&store, &*context.driver(), &id)?;
    Ok(format!("Image {id} deleted\n"))
}
