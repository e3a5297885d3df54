//! `shim.json`: what the monitor must know beside the bundle's `config.json`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pyd_net::Network;
use serde::Deserialize;

use super::logfile::Log;
use crate::error::{Error, Result};

/// Name of the file in the bundle.
pub const FILE: &str = "shim.json";

/// The whole document, written by the engine.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// The container's id.
    pub id: String,
    /// Directory of `shim.lock` and `shim.sock`, on a file system that a reboot empties.
    pub run_dir: PathBuf,
    /// Where the exit record goes.
    pub exit_file: PathBuf,
    /// fsync the exit record (not worth its time for a container that is removed when it exits).
    #[serde(default = "yes")]
    pub durable: bool,
    pub log: LogConfig,
    #[serde(default)]
    pub stdin: StdinConfig,
    #[serde(default)]
    pub network: Option<Network>,
    /// Kill the container when the other end of `--attach-fd` is closed, also while it is being started.
    #[serde(default)]
    pub tied: bool,
}

/// Where the output goes besides the attached clients.
#[derive(Debug, Deserialize)]
pub struct LogConfig {
    pub driver: Driver,
    #[serde(default)]
    pub path: PathBuf,
    /// Bytes of one file; 0 or absent: no bound.
    #[serde(default)]
    pub max_size: u64,
    /// Files kept, the current one included.
    #[serde(default = "one")]
    pub max_file: u32,
}

/// The log drivers that need no other process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    JsonFile,
    None,
}

/// Docker's OpenStdin and StdinOnce.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct StdinConfig {
    /// Keep a stdin that clients can write to; otherwise it is /dev/null.
    #[serde(default)]
    pub open: bool,
    /// Close it when the first client that had it detaches.
    #[serde(default)]
    pub once: bool,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

impl Config {
    /// Reads `shim.json` of `bundle`.
    pub fn load(bundle: &Path) -> Result<Config> {
        let path = bundle.join(FILE);
        let text = fs::read(&path).map_err(|error| io_error("config", "open", &path, &error))?;
        let config: Config = serde_json::from_slice(&text)
            .map_err(|error| Error::new("config", format!("{}: {error}", path.display())))?;
        if !config.run_dir.is_absolute() || !config.exit_file.is_absolute() {
            return Err(Error::new(
                "config",
                format!(
                    "{}: run_dir and exit_file must be absolute paths",
                    path.display()
                ),
            ));
        }
        Ok(config)
    }
}

impl LogConfig {
    /// Opens the log.
    pub fn open(&self) -> Result<Log> {
        match self.driver {
            Driver::None => Ok(Log::none()),
            Driver::JsonFile => Log::json_file(&self.path, self.max_size, self.max_file)
                .map_err(|error| io_error("log", "open", &self.path, &error)),
        }
    }
}

/// An I/O error of std as the runtime's error.
pub(super) fn io_error(stage: &str, op: &str, path: &Path, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(code) => Error::at(stage, op, path, nix::errno::Errno::from_raw(code)),
        None => Error::new(stage, format!("{op} {}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_s_example_is_read() {
        let config: Config = serde_json::from_str(
            r#"{"id":"ab","run_dir":"/run/pyd/containers/ab","exit_file":"/d/exit.json","durable":false,
                "log":{"driver":"json-file","path":"/d/ab-json.log","max_size":20971520,"max_file":5},
                "stdin":{"open":true,"once":false},"network":null}"#,
        )
        .unwrap();
        assert_eq!(config.log.driver, Driver::JsonFile);
        assert_eq!((config.log.max_size, config.log.max_file), (20_971_520, 5));
        assert!(
            config.stdin.open && !config.stdin.once && !config.durable && config.network.is_none()
        );
        assert!(!config.tied);
    }

    #[test]
    fn a_wrong_document_is_one_sentence() {
        let dir = std::env::temp_dir().join(format!("pyd-shim-config-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(FILE), r#"{"id":3}"#).unwrap();
        let error = Config::load(&dir).unwrap_err();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((error.stage.as_str(), error.exit_code), ("config", 125));
        assert!(
            error.message.contains("shim.json: invalid type"),
            "{}",
            error.message
        );
        let error = Config::load(&dir).unwrap_err();
        assert_eq!(error.errno, Some(libc::ENOENT));
    }
}
