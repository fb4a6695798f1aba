//! `grootfs delete-store`

use super::Context;
use super::args::DeleteStore;
use crate::driver::Told;
use crate::error::Error;
use crate::store::init;

pub fn run(context: &Context, args: &DeleteStore) -> Result<String, Error> {
    let driver = context.driver();
    let driver = Told::new(&*driver, &context.log);
    init::delete_store(&context.layout, &driver, args.with_backing_file)?;
    Ok(String::new())
}
