//! A client with a codec of its own, so that a mistake in the server's does
//! not cancel itself out. It checks the frame of every answer it gets.

use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

pub(crate) use rustix::io::Errno;
use virtscope_device::p9::{Access, FileServer};

pub(crate) const NO_FID: u32 = u32::MAX;
pub(crate) const ROOM: usize = 1 << 20;

pub(crate) const RDONLY: u32 = 0;
pub(crate) const WRONLY: u32 = 1;
pub(crate) const RDWR: u32 = 2;
pub(crate) const EXCL: u32 = 0o200;
pub(crate) const TRUNC: u32 = 0o1000;
pub(crate) const APPEND: u32 = 0o2000;
pub(crate) const DIRECTORY: u32 = 0o200_000;
pub(crate) const REMOVEDIR: u32 = 0x200;

/// A T message under construction.
#[derive(Clone)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn new(kind: u8, tag: u16) -> Self {
        let mut bytes = vec![0, 0, 0, 0, kind];
        bytes.extend(tag.to_le_bytes());
        Self(bytes)
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.raw(&[value])
    }

    pub(crate) fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn text(self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        let len = u16::try_from(text.len()).expect("a 9P string");
        self.u16(len).raw(text)
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let size = u32::try_from(self.0.len()).expect("a small message");
        self.0[..4].copy_from_slice(&size.to_le_bytes());
        self.0
    }
}

pub(crate) fn version(tag: u16, msize: u32) -> Vec<u8> {
    Message::new(100, tag).u32(msize).text("9P2000.L").finish()
}

pub(crate) fn getattr(tag: u16, fid: u32) -> Vec<u8> {
    Message::new(24, tag).u32(fid).u64(0x7ff).finish()
}

pub(crate) fn read(tag: u16, fid: u32, offset: u64, count: u32) -> Vec<u8> {
    Message::new(116, tag)
        .u32(fid)
        .u64(offset)
        .u32(count)
        .finish()
}

pub(crate) fn flush(tag: u16, oldtag: u16) -> Vec<u8> {
    Message::new(108, tag).u16(oldtag).finish()
}

pub(crate) fn walk(tag: u16, fid: u32, newfid: u32, names: &[&str]) -> Vec<u8> {
    let count = u16::try_from(names.len()).expect("few names");
    names
        .iter()
        .fold(
            Message::new(110, tag).u32(fid).u32(newfid).u16(count),
            Message::text,
        )
        .finish()
}

/// The body of an answer, read front to back.
#[derive(Debug)]
pub(crate) struct Body(Vec<u8>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Qid {
    pub(crate) kind: u8,
    pub(crate) version: u32,
    pub(crate) path: u64,
}

impl Body {
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        assert!(self.0.len() >= len, "the answer ends inside a field");
        let rest = self.0.split_off(len);
        std::mem::replace(&mut self.0, rest)
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take(2).try_into().expect("two bytes"))
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("four bytes"))
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().expect("eight bytes"))
    }

    pub(crate) fn text(&mut self) -> Vec<u8> {
        let len = self.u16();
        self.take(usize::from(len))
    }

    pub(crate) fn qid(&mut self) -> Qid {
        Qid {
            kind: self.u8(),
            version: self.u32(),
            path: self.u64(),
        }
    }

    pub(crate) fn end(self) {
        assert!(self.0.is_empty(), "{} bytes too many", self.0.len());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Takes an answer apart, checking that it is one to this request.
pub(crate) fn open_answer(request: &[u8], answer: Vec<u8>) -> Result<Body, Errno> {
    assert!(answer.len() >= 7, "an answer has a header: {answer:?}");
    let mut body = Body(answer);
    let whole = body.0.len();
    assert_eq!(body.u32() as usize, whole, "size[4] is the length");
    let kind = body.u8();
    assert_eq!(body.take(2), request[5..7], "the tag comes back");
    if kind == 7 {
        let errno = body.u32();
        body.end();
        let errno = i32::try_from(errno).expect("an errno");
        assert!((1..4096).contains(&errno), "{errno} is an errno");
        return Err(Errno::from_raw_os_error(errno));
    }
    assert_eq!(kind, request[4] + 1, "the answer to this request");
    Ok(body)
}

pub(crate) fn ask(server: &FileServer, request: &[u8], room: usize) -> Result<Body, Errno> {
    let mut answer = b"left over".to_vec();
    server.handle(request, &mut answer, room);
    assert!(answer.len() <= room, "the answer keeps to its room");
    open_answer(request, answer)
}

/// One entry of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) qid: Qid,
    pub(crate) offset: u64,
    pub(crate) kind: u8,
    pub(crate) name: String,
}

/// A client of one server, with the root attached as fid 0.
pub(crate) struct Client {
    pub(crate) server: FileServer,
    tag: AtomicU16,
}

impl Client {
    pub(crate) fn new(root: &Path, access: Access) -> Self {
        Self::of(FileServer::new(root, access).expect("the directory can be served"))
    }

    pub(crate) fn of(server: FileServer) -> Self {
        let client = Self {
            server,
            tag: AtomicU16::new(0),
        };
        let mut body = client.call(&version(NO_TAG, 1 << 20)).expect("a version");
        assert_eq!((body.u32(), body.text()), (1 << 20, b"9P2000.L".to_vec()));
        body.end();
        client.attach(0).expect("the root");
        client
    }

    pub(crate) fn call(&self, request: &[u8]) -> Result<Body, Errno> {
        ask(&self.server, request, ROOM)
    }

    pub(crate) fn message(&self, kind: u8) -> Message {
        Message::new(kind, self.tag.fetch_add(1, Ordering::Relaxed))
    }

    fn send(&self, message: Message) -> Result<Body, Errno> {
        self.call(&message.finish())
    }

    pub(crate) fn attach(&self, fid: u32) -> Result<Qid, Errno> {
        let message = self.message(104).u32(fid).u32(NO_FID);
        let mut body = self.send(message.text("user").text("tree").u32(NO_FID))?;
        let qid = body.qid();
        body.end();
        Ok(qid)
    }

    pub(crate) fn walk_bytes(
        &self,
        fid: u32,
        newfid: u32,
        names: &[&[u8]],
    ) -> Result<Vec<Qid>, Errno> {
        let count = u16::try_from(names.len()).expect("few names");
        let start = self.message(110).u32(fid).u32(newfid).u16(count);
        let message = names.iter().fold(start, Message::text);
        let mut body = self.send(message)?;
        let qids = (0..body.u16()).map(|_| body.qid()).collect();
        body.end();
        Ok(qids)
    }

    pub(crate) fn walk(&self, fid: u32, newfid: u32, names: &[&str]) -> Result<Vec<Qid>, Errno> {
        let names: Vec<_> = names.iter().map(|name| name.as_bytes()).collect();
        self.walk_bytes(fid, newfid, &names)
    }

    pub(crate) fn lopen(&self, fid: u32, flags: u32) -> Result<(Qid, u32), Errno> {
        let mut body = self.send(self.message(12).u32(fid).u32(flags))?;
        let answer = (body.qid(), body.u32());
        body.end();
        Ok(answer)
    }

    pub(crate) fn lcreate(
        &self,
        fid: u32,
        name: &str,
        flags: u32,
        mode: u32,
    ) -> Result<Qid, Errno> {
        let message = self.message(14).u32(fid).text(name);
        let mut body = self.send(message.u32(flags).u32(mode).u32(12345))?;
        let (qid, _iounit) = (body.qid(), body.u32());
        body.end();
        Ok(qid)
    }

    pub(crate) fn read(&self, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>, Errno> {
        let mut body = self.send(self.message(116).u32(fid).u64(offset).u32(count))?;
        let len = body.u32() as usize;
        let data = body.take(len);
        body.end();
        assert!(data.len() <= count as usize);
        Ok(data)
    }

    pub(crate) fn write(&self, fid: u32, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let count = u32::try_from(data.len()).expect("a small write");
        let message = self.message(118).u32(fid).u64(offset).u32(count);
        let mut body = self.send(message.raw(data))?;
        let written = body.u32();
        body.end();
        Ok(written)
    }

    pub(crate) fn readdir(&self, fid: u32, offset: u64, count: u32) -> Result<Vec<Entry>, Errno> {
        let mut body = self.send(self.message(40).u32(fid).u64(offset).u32(count))?;
        let len = body.u32();
        assert!(len <= count);
        let mut data = Body(body.take(len as usize));
        body.end();
        let mut entries = Vec::new();
        while !data.is_empty() {
            entries.push(Entry {
                qid: data.qid(),
                offset: data.u64(),
                kind: data.u8(),
                name: String::from_utf8(data.text()).expect("test names are UTF-8"),
            });
        }
        Ok(entries)
    }

    /// A whole directory, `count` bytes at a time.
    pub(crate) fn list(&self, fid: u32, count: u32) -> Result<Vec<Entry>, Errno> {
        let mut all = Vec::new();
        let mut offset = 0;
        loop {
            let more = self.readdir(fid, offset, count)?;
            let Some(last) = more.last() else {
                return Ok(all);
            };
            offset = last.offset;
            all.extend(more);
        }
    }

    pub(crate) fn getattr(&self, fid: u32) -> Result<Body, Errno> {
        self.send(self.message(24).u32(fid).u64(0x3fff))
    }

    pub(crate) fn statfs(&self, fid: u32) -> Result<Body, Errno> {
        self.send(self.message(8).u32(fid))
    }

    pub(crate) fn readlink(&self, fid: u32) -> Result<Vec<u8>, Errno> {
        let mut body = self.send(self.message(22).u32(fid))?;
        let target = body.text();
        body.end();
        Ok(target)
    }

    pub(crate) fn mkdir(&self, fid: u32, name: &str, mode: u32) -> Result<Qid, Errno> {
        let mut body = self.send(self.message(72).u32(fid).text(name).u32(mode).u32(0))?;
        let qid = body.qid();
        body.end();
        Ok(qid)
    }

    pub(crate) fn unlinkat(&self, fid: u32, name: &str, flags: u32) -> Result<(), Errno> {
        self.send(self.message(76).u32(fid).text(name).u32(flags))
            .map(Body::end)
    }

    pub(crate) fn clunk(&self, fid: u32) -> Result<(), Errno> {
        self.send(self.message(120).u32(fid)).map(Body::end)
    }

    pub(crate) fn remove(&self, fid: u32) -> Result<(), Errno> {
        self.send(self.message(122).u32(fid)).map(Body::end)
    }

    pub(crate) fn fsync(&self, fid: u32, datasync: u32) -> Result<(), Errno> {
        self.send(self.message(50).u32(fid).u32(datasync))
            .map(Body::end)
    }

    /// Everything in a file, by walking to it from the root.
    pub(crate) fn content(&self, fid: u32, names: &[&str]) -> Result<Vec<u8>, Errno> {
        let found = self.walk(0, fid, names)?.len();
        if found != names.len() {
            return Err(Errno::NOENT);
        }
        let content = self
            .lopen(fid, RDONLY)
            .and_then(|_| self.read(fid, 0, 65_536));
        self.clunk(fid).expect("the fid was walked to");
        content
    }
}

/// Linux `P9_NOTAG`, which a `Tversion` carries.
pub(crate) const NO_TAG: u16 = u16::MAX;
