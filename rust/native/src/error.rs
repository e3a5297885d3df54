//! The one way from errors of the Rust crates to the classes of pyd/errors.py.
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyDict;

mod classes {
    pyo3::import_exception!(pyd.errors, Cancelled);
    pyo3::import_exception!(pyd.errors, Conflict);
    pyo3::import_exception!(pyd.errors, CorruptData);
    pyo3::import_exception!(pyd.errors, InvalidArgument);
    pyo3::import_exception!(pyd.errors, KernelError);
    pyo3::import_exception!(pyd.errors, NotFound);
    pyo3::import_exception!(pyd.errors, NotSupported);
    pyo3::import_exception!(pyd.errors, RegistryError);
    pyo3::import_exception!(pyd.errors, Unavailable);
}

/// An error of any crate, carried out of the threads to where Python is held.
pub enum Error {
    Layers(pyd_layers::Error),
    Runtime(pyd_runtime::error::Error),
    Net(pyd_net::Error),
    Kernel {
        op: &'static str,
        path: String,
        errno: nix::errno::Errno,
    },
    /// A second call on an object that had its last.
    Ended(&'static str),
    /// Raised by a signal handler (KeyboardInterrupt) while the job ran.
    Python(PyErr),
}

pub type Result<T> = std::result::Result<T, Error>;

impl From<pyd_layers::Error> for Error {
    fn from(error: pyd_layers::Error) -> Self {
        Self::Layers(error)
    }
}

impl From<pyd_runtime::error::Error> for Error {
    fn from(error: pyd_runtime::error::Error) -> Self {
        Self::Runtime(error)
    }
}

impl From<pyd_net::Error> for Error {
    fn from(error: pyd_net::Error) -> Self {
        Self::Net(error)
    }
}

impl Error {
    pub fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Layers(error) => from_layers(py, error),
            Self::Runtime(error) => kernel_error(
                py,
                &error.message,
                error.hint.as_deref(),
                &error.op,
                error.path.as_deref().unwrap_or_default(),
                error.errno.unwrap_or(0),
            ),
            Self::Net(error) => kernel_error(
                py,
                &error.message,
                error.hint.as_deref(),
                &error.op,
                &error.path,
                error.errno,
            ),
            Self::Kernel { op, path, errno } => {
                from_layers(py, pyd_layers::Error::Kernel { op, path, errno })
            }
            Self::Ended(what) => classes::InvalidArgument::new_err(what),
            Self::Python(error) => error,
        }
    }
}

const ROOM: &str =
    "free some space or, if you trust the image, raise max-unpacked-size in the configuration file";

fn from_layers(py: Python<'_>, error: pyd_layers::Error) -> PyErr {
    use pyd_layers::Error::{
        Cancelled, Conflict, Corrupt, Cut, Invalid, Kernel, Mismatch, NotFound, TooLarge,
        Unsupported,
    };
    let message = error.to_string();
    match error {
        Corrupt(_) => classes::CorruptData::new_err(message),
        Mismatch(_) => classes::RegistryError::new_err(message),
        Cut(_) => classes::Unavailable::new_err(message),
        TooLarge(_) => classes::CorruptData::new_err((message, ROOM)),
        Cancelled => classes::Cancelled::new_err(message),
        Unsupported(_) => classes::NotSupported::new_err(message),
        Invalid(_) => classes::InvalidArgument::new_err(message),
        NotFound(_) => classes::NotFound::new_err(message),
        Conflict(_) => classes::Conflict::new_err(message),
        Kernel { op, path, errno } => {
            let hint = match (op, errno) {
                ("chown", nix::errno::Errno::EINVAL) => Some(
                    "the file's owner has no id in this user namespace: extend /etc/subuid and /etc/subgid"
                        .to_owned(),
                ),
                _ => remedy(py, errno as i32),
            };
            kernel_error(py, &message, hint.as_deref(), op, &path, errno as i32)
        }
    }
}

/// From the table of pyd/errors.py: one for both languages.
fn remedy(py: Python<'_>, errno: i32) -> Option<String> {
    let table = py.import("pyd.errors").ok()?.getattr("_REMEDY").ok()?;
    table.get_item(errno).ok()?.extract().ok()
}

fn kernel_error(
    py: Python<'_>,
    message: &str,
    hint: Option<&str>,
    op: &str,
    path: &str,
    errno: i32,
) -> PyErr {
    let build = || -> PyResult<Bound<'_, PyAny>> {
        let keywords = PyDict::new(py);
        keywords.set_item("op", op)?;
        keywords.set_item("path", path)?;
        keywords.set_item("errno", errno)?;
        py.get_type::<classes::KernelError>()
            .call((message, hint), Some(&keywords))
    };
    match build() {
        Ok(error) => PyErr::from_value(error),
        Err(error) => {
            let plain = PyException::new_err(message.to_owned());
            plain.set_cause(py, Some(error));
            plain
        }
    }
}
