//! A request and its reply in the words of their operation: `read /etc/hosts 0..4096`.

use std::fmt::{self, Write as _};

use super::{Body, Fid, Message, Path, Subject, Text};
use crate::text::sanitize;

/// `AT_REMOVEDIR` of `Tunlinkat`.
const REMOVE_DIRECTORY: u32 = 0x200;

/// What a request does, safe to print: its operation, the path of what it is about as
/// far as that is known, and what matters of the rest.
pub fn describe_request(request: &Message<'_>, subject: &Subject) -> String {
    let mut text = request.kind.operation_name().to_owned();
    if !request.kind.is_known() {
        text = request.kind.to_string();
    }
    let about = About { request, subject };
    let written = match request.body() {
        Ok(body) => about.whole(&mut text, &body),
        Err(end) => {
            // As much as there is.
            let path = subject
                .path
                .as_deref()
                .map_or_else(String::new, |path| format!(" {path}"));
            write!(text, "{path} ({end})")
        }
    };
    // Writing to a String cannot fail.
    debug_assert!(written.is_ok());
    text
}

/// What became of a request, safe to print: the error, or what matters of the reply.
pub fn describe_reply(request: &Message<'_>, reply: &Message<'_>, subject: &Subject) -> String {
    let body = match reply.body() {
        Ok(body) => body,
        Err(end) => return format!("{} ({end})", reply.kind),
    };
    match body {
        Body::Rlerror(error) => error.ecode.to_string(),
        Body::Rerror(error) => {
            let text = format!("\"{}\"", error.ename);
            match error.errno.0 {
                Some(errno) => format!("{text} {errno}"),
                None => text,
            }
        }
        _ if reply.kind != request.kind.reply() => reply.to_string(),
        Body::Rversion(body) => format!("{} msize {}", body.version, body.msize),
        Body::Rwalk(body) => walked(request, subject, body.wqid.len()),
        Body::Rread(body) => bytes(body.data.declared),
        Body::Rreaddir(body) => bytes(body.data.declared),
        Body::Rwrite(body) => bytes(body.count),
        Body::Rgetattr(body) => format!("mode 0{:o} size {}", body.mode, body.size),
        Body::Rstat(body) => {
            let stat = body.stat.stat;
            format!(
                "\"{}\" mode 0{:o} size {}",
                stat.name, stat.mode, stat.length
            )
        }
        Body::Rreadlink(body) => format!("\"{}\"", body.target),
        Body::Rxattrwalk(body) => format!("{} bytes", body.size),
        Body::Rlock(body) => match body.status {
            0 => "locked".to_owned(),
            1 => "blocked".to_owned(),
            2 => "error".to_owned(),
            3 => "grace period".to_owned(),
            status => format!("status {status}"),
        },
        Body::Rgetlock(body) if body.kind == 2 => "free".to_owned(),
        Body::Rgetlock(body) => {
            let range = LockRange(body.start, body.length);
            format!("held by process {} {range}", body.proc_id)
        }
        Body::Rstatfs(body) => format!(
            "{} of {} blocks of {} free",
            body.bavail, body.blocks, body.bsize
        ),
        _ => "ok".to_owned(),
    }
}

fn bytes(count: u32) -> String {
    match count {
        1 => "1 byte".to_owned(),
        count => format!("{count} bytes"),
    }
}

fn walked(request: &Message<'_>, subject: &Subject, followed: usize) -> String {
    let Ok(Body::Twalk(walk)) = request.body() else {
        return "ok".to_owned();
    };
    if followed >= walk.wname.len() {
        return "ok".to_owned();
    }
    let names = walk.wname.len();
    match subject.path.as_deref() {
        Some(path) => {
            let end = extended(path, walk.wname.iter().take(followed));
            format!("stopped at {end}, {followed} of {names} names")
        }
        None => format!("stopped after {followed} of {names} names"),
    }
}

fn extended<'a>(path: &Path, names: impl Iterator<Item = Text<'a>>) -> Path {
    names.fold(path.clone(), |path, name| path.join(name.0))
}

/// A request and what is known of its fids.
struct About<'a> {
    request: &'a Message<'a>,
    subject: &'a Subject,
}

impl About<'_> {
    fn whole(&self, f: &mut String, body: &Body<'_>) -> fmt::Result {
        match *body {
            Body::Tversion(body) => write!(f, " {} msize {}", body.version, body.msize),
            Body::Tauth(body) => write!(f, " \"{}\" as \"{}\"", body.aname, body.uname),
            Body::Tattach(body) => write!(f, " \"{}\" as \"{}\"", body.aname, body.uname),
            Body::Tflush(body) => {
                write!(f, " tag {}", body.oldtag)?;
                match self.subject.flushes {
                    Some(kind) => write!(f, " ({})", kind.operation_name()),
                    None => f.write_str(" (none in flight)"),
                }
            }
            Body::Twalk(body) => match self.subject.path.as_deref() {
                Some(path) if !body.wname.is_empty() => {
                    write!(f, " {}", extended(path, body.wname.iter()))
                }
                _ => self.path(f, body.fid),
            },
            Body::Tlopen(body) => {
                self.path(f, body.fid)?;
                write!(f, " flags 0{:o}", body.flags)
            }
            Body::Topen(body) => {
                self.path(f, body.fid)?;
                write!(f, " mode {:#x}", body.mode)
            }
            Body::Tlcreate(body) => {
                self.named(f, body.name)?;
                write!(f, " flags 0{:o} mode 0{:o}", body.flags, body.mode)
            }
            Body::Tcreate(body) => {
                self.named(f, body.name)?;
                write!(f, " perm 0{:o} mode {:#x}", body.perm, body.mode)
            }
            Body::Tsymlink(body) => {
                self.named(f, body.name)?;
                write!(f, " to \"{}\"", body.symtgt)
            }
            Body::Tmknod(body) => {
                self.named(f, body.name)?;
                write!(f, " mode 0{:o} {}:{}", body.mode, body.major, body.minor)
            }
            Body::Tmkdir(body) => {
                self.named(f, body.name)?;
                write!(f, " mode 0{:o}", body.mode)
            }
            Body::Trename(body) => {
                self.path(f, body.fid)?;
                self.to(f, " to ", body.name)
            }
            Body::Trenameat(body) => {
                self.named(f, body.oldname)?;
                self.to(f, " to ", body.newname)
            }
            Body::Tlink(body) => {
                match &self.subject.other {
                    Some(path) => write!(f, " {path} as")?,
                    None => f.write_str(" ? as")?,
                }
                self.named(f, body.name)
            }
            Body::Tunlinkat(body) => {
                self.named(f, body.name)?;
                if body.flags & REMOVE_DIRECTORY != 0 {
                    f.write_str(" (directory)")?;
                }
                Ok(())
            }
            Body::Txattrwalk(body) => {
                self.path(f, body.fid)?;
                match body.name.0 {
                    b"" => f.write_str(" (all)"),
                    _ => write!(f, " {}", body.name),
                }
            }
            Body::Txattrcreate(body) => {
                self.path(f, body.fid)?;
                write!(f, " {} {} bytes", body.name, body.attr_size)
            }
            Body::Tread(body) => {
                self.path(f, body.fid)?;
                write!(f, " {}", Range(body.offset, body.count.into()))
            }
            Body::Twrite(body) => {
                self.path(f, body.fid)?;
                write!(f, " {}", Range(body.offset, body.data.declared.into()))
            }
            Body::Treaddir(body) => {
                self.path(f, body.fid)?;
                write!(f, " from {}", body.offset)
            }
            Body::Tlock(body) => {
                self.path(f, body.fid)?;
                let kind = lock_kind(body.kind);
                write!(f, " {kind} {}", LockRange(body.start, body.length))
            }
            Body::Tgetlock(body) => {
                self.path(f, body.fid)?;
                let kind = lock_kind(body.kind);
                write!(f, " {kind} {}", LockRange(body.start, body.length))
            }
            Body::Tsetattr(body) => {
                self.path(f, body.fid)?;
                let set = |bit: u32| body.valid & bit != 0;
                if set(0x1) {
                    write!(f, " mode 0{:o}", body.mode)?;
                }
                if set(0x2) {
                    write!(f, " uid {}", body.uid)?;
                }
                if set(0x4) {
                    write!(f, " gid {}", body.gid)?;
                }
                if set(0x8) {
                    write!(f, " size {}", body.size)?;
                }
                for (bit, name) in [(0x10, " atime"), (0x20, " mtime"), (0x40, " ctime")] {
                    if set(bit) {
                        f.write_str(name)?;
                    }
                }
                Ok(())
            }
            Body::Twstat(body) => {
                self.path(f, body.fid)?;
                match body.stat.stat.name.0 {
                    b"" => Ok(()),
                    name => write!(f, " name \"{}\"", sanitize(name)),
                }
            }
            _ => match self.request.fid() {
                Some(fid) => self.path(f, fid),
                None => Ok(()),
            },
        }
    }

    /// The path of the first fid, and the fid where nothing else is known.
    fn path(&self, f: &mut String, fid: Fid) -> fmt::Result {
        match self.subject.path.as_deref() {
            Some(path) if path.known().is_some() || !path.known_end().is_empty() => {
                write!(f, " {path}")
            }
            Some(path) => write!(f, " {path} (fid {fid})"),
            None => write!(f, " ? (fid {fid})"),
        }
    }

    /// What is called `name` in the directory of the first fid.
    fn named(&self, f: &mut String, name: Text<'_>) -> fmt::Result {
        named(f, " ", self.subject.path.as_deref(), name)
    }

    /// What is called `name` in the directory of the second.
    fn to(&self, f: &mut String, word: &str, name: Text<'_>) -> fmt::Result {
        named(f, word, self.subject.other.as_deref(), name)
    }
}

fn named(f: &mut String, word: &str, directory: Option<&Path>, name: Text<'_>) -> fmt::Result {
    f.write_str(word)?;
    match directory {
        // A name that is no plain one is shown as what it is.
        Some(path) if !name.0.contains(&b'/') => write!(f, "{}", path.join(name.0)),
        Some(path) => write!(f, "{path} \"{name}\""),
        None => write!(f, "?/{name}"),
    }
}

/// Bytes of a file: where they begin, and where the next would be.
struct Range(u64, u64);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A forged offset may lie at the end of all numbers.
        let end = u128::from(self.0) + u128::from(self.1);
        write!(f, "{}..{end}", self.0)
    }
}

/// The same, where a length of 0 means to the end of the file.
struct LockRange(u64, u64);

impl fmt::Display for LockRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            0 => write!(f, "{}..", self.0),
            length => Range(self.0, length).fmt(f),
        }
    }
}

fn lock_kind(kind: u8) -> String {
    match kind {
        0 => "read".to_owned(),
        1 => "write".to_owned(),
        2 => "unlock".to_owned(),
        kind => format!("type {kind}"),
    }
}
