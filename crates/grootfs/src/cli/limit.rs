//! `grootfs limit`

use super::Context;
use super::args::Limit;
use super::find::{Found, find};
use crate::driver::{Change, Told};
use crate::error::Error;
use crate::store::images;

pub fn run(context: &Context, args: &Limit) -> Result<String, Error> {
    let argument = args.arguments.first().map(String::as_str).unwrap_or_default();
    let store = context.store()?;
    let id = match find(context, argument)? {
        Found::Missing(text) => return Err(Error::Message(text.replace(" Skipping delete.", ""))),
        Found::Image(id, _) => id,
    };
    // Checked by the configuration; what was not given stays as it is.
    let limit = context.config.limit;
    let change = Change {
        bytes: args.disk_limit_size_bytes.map(|_| (limit.bytes, limit.scope)),
        inodes: args.inode_limit.map(|_| limit.inodes),
    };
    let driver = context.driver();
    match images::limit(&store, &Told::new(&*driver, &context.log), &id, &change) {
        Ok(()) => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}
