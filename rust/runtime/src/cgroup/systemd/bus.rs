//! A connection to the bus that systemd listens on: calls, their answers, and the end of jobs.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::wire::{self, Kind, Message, Target, Value};
use crate::error::{Error, Result};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const DAEMON: &str = "org.freedesktop.DBus";
const MANAGER: &str = "/org/freedesktop/systemd1";

/// How long systemd may take for one thing, as runc waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// What answered a call with an error.
#[derive(Debug)]
pub enum Failure {
    /// systemd refused; the name of the error (`org.freedesktop.systemd1.NoSuchUnit`) and its sentence.
    Refused { name: String, text: String },
    /// The connection failed.
    Broken(Error),
}

impl Failure {
    pub fn is(&self, name: &str) -> bool {
        matches!(self, Failure::Refused { name: given, .. } if given.ends_with(name))
    }

    /// A sentence for what was tried: `start the unit x.scope`.
    pub fn into_error(self, what: &str) -> Error {
        match self {
            Failure::Refused { name, text } => {
                let name = name.rsplit('.').next().unwrap_or_default();
                Error::new(
                    "systemd",
                    format!("systemd could not {what}: {text} ({name})"),
                )
            }
            Failure::Broken(error) => error.context(format_args!("cannot {what}")),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Whether a bus daemon is between us and systemd.
    daemon: bool,
    signals: Vec<Message>,
}

impl Bus {
    /// Connects to the bus of the system, or to that of the user's own systemd.
    pub fn connect(user: bool) -> Result<Bus> {
        let mut tried = Vec::new();
        for (path, daemon) in addresses(user)? {
            match UnixStream::connect(&path) {
                Ok(stream) => {
                    return Bus::open(stream, daemon).map_err(|e| e.context(path.display()));
                }
                Err(error) => tried.push(format!("{}: {error}", path.display())),
            }
        }
        let error = Error::new(
            "systemd",
            format!("no D-Bus to reach systemd by ({})", tried.join("; ")),
        );
        Err(error.hint("leave out --systemd-cgroup, or start the dbus service"))
    }

    fn open(mut stream: UnixStream, daemon: bool) -> Result<Bus> {
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(|e| io("setsockopt", &e))?;
        stream
            .set_write_timeout(Some(PATIENCE))
            .map_err(|e| io("setsockopt", &e))?;
        authenticate(&mut stream)?;
        let mut bus = Bus {
            stream,
            serial: 0,
            daemon,
            signals: Vec::new(),
        };
        if daemon {
            let failed = |failure: Failure| failure.into_error("register at the bus");
            bus.daemon_call("Hello", &[]).map_err(failed)?;
            let rule = format!(
                "type='signal',sender='{SYSTEMD}',path='{MANAGER}',interface='{SYSTEMD}.Manager',member='JobRemoved'"
            );
            bus.daemon_call("AddMatch", &[Value::str(&rule)])
                .map_err(failed)?;
        }
        Ok(bus)
    }

    fn daemon_call(
        &mut self,
        member: &str,
        body: &[Value],
    ) -> std::result::Result<Vec<Value>, Failure> {
        self.call(
            &Target {
                destination: Some(DAEMON),
                path: "/org/freedesktop/DBus",
                interface: DAEMON,
                member,
            },
            body,
        )
    }

    /// Calls a method of systemd's manager (org.freedesktop.systemd1(5)).
    pub fn manager(
        &mut self,
        member: &str,
        body: &[Value],
    ) -> std::result::Result<Vec<Value>, Failure> {
        let interface = format!("{SYSTEMD}.Manager");
        self.call(
            &Target {
                destination: self.daemon.then_some(SYSTEMD),
                path: MANAGER,
                interface: &interface,
                member,
            },
            body,
        )
    }

    /// A property of the manager that is a string.
    pub fn property(&mut self, name: &str) -> Result<String> {
        let body = [Value::Str(format!("{SYSTEMD}.Manager")), Value::str(name)];
        let target = Target {
            destination: self.daemon.then_some(SYSTEMD),
            path: MANAGER,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
        };
        let what = format!("tell its property {name}");
        let answer = self
            .call(&target, &body)
            .map_err(|failure| failure.into_error(&what))?;
        let text = answer.first().and_then(Value::text).map(str::to_owned);
        text.ok_or_else(|| not_understood(name))
    }

    /// A call that makes a job; returns when the job is done, with its result (`done`, `failed`, `timeout`, ...).
    pub fn job(&mut self, member: &str, body: &[Value]) -> std::result::Result<String, Failure> {
        let answer = self.manager(member, body)?;
        let job = answer.first().and_then(Value::text).map(str::to_owned);
        let job = job.ok_or_else(|| Failure::Broken(not_understood(member)))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            // JobRemoved(u id, o job, s unit, s result)
            let ended = |signal: &Message| {
                let is_job = signal.body.get(1).and_then(Value::text) == Some(&job);
                (is_job && signal.member.as_deref() == Some("JobRemoved"))
                    .then(|| signal.body.get(3)?.text().map(str::to_owned))
                    .flatten()
            };
            if let Some(result) = self.signals.drain(..).find_map(|signal| ended(&signal)) {
                return Ok(result);
            }
            if Instant::now() > deadline {
                let error = Error::new(
                    "systemd",
                    "systemd did not finish its job within 30 seconds",
                );
                return Err(Failure::Broken(
                    error.hint("systemctl list-jobs shows what it waits for"),
                ));
            }
            let message = self.receive().map_err(Failure::Broken)?;
            self.keep(message);
        }
    }

    fn call(
        &mut self,
        target: &Target<'_>,
        body: &[Value],
    ) -> std::result::Result<Vec<Value>, Failure> {
        self.serial += 1;
        let bytes = wire::call(self.serial, target, body);
        self.stream
            .write_all(&bytes)
            .map_err(|e| Failure::Broken(io("write", &e)))?;
        loop {
            let message = self.receive().map_err(Failure::Broken)?;
            match message.kind {
                Kind::Return if message.reply_to == Some(self.serial) => return Ok(message.body),
                Kind::Error if message.reply_to == Some(self.serial) => {
                    let text = message.body.first().and_then(Value::text);
                    return Err(Failure::Refused {
                        text: text.unwrap_or("no reason given").to_owned(),
                        name: message.error.unwrap_or_default(),
                    });
                }
                _ => self.keep(message),
            }
        }
    }

    fn keep(&mut self, message: Message) {
        if message.kind == Kind::Signal {
            self.signals.push(message);
        }
    }

    fn receive(&mut self) -> Result<Message> {
        let mut bytes = vec![0; wire::PREFIX];
        self.stream
            .read_exact(&mut bytes)
            .map_err(|e| io("read", &e))?;
        let length = wire::length(&bytes).ok_or_else(|| not_understood("header"))?;
        bytes.resize(length, 0);
        self.stream
            .read_exact(&mut bytes[wire::PREFIX..])
            .map_err(|e| io("read", &e))?;
        wire::parse(&bytes).ok_or_else(|| not_understood("message"))
    }
}

/// Sockets to try, and whether a bus daemon is behind each. systemd's own socket serves machines without a daemon.
fn addresses(user: bool) -> Result<Vec<(PathBuf, bool)>> {
    let variable = if user {
        "DBUS_SESSION_BUS_ADDRESS"
    } else {
        "DBUS_SYSTEM_BUS_ADDRESS"
    };
    if let Some(address) = std::env::var(variable)
        .ok()
        .filter(|address| !address.is_empty())
    {
        let paths: Vec<_> = address
            .split(';')
            .filter_map(socket)
            .map(|path| (path, true))
            .collect();
        if paths.is_empty() {
            return Err(Error::new(
                "systemd",
                format!("{variable} names no unix:path= socket: {address}"),
            ));
        }
        return Ok(paths);
    }
    let base = match user {
        false => PathBuf::from("/run"),
        true => PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR").ok_or_else(|| {
            Error::new(
                "systemd",
                "XDG_RUNTIME_DIR is not set: the user's systemd cannot be found",
            )
            .hint("log in with a session (loginctl enable-linger), or leave out --systemd-cgroup")
        })?),
    };
    let system = [
        (base.join("dbus/system_bus_socket"), true),
        (base.join("systemd/private"), false),
    ];
    let session = [
        (base.join("bus"), true),
        (base.join("systemd/private"), false),
    ];
    Ok(if user { session } else { system }.to_vec())
}

/// `unix:path=/run/bus,guid=...`, with escapes as in a URL (specification, "Server Addresses").
fn socket(address: &str) -> Option<PathBuf> {
    let keys = address.strip_prefix("unix:")?.split(',');
    let text = keys.filter_map(|pair| pair.strip_prefix("path=")).next()?;
    let mut parts = text.split('%');
    let mut path = parts.next()?.to_owned();
    for part in parts {
        let code = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        path.push(char::from(code));
        path.push_str(&part[2..]);
    }
    Path::new(&path).is_absolute().then(|| PathBuf::from(path))
}

/// Who we are is taken from the socket itself: in a user namespace our own idea of our uid would be wrong.
fn authenticate(stream: &mut UnixStream) -> Result<()> {
    stream
        .write_all(b"\0AUTH EXTERNAL\r\n")
        .map_err(|e| io("write", &e))?;
    let mut answer = line(stream)?;
    if answer.starts_with("DATA") {
        stream.write_all(b"DATA\r\n").map_err(|e| io("write", &e))?;
        answer = line(stream)?;
    }
    if !answer.starts_with("OK ") {
        return Err(
            Error::new("systemd", format!("the bus does not let us in: {answer}"))
                .hint("only root reaches the system's bus; a user needs a bus of the own session"),
        );
    }
    stream.write_all(b"BEGIN\r\n").map_err(|e| io("write", &e))
}

fn line(stream: &mut UnixStream) -> Result<String> {
    let mut text = Vec::new();
    // Byte by byte, so as not to read into the first message; these are two lines.
    while !text.ends_with(b"\r\n") && text.len() < 4096 {
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(|e| io("read", &e))?;
        text.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

fn io(op: &str, error: &std::io::Error) -> Error {
    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
        return Error::new("systemd", "systemd did not answer within 30 seconds");
    }
    if error.kind() == ErrorKind::UnexpectedEof {
        return Error::new("systemd", "the bus has closed the connection");
    }
    Error::os(
        "systemd",
        op,
        Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
    )
}

fn not_understood(what: &str) -> Error {
    Error::new(
        "systemd",
        format!("the bus gave an answer that is not understood ({what})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_sockets() {
        assert_eq!(socket("unix:path=/run/bus,guid=1"), Some("/run/bus".into()));
        assert_eq!(socket("unix:guid=1,path=/a%20b"), Some("/a b".into()));
        for address in [
            "unix:abstract=/x",
            "tcp:host=h",
            "unix:path=x",
            "unix:path=/a%2",
        ] {
            assert_eq!(socket(address), None, "{address}");
        }
    }
}
