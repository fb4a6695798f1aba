//! Ctrl-C and SIGTERM: the first one stops what runs and takes away what it made, the second one
//! ends the process at once.
//!
//! In a user namespace of ours it is the parent who decides: it passes the first one on as SIGTERM, and
//! when it ends, the kernel ends this process.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::interrupt::Interrupt;

/// Says when a signal asks to stop. Where that is not possible, signals end the process as they always do.
pub fn interrupt() -> Interrupt {
    let asked = Arc::new(AtomicBool::new(false));
    if crate::userns::is_inside() {
        // A terminal sends SIGINT to both.
        let nothing = Arc::new(AtomicBool::new(false));
        let _ = flag::register(SIGINT, nothing);
        let _ = flag::register(SIGTERM, Arc::clone(&asked));
        return Interrupt::set_by(asked, |interrupt| listen(interrupt, &[SIGTERM]));
    }
    for signal in [SIGINT, SIGTERM] {
        // In this order: what ends the process finds the flag set by an earlier signal only. The default
        // action: the shell sees that it was a signal.
        let _ = flag::register_conditional_default(signal, Arc::clone(&asked));
        let _ = flag::register(signal, Arc::clone(&asked));
    }
    Interrupt::set_by(asked, |interrupt| listen(interrupt, &[SIGINT, SIGTERM]))
}

/// Wakes who waits. A signal that comes before this is ready has set the flag.
fn listen(interrupt: Interrupt, signals: &[i32]) {
    let Ok(mut signals) = Signals::new(signals) else { return };
    // Without a thread, nobody is woken early; the flag is looked at all the same.
    let _ =
        std::thread::Builder::new().spawn(move || signals.forever().for_each(|_| interrupt.stop()));
}
