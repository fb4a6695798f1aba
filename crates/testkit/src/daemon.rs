//! A server program that lives as long as a test needs it, and no longer than the test process.

use std::io::{self, BufRead, BufReader, PipeReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take until it says that it is ready; the machine may be busy.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long a program may take to end after SIGTERM, before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// A started server program. Dropping it stops the program.
///
/// When the test process dies in whatever way, the kernel terminates the program.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// What the program has printed so far, on both streams.
#[derive(Debug, Default)]
struct Output {
    text: Mutex<Text>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Text {
    lines: String,
    closed: bool,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, from: PipeReader) {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            self.lock().lines.push_str(&String::from_utf8_lossy(&line));
            self.grown.notify_all();
            line.clear();
        }
        self.lock().closed = true;
        self.grown.notify_all();
    }
}

impl Daemon {
    /// Starts `program` with its two output streams captured.
    ///
    /// # Panics
    ///
    /// When the program is not installed; the text names `package`.
    pub fn start(
        program: &str,
        package: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        require_program(program, package);
        let (reader, writer) = io::pipe().expect("a pipe for the program's output");
        let second = writer.try_clone().expect("a second end of the pipe");
        // setpriv (util-linux, always there) asks for the signal and then becomes the program.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", program]).args(arguments);
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(writer).stderr(second);
        let child = spawn_for_good(command)
            .unwrap_or_else(|error| panic!("cannot start {program} (package {package}): {error}"));
        let output = Arc::new(Output::default());
        let filled = Arc::clone(&output);
        thread::spawn(move || filled.fill(reader));
        Self { name: program.to_owned(), child, output }
    }

    /// Waits until `find` sees in the log what it waits for.
    ///
    /// # Errors
    ///
    /// The log, when the program ended or took longer than 20 seconds.
    pub fn wait_for<T>(&self, find: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let end = Instant::now() + START_LIMIT;
        let mut text = self.output.lock();
        loop {
            if let Some(found) = find(&text.lines) {
                return Ok(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if text.closed || left.is_zero() {
                let reason = if text.closed { "ended" } else { "did not get ready in time" };
                return Err(format!("{} {reason}; its log:\n{}", self.name, text.lines));
            }
            text = self
                .output
                .grown
                .wait_timeout(text, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The process id of the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that the program has printed so far.
    pub fn log(&self) -> String {
        self.output.lock().lines.clone()
    }

    /// Terminates the program, kills it when it does not end, and reaps it.
    fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // Fails only when the program has just ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        let text = self.output.lock();
        // The output closes when the program ends: an event, where waitpid would have to poll.
        let (text, _) = self
            .output
            .grown
            .wait_timeout_while(text, STOP_LIMIT, |text| !text.closed)
            .unwrap_or_else(PoisonError::into_inner);
        drop(text);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            show(&self.name, &self.output.lock().lines);
        }
    }
}

/// How much of a log a failing test shows.
const SHOWN_LINES: usize = 40;

fn show(name: &str, log: &str) {
    // docker-registry writes two lines for a request; the access log's is the readable one.
    let lines: Vec<&str> =
        log.lines().filter(|line| !line.contains("msg=\"response completed\"")).collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    eprintln!("---- end of the log of {name} ----\n{}\n----", lines[from..].join("\n"));
}

/// Panics with the package to install when `program` is not on the PATH.
pub fn require_program(program: &str, package: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    assert!(found, "{program} is not installed: this test needs the package {package}");
}

type Order = (Command, Sender<io::Result<Child>>);

/// Spawns from a thread that never ends.
///
/// The kernel sends the parent-death signal when the *thread* that spawned the child ends, and the
/// threads of tests end long before a server that several of them share.
fn spawn_for_good(command: Command) -> io::Result<Child> {
    static KEEPER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
        let (orders, received) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in received {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, answered) = mpsc::channel();
    KEEPER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .map_err(io::Error::other)?;
    answered.recv().map_err(io::Error::other)?
}
