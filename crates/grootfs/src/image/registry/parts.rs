//! One long blob over several connections at once.
//!
//! A fixed number of threads fetch parts in order and put them down; the reader takes them in
//! order. No thread runs further ahead than there is room for, so memory does not grow with the
//! blob.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::super::network;
use super::super::network::retry::{self, Attempts};
use super::blob::{self, Wanted};
use super::error::Error;
use super::session::{Permit, Session};

/// The part of a blob from some byte on to its end.
#[derive(Debug)]
pub struct Parts {
    shared: Arc<Shared>,
    first: u64,
    current: Vec<u8>,
    used: usize,
}

#[derive(Debug)]
struct Shared {
    session: Arc<Session>,
    wanted: Wanted,
    size: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// First byte that nobody fetches yet.
    next: u64,
    /// First byte that the reader has not taken yet.
    taken: u64,
    /// Parts that are there, by their first byte.
    done: BTreeMap<u64, Vec<u8>>,
    /// Room of parts that were read. Going round, it does not come apart as it does in the allocator.
    spare: Vec<Vec<u8>>,
    /// Parts that may be there or on their way at once.
    room: u64,
    failed: Option<Error>,
    /// Nobody reads any more.
    abandoned: bool,
}

impl Parts {
    /// Begins to fetch a blob from `first` on; `None` when no more connections may be opened.
    pub fn begin(session: &Arc<Session>, wanted: &Wanted, first: u64) -> Option<Self> {
        let size = wanted.size?;
        let permits: Vec<Permit> =
            std::iter::from_fn(|| session.permit()).take(session.pull.concurrency).collect();
        if permits.is_empty() {
            return None;
        }
        let room = permits.len() as u64 + 1;
        let state = State { next: first, taken: first, room, ..State::default() };
        let shared = Arc::new(Shared {
            session: Arc::clone(session),
            wanted: wanted.clone(),
            size,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let mut started = false;
        for permit in permits {
            let shared = Arc::clone(&shared);
            let fetching = std::thread::Builder::new().spawn(move || {
                shared.fetch_all();
                drop(permit);
            });
            started |= fetching.is_ok();
        }
        if !started {
            return None;
        }
        Some(Self { shared, first, current: Vec::new(), used: 0 })
    }

    /// The first byte that is fetched in parts.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Takes bytes; 0 at the end of the blob.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.used >= self.current.len() {
            self.used = 0;
            match self.shared.take(std::mem::take(&mut self.current))? {
                None => return Ok(0),
                Some(part) => self.current = part,
            }
        }
        let available = self.current.get(self.used..).unwrap_or_default();
        let length = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), available.get(..length)) {
            to.copy_from_slice(from);
        }
        self.used += length;
        Ok(length)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.shared.lock().abandoned = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the last part back and waits for the next one; `None` at the end.
    fn take(&self, used: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
        let mut state = self.lock();
        if used.capacity() > 0 {
            state.spare.push(used);
        }
        loop {
            let at = state.taken;
            if at >= self.size {
                return Ok(None);
            }
            if let Some(part) = state.done.remove(&at) {
                state.taken += part.len() as u64;
                self.changed.notify_all();
                return Ok(Some(part));
            }
            if let Some(error) = state.failed.take() {
                state.abandoned = true;
                self.changed.notify_all();
                return Err(error);
            }
            state = self.wait(state);
        }
    }

    /// What one thread does.
    fn fetch_all(&self) {
        while let Some((first, last)) = self.claim() {
            match self.fetch(first, last) {
                Ok(part) => {
                    self.lock().done.insert(first, part);
                }
                Err(error) => {
                    self.lock().failed.get_or_insert(error);
                }
            }
            self.changed.notify_all();
        }
    }

    /// The next part that nobody fetches, when there is room for it.
    fn claim(&self) -> Option<(u64, u64)> {
        let chunk = self.session.pull.chunk_size;
        let mut state = self.lock();
        loop {
            if state.abandoned || state.failed.is_some() || state.next >= self.size {
                return None;
            }
            if state.next < state.taken.saturating_add(chunk.saturating_mul(state.room)) {
                let first = state.next;
                state.next = first.saturating_add(chunk).min(self.size);
                return Some((first, state.next - 1));
            }
            state = self.wait(state);
        }
    }

    /// Fetches one part; goes on where a connection breaks off.
    fn fetch(&self, first: u64, last: u64) -> Result<Vec<u8>, Error> {
        let length = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
        let mut part = self.lock().spare.pop().unwrap_or_default();
        part.resize(length, 0);
        let mut filled = 0;
        let mut attempts = Attempts::new(&self.session.network);
        while filled < length {
            let begins = first + filled as u64;
            let (answer, _) = blob::request(&self.session, &self.wanted, begins, Some(last))?;
            let ends = answer.length == Some(last - begins + 1);
            let mut body = answer.body;
            let failure = loop {
                if self.lock().abandoned {
                    return Err(network::Error::Interrupted.into());
                }
                let Some(rest) = part.get_mut(filled..).filter(|rest| !rest.is_empty()) else {
                    break None;
                };
                match body.read(rest) {
                    Ok(0) => {
                        let why = format!("the answer ended {} bytes early", length - filled);
                        let address = body.address().clone();
                        break Some(network::Error::Connection { address, why });
                    }
                    Ok(length) => filled += length,
                    Err(error) => break Some(error),
                }
            };
            let Some(failure) = failure else {
                if ends {
                    // Only at the end of its answer a connection can be used again.
                    let _ = body.read(&mut [0]);
                }
                break;
            };
            if !failure.is_passing() || !attempts.again(None) {
                return Err(retry::tried(failure, attempts.failed()).into());
            }
        }
        Ok(part)
    }
}
