//! What a guest writes, read by a thread as it comes.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Bytes read at once: the size of a pipe on Linux.
const CHUNK: usize = 64 * 1024;

/// Everything that came out of one of the guest's two streams so far.
#[derive(Clone, Debug)]
pub(super) struct Output(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
}

/// How a wait for a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The text is there.
    Yes,
    /// The stream ended without it.
    Ended,
    /// The time is over.
    Late,
}

impl Output {
    /// Reads `source` to its end on a thread and writes what comes to `copy` at once.
    ///
    /// A `copy` that fails (a closed pipe) is dropped; the guest runs on.
    pub(super) fn follow(
        mut source: impl Read + Send + 'static,
        mut copy: Option<Box<dyn Write + Send>>,
    ) -> Self {
        let output = Self(Arc::default());
        let writer = output.clone();
        std::thread::spawn(move || {
            let mut chunk = vec![0; CHUNK];
            while let Ok(count @ 1..) = source.read(&mut chunk) {
                let new = &chunk[..count];
                let failed = |to: &mut Box<dyn Write + Send>| {
                    to.write_all(new).and_then(|()| to.flush()).is_err()
                };
                if copy.as_mut().is_some_and(failed) {
                    copy = None;
                }
                writer.change(|state| state.bytes.extend_from_slice(new));
            }
            writer.change(|state| state.ended = true);
        });
        output
    }

    fn change(&self, how: impl FnOnce(&mut State)) {
        let (state, changed) = &*self.0;
        how(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }

    /// Waits until `text` stands in what came.
    pub(super) fn wait_for(&self, text: &str, deadline: Instant) -> Found {
        let text = text.as_bytes();
        let there = |state: &State| state.bytes.windows(text.len()).any(|part| part == text);
        self.wait(there, deadline)
    }

    /// Waits until every process that could write to the stream is gone.
    pub(super) fn wait_for_end(&self, deadline: Instant) -> bool {
        self.wait(|_| false, deadline) == Found::Ended
    }

    fn wait(&self, there: impl Fn(&State) -> bool, deadline: Instant) -> Found {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if there(&state) {
                return Found::Yes;
            }
            if state.ended {
                return Found::Ended;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Found::Late;
            }
            let woken = changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns a copy of what came so far.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).bytes.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn a_text_is_found_and_its_absence_is_noticed_at_the_end() {
        let output = Output::follow(&b"one two three"[..], None);
        assert_eq!(output.wait_for("two th", soon()), Found::Yes);
        assert_eq!(output.wait_for("four", soon()), Found::Ended);
        assert_eq!(output.bytes(), b"one two three");
    }

    #[test]
    fn a_silent_stream_is_late() {
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let output = Output::follow(reader, None);
        assert_eq!(output.wait_for("x", Instant::now()), Found::Late);
    }
}
