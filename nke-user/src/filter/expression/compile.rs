//! The compiler of expressions: `tcpdump -ddd`, which is libpcap's.
//!
//! It runs as a process of its own, without root's rights, as user and group 65534 ("nobody"), with
//! an empty environment, no input, and for a few seconds at most. The expression is one argument, behind `--`; no
//! shell ever sees it. The program is looked for where systems install theirs, and never in
//! `PATH`: whoever runs nke as root must not run a stranger's.
//!
//! ```text
//! $ tcpdump -ddd -y EN10MB -- 'tcp[13] & 2 != 0'
//! 13
//! 40 0 0 12
//! …
//! ```

use std::{
    io::Read,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nke_ebpf::abi::classic::{Instruction, LONGEST};
use rustix::process::geteuid;

use super::{Malformed, Program, Refused};

/// Where systems have it.
const DIRECTORIES: [&str; 6] = [
    "/usr/bin",
    "/usr/sbin",
    "/bin",
    "/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
];

/// How long it may think: it asks the name service about the names of hosts.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest that it prints of a program that we would take is a tenth of this.
const LONGEST_OUTPUT: u64 = 1 << 18;

/// Who compiles, if we are root.
const NOBODY: u32 = 65534;

/// What a packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// An Ethernet header.
    Ethernet,
    /// An IP header.
    Ip,
}

/// The program of an expression.
pub(super) fn compile(text: &str, link: Link) -> Result<Program, Refused> {
    let link = match link {
        Link::Ethernet => "EN10MB",
        Link::Ip => "RAW",
    };
    let compiler = DIRECTORIES
        .map(|directory| Path::new(directory).join("tcpdump"))
        .into_iter()
        .find(|path| path.is_file())
        .ok_or(Refused::NoCompiler)?;
    let mut command = Command::new(compiler);
    command
        .args(["-ddd", "-y", link, "--", text])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let child = command.spawn().map_err(|_| Refused::NoCompiler)?;
    let Said {
        fine,
        output,
        complaint,
    } = said(child).ok_or(Refused::TooSlow)?;
    if fine {
        read(&output)
    } else {
        let last = complaint.lines().last().unwrap_or_default();
        let last = last.strip_prefix("tcpdump: ").unwrap_or(last).trim();
        Err(Refused::ByCompiler(
            last.chars().filter(|c| !c.is_control()).collect(),
        ))
    }
}

/// What it has said until its end.
struct Said {
    fine: bool,
    output: String,
    complaint: String,
}

/// Waits for the end; nothing if it does not come, and then the process is killed.
fn said(mut child: Child) -> Option<Said> {
    let output = read_aside(child.stdout.take());
    let complaint = read_aside(child.stderr.take());
    // Both end when the process does, at the latest.
    let all = output.recv_timeout(PATIENCE).and_then(|output| {
        let complaint = complaint.recv_timeout(PATIENCE)?;
        Ok((output, complaint))
    });
    if all.is_err() {
        // Should it be gone by now, so much the better.
        let _: std::io::Result<()> = child.kill();
    }
    let status = child.wait().ok()?;
    let (output, complaint) = all.ok()?;
    Some(Said {
        fine: status.success(),
        output,
        complaint,
    })
}

/// Reads a pipe to its end, or as far as anybody would want to.
fn read_aside(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What cannot be read is missing, and that is seen.
            let _: std::io::Result<usize> = pipe.take(LONGEST_OUTPUT).read_to_end(&mut bytes);
        }
        // Whoever does not wait any more does not want it.
        let _: Result<(), _> = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// The program that is printed: how many instructions, and each with its four numbers.
fn read(output: &str) -> Result<Program, Refused> {
    let mut lines = output.lines();
    let count = lines
        .next()
        .and_then(|count| count.trim().parse::<usize>().ok());
    let instructions: Option<Vec<_>> = lines.map(instruction).collect();
    match (count, instructions) {
        (Some(count), Some(all)) if count == all.len() => {
            Program::new(&all).map_err(|malformed| match malformed {
                Malformed::Long(length) => Refused::TooLong(length),
                // It is libpcap's: what leads nowhere leads back.
                Malformed::Jump(_) => Refused::Loops,
                Malformed::Empty | Malformed::Instruction(_) => Refused::Unreadable,
            })
        }
        (Some(count), _) if count > LONGEST => Err(Refused::TooLong(count)),
        _ => Err(Refused::Unreadable),
    }
}

fn instruction(line: &str) -> Option<Instruction> {
    let mut numbers = line.split_ascii_whitespace();
    let instruction = Instruction {
        code: numbers.next()?.parse().ok()?,
        yes: numbers.next()?.parse().ok()?,
        no: numbers.next()?.parse().ok()?,
        k: numbers.next()?.parse().ok()?,
    };
    numbers.next().is_none().then_some(instruction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        let program = read("2\n40 0 0 12\n6 0 0 262144\n").unwrap();
        assert_eq!(program.instructions()[1].k, 262_144);
        for wrong in [
            "",
            "x\n",
            "2\n6 0 0 0\n",
            "1\n6 0 0 0 0\n",
            "1\n6 0 0 -1\n",
            "1\n255 0 0 0\n",
        ] {
            assert_eq!(read(wrong), Err(Refused::Unreadable), "{wrong}");
        }
        let back = "2\n5 0 0 4294967294\n6 0 0 0\n";
        assert_eq!(read(back), Err(Refused::Loops));
        assert_eq!(read("5000\n6 0 0 0\n"), Err(Refused::TooLong(5000)));
    }
}
