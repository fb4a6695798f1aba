//! `grootfs delete`

use super::Context;
use super::args::Delete;
use super::find::{Found, find, not_found};
use crate::driver::Told;
use crate::error::Error;
use crate::image::argument;
use crate::observe::Level;
use crate::observe::log::data;
use crate::observe::metrics::{Ending, Timing};
use crate::store::{self, Store, images};

pub fn run(context: &Context, args: &Delete) -> Result<String, Error> {
    let argument = args.arguments.first().map(String::as_str).unwrap_or_default();
    let id = match find(context, argument)? {
        // Garden deletes every container in both of its stores: this must be a success.
        Found::Missing(text) => {
            context.log.tell(Level::Debug, "id-not-found-skipping", || {
                data([
                    ("id", argument::redacted(argument).into()),
                    ("storePath", context.layout.root().to_string_lossy().into()),
                    ("errorMessage", text.as_str().into()),
                ])
            });
            context.metrics.ends_as(Ending::NotThere);
            return Ok(text + "\n");
        }
        Found::Image(id, _) => id,
    };
    let store = Store::of(context.layout.clone())?;
    let log = context.log.session("deleting-image").with("imageID", id.as_str());
    let _step = log.step();
    let driver = context.driver();
    let delete = || images::delete(&store, &Told::new(&*driver, &log), &id);
    match context.metrics.timed(Timing::ImageDeletion, delete) {
        Ok(()) => Ok(format!("Image {id} deleted\n")),
        // Somebody else was faster.
        Err(store::Error::NotFound(id)) => Ok(not_found(id.as_str()) + "\n"),
        Err(error) => Err(error.into()),
    }
}
