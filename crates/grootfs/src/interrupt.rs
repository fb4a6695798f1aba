//! Stopping early: Ctrl-C and SIGTERM end what waits, so that what was begun can be taken away.
//!
//! A leaf beside the rooms. Whoever waits asks [`Interrupt::wait`] instead of sleeping, and
//! whoever blocks in the kernel leaves a way to be woken with [`Interrupt::on_stop`].

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Whether the program is to stop. Clones share one answer.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    wake: Vec<Box<dyn FnOnce() + Send>>,
}

impl Interrupt {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Whether somebody asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Asks everybody to stop. May be repeated.
    pub fn stop(&self) {
        let wake = {
            let mut state = self.state();
            state.stopped = true;
            std::mem::take(&mut state.wake)
        };
        self.0.changed.notify_all();
        for wake in wake {
            wake();
        }
    }

    /// Runs something once when somebody asks to stop; at once if somebody has.
    pub fn on_stop(&self, wake: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        if state.stopped {
            drop(state);
            wake();
        } else {
            state.wake.push(Box::new(wake));
        }
    }

    /// Sleeps; returns whether somebody asked to stop, and then at once.
    pub fn wait(&self, time: Duration) -> bool {
        let going_on = |state: &mut State| !state.stopped;
        let (state, _) = self
            .0
            .changed
            .wait_timeout_while(self.state(), time, going_on)
            .unwrap_or_else(|broken| broken.into_inner());
        state.stopped
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interrupt").field(&self.is_stopped()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    #[test]
    fn wakes_those_who_wait() {
        let interrupt = Interrupt::default();
        assert!(!interrupt.wait(Duration::from_millis(1)));
        let woken = Arc::new(AtomicU32::new(0));
        let count = || {
            let woken = Arc::clone(&woken);
            move || {
                woken.fetch_add(1, Ordering::Relaxed);
            }
        };
        interrupt.on_stop(count());
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| interrupt.wait(Duration::from_secs(60)));
            interrupt.stop();
            assert!(waiting.join().unwrap());
        });
        assert!(begun.elapsed() < Duration::from_secs(30));
        interrupt.on_stop(count());
        assert_eq!(woken.load(Ordering::Relaxed), 2);
        assert!(interrupt.is_stopped());
    }
}
