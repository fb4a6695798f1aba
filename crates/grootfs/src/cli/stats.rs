//! `grootfs stats`

use super::Context;
use super::args::Stats;
use super::find::{Found, find};
use crate::error::Error;

pub fn run(context: &Context, args: &Stats) -> Result<String, Error> {
    let argument = args.arguments.first().map(String::as_str).unwrap_or_default();
    let paths = match find(context, argument)? {
        Found::Missing(text) => return Err(Error::Message(text)),
        Found::Image(_, paths) => paths,
    };
    let usage = context.driver().usage(&paths)?;
    Ok(format!(
        "{{\"disk_usage\":{{\"total_bytes_used\":{},\"exclusive_bytes_used\":{}}}}}\n",
        usage.total, usage.exclusive
    ))
}
