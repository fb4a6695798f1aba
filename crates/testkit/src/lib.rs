//! x

pub mod uml;
