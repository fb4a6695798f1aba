//! Progress for a person, on standard error: bytes, speed, layers. A layer is unpacked while it comes in, so
//! that what was read is also what was unpacked, but for the few chunks in between.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::driver::limit::Short;
use crate::image::{Blob, Error, Image, ImageSource, Layer};

/// How often a terminal's line is drawn again, and how often a line is added elsewhere.
const REDRAW: Duration = Duration::from_millis(200);
const NEXT_LINE: Duration = Duration::from_secs(5);

/// Columns of a terminal that does not tell.
const COLUMNS: usize = 80;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// One line of a terminal; nothing elsewhere.
    Auto,
    /// A line every few seconds, and one at the end.
    Plain,
    /// Not at all.
    None,
}

#[derive(Debug, Default)]
struct Counts {
    layers: AtomicUsize,
    layers_done: AtomicUsize,
    bytes: AtomicU64,
    bytes_done: AtomicU64,
    over: Mutex<bool>,
    ended: Condvar,
}

/// An image source whose reading is shown until it is dropped.
#[derive(Debug)]
pub struct Watched {
    inner: Box<dyn ImageSource>,
    counts: Arc<Counts>,
    shown: Option<JoinHandle<()>>,
}

/// Shows the reading of a source, if anybody looks. `logs` says that log lines go to standard error.
pub fn watch(inner: Box<dyn ImageSource>, mode: Mode, logs: bool) -> Box<dyn ImageSource> {
    let terminal = match mode {
        Mode::Plain => false,
        Mode::Auto if io::stderr().is_terminal() && !logs => true,
        _ => return inner,
    };
    let counts = Arc::new(Counts::default());
    let seen = Arc::clone(&counts);
    // Where there can be no more threads, nothing is shown.
    match std::thread::Builder::new().spawn(move || show(&seen, terminal)) {
        Ok(shown) => Box::new(Watched { inner, counts, shown: Some(shown) }),
        Err(_) => inner,
    }
}

impl ImageSource for Watched {
    fn image(&self) -> Result<Image, Error> {
        self.inner.image()
    }

    fn open(&self, layer: &Layer) -> Result<Blob, Error> {
        let inner = self.inner.open(layer)?;
        self.counts.layers.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(layer.size.unwrap_or(0), Ordering::Relaxed);
        Ok(Box::new(Counting { inner, counts: Arc::clone(&self.counts), ended: false }))
    }

    fn distrust(&self, layer: &Layer) -> bool {
        self.inner.distrust(layer)
    }

    fn streams(&self) -> Option<usize> {
        self.inner.streams()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        *self.counts.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.counts.ended.notify_all();
        if let Some(shown) = self.shown.take() {
            // Nothing depends on what was shown.
            let _ = shown.join();
        }
    }
}

struct Counting {
    inner: Blob,
    counts: Arc<Counts>,
    ended: bool,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.counts.bytes_done.fetch_add(length as u64, Ordering::Relaxed);
        if length == 0 && !buffer.is_empty() && !self.ended {
            self.ended = true;
            self.counts.layers_done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(length)
    }
}

fn show(counts: &Counts, terminal: bool) {
    let begin = Instant::now();
    let pause = if terminal { REDRAW } else { NEXT_LINE };
    let mut over = counts.over.lock().unwrap_or_else(PoisonError::into_inner);
    let mut drawn = false;
    while !*over {
        let waited = counts.ended.wait_timeout(over, pause);
        over = waited.unwrap_or_else(PoisonError::into_inner).0;
        if *over || counts.layers.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let text = line(counts, begin.elapsed());
        // Nobody is left to be told when the terminal is gone.
        let _ = if terminal {
            let text: String = text.chars().take(columns().saturating_sub(1)).collect();
            io::stderr().write_all(format!("\r{text}\x1b[K").as_bytes())
        } else {
            io::stderr().write_all((text + "\n").as_bytes())
        };
        drawn = true;
    }
    if terminal && drawn {
        let _ = io::stderr().write_all(b"\r\x1b[K");
    }
    // A log keeps what came in, however quickly.
    if !terminal && counts.layers.load(Ordering::Relaxed) > 0 {
        let _ = io::stderr().write_all((line(counts, begin.elapsed()) + "\n").as_bytes());
    }
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr()).map(|size| usize::from(size.ws_col));
    // 0 where the terminal's other side has not said it.
    size.ok().filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

fn line(counts: &Counts, since: Duration) -> String {
    let done = counts.bytes_done.load(Ordering::Relaxed);
    // Of some layers nobody knows the size, and others are read a second time.
    let total = counts.bytes.load(Ordering::Relaxed).max(done);
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
    let speed = done.saturating_mul(1000) / millis;
    format!(
        "{}/{} layers, {} of {}, {}/s",
        counts.layers_done.load(Ordering::Relaxed),
        counts.layers.load(Ordering::Relaxed),
        Short(done),
        Short(total),
        Short(speed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_layers_bytes_and_speed() {
        let counts = Counts::default();
        counts.layers.store(3, Ordering::Relaxed);
        counts.bytes.store(10 << 20, Ordering::Relaxed);
        let inner: Blob = Box::new(io::Cursor::new(vec![0; 4 << 20]));
        let counts = Arc::new(counts);
        let mut counting = Counting { inner, counts: Arc::clone(&counts), ended: false };
        io::copy(&mut counting, &mut io::sink()).unwrap();
        let text = line(&counts, Duration::from_secs(2));
        assert_eq!(text, "1/3 layers, 4 MiB of 10 MiB, 2 MiB/s");
    }
}
