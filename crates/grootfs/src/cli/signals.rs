//! Ctrl-C and SIGTERM: the first one stops what runs and takes away what it made, the second one
//! ends the process at once.
//!
//! In a user namespace of ours it is the parent who decides: it passes the first one on as SIGTERM, and
//! when it ends, the kernel ends this process.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::interrupt::Interrupt;

/// Begins to listen. Where that is not possible, signals end the process as they always do.
pub fn listen(interrupt: &Interrupt) {
    let interrupt = interrupt.clone();
    let is_inside = crate::userns::is_inside();
    let (registered, registering) = std::sync::mpsc::channel::<()>();
    let listening = std::thread::Builder::new().spawn(move || {
        let signals = Signals::new([SIGINT, SIGTERM]);
        drop(registered);
        let Ok(mut signals) = signals else { return };
        let mut signals = signals.forever();
        if is_inside {
            // A terminal sends SIGINT to both.
            signals.filter(|signal| *signal == SIGTERM).for_each(|_| interrupt.stop());
            return;
        }
        signals.next();
        interrupt.stop();
        if let Some(signal) = signals.next() {
            // The default action: the shell sees that it was a signal.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
    if listening.is_ok() {
        // An error, because nothing is ever sent: whoever registers lets go of his end.
        let _ = registering.recv();
    }
}
