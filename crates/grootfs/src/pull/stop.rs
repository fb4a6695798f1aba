//! What ends all pipes of a pull.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::interrupt::Interrupt;

/// Ends all pipes of a pull.
#[derive(Debug)]
pub struct Stop {
    failed: AtomicBool,
    interrupt: Interrupt,
}

impl Stop {
    /// Ends when the interrupt says so.
    pub fn new(interrupt: &Interrupt) -> Self {
        Self { failed: AtomicBool::new(false), interrupt: interrupt.clone() }
    }

    /// Something failed: nobody needs the rest.
    pub fn set(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether to end.
    pub fn is_set(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.interrupt.is_stopped()
    }
}
