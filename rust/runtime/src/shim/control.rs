//! Requests and answers of the control socket: one JSON line each way.

use oci_spec::runtime::{LinuxResources, Process};
use serde::{Deserialize, Serialize};

use super::exit::Exit;
use crate::error::Error;

/// The longest request line.
pub const MAX_REQUEST: usize = 1 << 20;

/// What a client may ask; `op` names it.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    State,
    Attach {
        #[serde(default)]
        stdin: bool,
        #[serde(default)]
        stdout: bool,
        #[serde(default)]
        stderr: bool,
    },
    Exec {
        exec_id: String,
        process: Box<Process>,
        #[serde(default)]
        stdin: bool,
        #[serde(default)]
        detach: bool,
    },
    Kill {
        signal: i32,
        #[serde(default)]
        all: bool,
    },
    Pause {
        /// Only as long as the client's connection lasts: who freezes a container to read it may be killed.
        #[serde(default)]
        hold: bool,
    },
    Resume,
    Resize {
        height: u16,
        width: u16,
        #[serde(default)]
        exec_id: Option<String>,
    },
    Update {
        resources: Box<LinuxResources>,
    },
    Wait,
    ExecWait {
        exec_id: String,
    },
}

/// A control frame of an attached client.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientControl {
    /// New size of the terminal: rows, columns.
    Resize([u16; 2]),
}

/// Why a request was not done, with the HTTP status that a front door gives it.
#[derive(Debug, Serialize)]
pub struct Refusal {
    #[serde(flatten)]
    pub error: Error,
    pub status: u16,
}

impl Refusal {
    /// 400: the request itself is wrong.
    pub fn bad(message: impl Into<String>) -> Refusal {
        Refusal {
            error: Error::new("control", message),
            status: 400,
        }
    }

    /// 404: the exec does not exist.
    pub fn no_exec(id: &str) -> Refusal {
        Refusal {
            error: Error::new("control", format!("No such exec instance: {id}")),
            status: 404,
        }
    }

    /// 409: the container is not in the state for it.
    pub fn conflict(message: impl Into<String>) -> Refusal {
        Refusal {
            error: Error::new("control", message),
            status: 409,
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        // A command that is missing or not executable is the caller's mistake, all else is the engine's trouble.
        let status = if error.exit_code == 125 { 500 } else { 400 };
        Refusal { error, status }
    }
}

/// The line that answers a request which was done.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer<'a> {
    Done,
    State {
        pid: i32,
        status: &'static str,
        oom_killed: bool,
        /// Log lines lost because the file could not be written.
        log_dropped: u64,
        execs: Vec<ExecState<'a>>,
    },
    Attached {
        tty: bool,
    },
    Exec {
        pid: i32,
    },
    Exit {
        exit: &'a Exit,
    },
    ExecExit {
        exit_code: i32,
    },
}

/// One exec in the answer to `state`.
#[derive(Debug, Serialize)]
pub struct ExecState<'a> {
    pub id: &'a str,
    pub pid: i32,
    pub running: bool,
    pub exit_code: Option<i32>,
}

/// The last frame of an attach or an exec.
#[derive(Debug, Serialize)]
pub struct Ended<T> {
    pub exit: T,
}

/// The last frame's content for an exec.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ExecExit {
    pub exit_code: i32,
}

/// Reads a request line.
pub fn parse(line: &[u8]) -> Result<Request, Refusal> {
    serde_json::from_slice(line).map_err(|error| Refusal::bad(format!("bad request: {error}")))
}

/// The line for `result`, newline included.
pub fn line(result: &Result<Answer<'_>, Refusal>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Done<'a> {
        ok: bool,
        #[serde(flatten)]
        answer: Option<&'a Answer<'a>>,
    }
    let answer = match result {
        Ok(Answer::Done) => None,
        Ok(answer) => Some(answer),
        Err(refusal) => return refusal_line(refusal),
    };
    text(&Done { ok: true, answer })
}

/// The line for a request that was not done.
pub fn refusal_line(refusal: &Refusal) -> Vec<u8> {
    #[derive(Serialize)]
    struct Failed<'a> {
        error: &'a Refusal,
    }
    text(&Failed { error: refusal })
}

fn text(value: &impl Serialize) -> Vec<u8> {
    // These types hold nothing that JSON cannot say.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: Result<Answer<'_>, Refusal>) -> String {
        String::from_utf8(line(&result)).unwrap()
    }

    #[test]
    fn requests_of_the_protocol_are_read() {
        assert!(matches!(parse(br#"{"op":"state"}"#), Ok(Request::State)));
        assert!(matches!(
            parse(br#"{"op":"pause"}"#),
            Ok(Request::Pause { hold: false })
        ));
        assert!(matches!(
            parse(br#"{"op":"kill","signal":15,"all":false}"#),
            Ok(Request::Kill {
                signal: 15,
                all: false
            })
        ));
        assert!(matches!(
            parse(br#"{"op":"resize","height":24,"width":80,"exec_id":null}"#),
            Ok(Request::Resize {
                height: 24,
                width: 80,
                exec_id: None
            })
        ));
        let exec = br#"{"op":"exec","exec_id":"e","process":{"args":["sh"],"cwd":"/","user":{"uid":0,"gid":0}},"stdin":true}"#;
        assert!(matches!(
            parse(exec),
            Ok(Request::Exec {
                stdin: true,
                detach: false,
                ..
            })
        ));
        assert!(matches!(
            parse(br#"{"op":"update","resources":{"memory":{"limit":1}}}"#),
            Ok(Request::Update { .. })
        ));
        assert!(matches!(
            parse(br#"{"op":"exec_wait","exec_id":"e"}"#),
            Ok(Request::ExecWait { .. })
        ));
    }

    #[test]
    fn hostile_requests_are_refused_with_400() {
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        for bad in [
            &b""[..],
            b"\xff\xfe",
            b"null",
            b"{}",
            b"{\"op\":\"fly\"}",
            b"{\"op\":\"kill\"}",
            b"{\"op\":\"kill\",\"signal\":99999999999}",
            b"{\"op\":\"resize\",\"height\":-1,\"width\":80}",
            b"{\"op\":\"exec\",\"exec_id\":\"e\",\"process\":7}",
            &deep,
        ] {
            assert_eq!(parse(bad).unwrap_err().status, 400);
        }
    }

    #[test]
    fn answers_are_the_contract_s() {
        assert_eq!(text(Ok(Answer::Done)), "{\"ok\":true}\n");
        assert_eq!(
            text(Ok(Answer::Attached { tty: false })),
            "{\"ok\":true,\"tty\":false}\n"
        );
        assert_eq!(
            text(Ok(Answer::ExecExit { exit_code: 3 })),
            "{\"ok\":true,\"exit_code\":3}\n"
        );
        let refused: serde_json::Value =
            serde_json::from_str(&text(Err(Refusal::no_exec("x")))).unwrap();
        assert_eq!(refused["error"]["status"], 404);
        assert_eq!(refused["error"]["message"], "No such exec instance: x");
        assert_eq!(refused["error"]["exit_code"], 125);
    }

    #[test]
    fn a_client_can_resize_in_its_stream() {
        let control: ClientControl = serde_json::from_slice(b"{\"resize\":[24,80]}").unwrap();
        assert_eq!(control, ClientControl::Resize([24, 80]));
    }
}
