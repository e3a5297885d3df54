//! The one doorway to native work: the GIL is released, Ctrl-C is noticed, errors become Python's.
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use nix::unistd::{getpid, gettid};
use pyd_layers::Progress;
use pyo3::prelude::*;

use crate::error::{Error, Result};

/// How late Ctrl-C may be noticed.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

/// For calls that take a moment: signals are handled when they return.
pub fn short<T: Send>(py: Python<'_>, job: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(job).map_err(|error| error.into_py(py))
}

/// For calls that can last. `progress` is what stops the job.
///
/// Python runs signal handlers in the main thread only, so there the job gets a thread of its own and this one waits
/// for it and for signals. Elsewhere the job runs right here.
pub fn long<T: Send>(
    py: Python<'_>,
    progress: &Arc<Progress>,
    job: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    if gettid() != getpid() {
        return short(py, job);
    }
    py.detach(|| {
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            let worker = scope.spawn(move || {
                // The receiver waits for exactly this.
                let _ = sender.send(job());
            });
            let mut interrupt = None;
            loop {
                match receiver.recv_timeout(SIGNAL_CHECK) {
                    Ok(result) => {
                        return interrupt.map_or(result, |error| Err(Error::Python(error)));
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        if let Err(error) = Python::attach(|py| py.check_signals()) {
                            progress.cancel();
                            interrupt.get_or_insert(error);
                        }
                    }
                    Err(RecvTimeoutError::Disconnected) => match worker.join() {
                        Err(panic) => std::panic::resume_unwind(panic),
                        Ok(()) => return Err(Error::Ended("the job ended without a result")),
                    },
                }
            }
        })
    })
    .map_err(|error| error.into_py(py))
}
