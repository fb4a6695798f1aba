//! Just enough HTTP/1.1 for servers that must be able to misbehave in every way.
//!
//! Libraries for servers take care that an answer is well formed; ours must not.

pub mod message;
pub mod server;
pub mod upstream;
