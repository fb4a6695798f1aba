//! Stopping early: Ctrl-C and SIGTERM end what waits, so that what was begun can be taken away.
//!
//! A leaf beside the rooms. Whoever waits asks [`Interrupt::wait`] instead of sleeping, and
//! whoever blocks in the kernel leaves a way to be woken with [`Interrupt::on_stop`]. A signal handler can
//! do no more than set a flag; a thread that wakes is begun by the first who may have to be woken, so that
//! a command of a few milliseconds goes without.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Whether the program is to stop. Clones share one answer.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// What signal handlers set.
    asked: Arc<AtomicBool>,
    state: Mutex<State>,
    changed: Condvar,
    listen: Mutex<Option<Listen>>,
}

/// Begins to call [`Interrupt::stop`] at signals.
type Listen = Box<dyn FnOnce(Interrupt) + Send>;

#[derive(Default)]
struct State {
    stopped: bool,
    wake: Vec<Box<dyn FnOnce() + Send>>,
}

impl Interrupt {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// One that is stopped when `asked` is set. `listen` is called once, before somebody waits: it sees to it
    /// that [`stop`](Self::stop) is called soon after.
    pub fn set_by(asked: Arc<AtomicBool>, listen: impl FnOnce(Interrupt) + Send + 'static) -> Self {
        let listen: Listen = Box::new(listen);
        Self(Arc::new(Shared { asked, listen: Mutex::new(Some(listen)), ..Shared::default() }))
    }

    fn listen(&self) {
        let listen = self.0.listen.lock().unwrap_or_else(|broken| broken.into_inner()).take();
        if let Some(listen) = listen {
            listen(self.clone());
        }
        // Set before anybody listened.
        if self.0.asked.load(Ordering::SeqCst) {
            self.stop();
        }
    }

    /// Whether somebody asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst) || self.state().stopped
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
        self.listen();
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
        self.listen();
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
    fn listens_when_somebody_waits() {
        let asked = Arc::new(AtomicBool::new(false));
        let begun = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&begun);
        let interrupt = Interrupt::set_by(Arc::clone(&asked), move |interrupt| {
            count.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || interrupt.stop());
        });
        assert!(!interrupt.is_stopped());
        assert_eq!(begun.load(Ordering::Relaxed), 0);
        assert!(interrupt.wait(Duration::from_secs(60)));
        assert!(interrupt.wait(Duration::from_secs(60)));
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        // Asked before anybody waited: nobody is needed who listens.
        let interrupt = Interrupt::set_by(Arc::clone(&asked), |_| {});
        asked.store(true, Ordering::SeqCst);
        assert!(interrupt.is_stopped());
        assert!(interrupt.wait(Duration::from_secs(60)));
    }

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
