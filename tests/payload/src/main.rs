//! The program that test containers run. It needs no image, no libraries and no shell, so that a test sees what the
//! runtime made and nothing else. Each sub-command prints one thing about the container, or does one thing in it.
#![forbid(unsafe_code)]

mod hunt;

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio, exit};
use std::thread;
use std::time::Duration;

/// `O_NONBLOCK` of Linux.
const NON_BLOCKING: i32 = 0o4000;

const USAGE: &str = "usage: payload print-hostname|cat PATH...|write PATH TEXT|ls PATH|mounts|caps|fds|cwd|ids|env|\
    exit N|probe PATH...|sleep S|spam BYTES|oom|listen PORT|echo-udp PORT|fork-bomb N|spin S|hunt S|echo|\
    notify TEXT";

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let rest = words.get(1..).unwrap_or_default();
    let done = match words.first().map(String::as_str) {
        Some("print-hostname") => cat(&["/proc/sys/kernel/hostname".into()]),
        Some("cat") => cat(rest),
        Some("write") => fs::write(text(rest, 0), text(rest, 1)),
        Some("ls") => ls(text(rest, 0)),
        Some("mounts") => cat(&["/proc/self/mountinfo".into()]),
        Some("caps") => status(&[
            "CapInh",
            "CapPrm",
            "CapEff",
            "CapBnd",
            "CapAmb",
            "NoNewPrivs",
            "Seccomp",
        ]),
        Some("fds") => fds(),
        Some("cwd") => env::current_dir().map(|path| println!("{}", path.display())),
        Some("ids") => status(&["Uid", "Gid", "Groups", "Umask"]),
        Some("env") => print_env(),
        Some("probe") => probe(rest),
        Some("exit") => exit(number(rest, 0) as i32),
        Some("sleep") => sleep(number(rest, 0)),
        Some("spam") => spam(number(rest, 0)),
        Some("oom") => oom(),
        Some("listen") => listen(number(rest, 0) as u16),
        Some("echo-udp") => echo_udp(number(rest, 0) as u16),
        Some("fork-bomb") => fork_bomb(number(rest, 0)),
        Some("hunt") => hunt::hunt(number(rest, 0)),
        Some("spin") => spin(number(rest, 0)),
        Some("notify") => notify(text(rest, 0)),
        Some("echo") => io::copy(&mut io::stdin(), &mut io::stdout()).map(drop),
        _ => {
            eprintln!("{USAGE}");
            exit(2);
        }
    };
    if let Err(error) = done {
        eprintln!("payload: {error}");
        exit(1);
    }
}

fn text(words: &[String], at: usize) -> &str {
    words.get(at).map_or("", String::as_str)
}

fn number(words: &[String], at: usize) -> u64 {
    text(words, at).parse().unwrap_or(0)
}

/// A datagram to the service manager, as sd_notify(3); then it lives on for a moment.
fn notify(text: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.send_to(
        text.as_bytes(),
        env::var("NOTIFY_SOCKET").unwrap_or_default(),
    )?;
    sleep(1)
}

fn cat(paths: &[String]) -> io::Result<()> {
    for path in paths {
        io::copy(&mut fs::File::open(path)?, &mut io::stdout())?;
    }
    Ok(())
}

fn ls(path: &str) -> io::Result<()> {
    let mut names: Vec<String> = fs::read_dir(path)?
        .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    println!("{}", names.join("\n"));
    Ok(())
}

/// What each path lets this process do: its kind, whether it can be read (and holds anything), whether it can be opened
/// for writing (a directory: whether a file can be made in it). Nothing is written.
fn probe(paths: &[String]) -> io::Result<()> {
    let word = |error: io::Error| format!("{:?}", error.kind());
    for path in paths {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) => {
                println!("{path} {}", word(error));
                continue;
            }
        };
        let kind = found.file_type();
        let kind = match () {
            () if kind.is_symlink() => {
                let target = fs::read_link(path)?;
                println!("{path} link {}", target.display());
                continue;
            }
            () if kind.is_dir() => "directory",
            () if kind.is_char_device() => "device",
            () if kind.is_file() => "file",
            () => "other",
        };
        let (read, write) = if kind == "directory" {
            let made = format!("{path}/payload-probe");
            let write = fs::File::create_new(&made).and_then(|_| fs::remove_file(&made));
            let listed = fs::read_dir(path).map(|mut listing| listing.next().is_some());
            (listed, write)
        } else {
            let mut how = fs::File::options();
            let how = how.custom_flags(NON_BLOCKING);
            let mut byte = [0u8; 1];
            let read = how
                .clone()
                .read(true)
                .open(path)
                .and_then(|mut f| f.read(&mut byte));
            (read.map(|n| n > 0), how.write(true).open(path).map(drop))
        };
        let read = read.map_or_else(word, |any| if any { "data" } else { "empty" }.to_owned());
        println!(
            "{path} {kind} {read} {}",
            write.map_or_else(word, |()| "writable".to_owned())
        );
    }
    Ok(())
}

/// The lines of /proc/self/status with these keys.
fn status(keys: &[&str]) -> io::Result<()> {
    for line in fs::read_to_string("/proc/self/status")?.lines() {
        if keys.iter().any(|key| line.split(':').next() == Some(key)) {
            println!("{line}");
        }
    }
    Ok(())
}

/// Every open descriptor and what it leads to, without the one that lists them.
fn fds() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let target = fs::read_link(&path)?;
        if !target.to_string_lossy().contains("/fd") {
            println!(
                "{} {}",
                path.file_name().unwrap_or_default().to_string_lossy(),
                target.display()
            );
        }
    }
    Ok(())
}

fn print_env() -> io::Result<()> {
    for (name, value) in env::vars_os() {
        println!("{}={}", name.to_string_lossy(), value.to_string_lossy());
    }
    Ok(())
}

fn sleep(seconds: u64) -> io::Result<()> {
    println!("sleeping");
    thread::sleep(Duration::from_secs(seconds));
    Ok(())
}

/// Writes lines of 64 bytes until `bytes` are written: more than any pipe buffer holds.
fn spam(bytes: u64) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout());
    for number in 0..bytes.div_ceil(64) {
        writeln!(out, "{number:063}")?;
    }
    out.flush()
}

/// Takes memory and touches it, until it is killed.
fn oom() -> io::Result<()> {
    let mut taken = Vec::new();
    for round in 1u8.. {
        taken.push(vec![round; 1 << 20]);
        if round == u8::MAX {
            break;
        }
    }
    println!(
        "{} MiB and still alive",
        taken.iter().map(Vec::len).sum::<usize>() >> 20
    );
    Ok(())
}

/// Answers every connection with one line; announces itself when it listens.
fn listen(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    println!("listening on {port}");
    for stream in listener.incoming() {
        let mut stream = stream?;
        let peer = stream.peer_addr()?;
        let mut request = [0u8; 1024];
        let length = stream.read(&mut request)?;
        writeln!(
            stream,
            "{peer} {}",
            String::from_utf8_lossy(&request[..length]).trim_end()
        )?;
    }
    Ok(())
}

/// Sends every datagram back to where it came from.
fn echo_udp(port: u16) -> io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", port))?;
    println!("listening on {port}");
    let mut datagram = [0u8; 65536];
    loop {
        let (length, peer) = socket.recv_from(&mut datagram)?;
        socket.send_to(&datagram[..length], peer)?;
    }
}

/// Starts children until the kernel refuses or `limit` is reached, and prints how many there were.
fn fork_bomb(limit: u64) -> io::Result<()> {
    let program = env::current_exe()?;
    let mut children = Vec::new();
    let mut refused = String::from("nothing");
    for _ in 0..limit {
        match Command::new(&program)
            .args(["sleep", "60"])
            .stdout(Stdio::null())
            .spawn()
        {
            Ok(child) => children.push(child),
            Err(error) => {
                refused = error.to_string();
                break;
            }
        }
    }
    println!("{} children, refused: {refused}", children.len());
    for mut child in children {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// Uses one processor for `seconds` of wall-clock time and prints the processor time it got, in milliseconds.
fn spin(seconds: u64) -> io::Result<()> {
    let start = std::time::Instant::now();
    let mut rounds = 0u64;
    while start.elapsed() < Duration::from_secs(seconds) {
        rounds = std::hint::black_box(rounds + 1);
    }
    // fields 14 and 15 are user and system time in ticks of 10 ms; the command name before them may hold spaces
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    println!("{}", ticks * 10);
    Ok(())
}
