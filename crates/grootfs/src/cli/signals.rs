//! Ctrl-C and SIGTERM: the first one stops what runs and takes away what it made, the second one
//! ends the process at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::interrupt::Interrupt;

/// Begins to listen. Where that is not possible, signals end the process as they always do.
pub fn listen(interrupt: &Interrupt) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    let interrupt = interrupt.clone();
    std::thread::spawn(move || {
        let mut signals = signals.forever();
        signals.next();
        interrupt.stop();
        if let Some(signal) = signals.next() {
            // The default action: the shell sees that it was a signal.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
}
