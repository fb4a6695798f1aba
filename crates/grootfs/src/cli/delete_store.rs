//! `grootfs delete-store`

use super::Context;
use super::args::DeleteStore;
use crate::error::Error;
use crate::store::init;

pub fn run(context: &Context, args: &DeleteStore) -> Result<String, Error> {
    init::delete_store(&context.layout, &*context.driver(), args.with_backing_file)?;
    Ok(String::new())
}
