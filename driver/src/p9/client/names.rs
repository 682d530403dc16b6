//! Users, walks, and names that come, go and move.

use rustix::io::Errno;

use super::super::message::{Fid, Qid, Reply, Request};
use super::{Client, ClientError, unexpected};
use crate::instrument::Instrument;

impl<I: Instrument> Client<I> {
    /// Begins to authenticate `uname`: a fid through which that is done by reading and
    /// writing, and which [`attach`](Self::attach) then takes.
    ///
    /// # Errors
    /// What the server says; most ask for no authentication and say so.
    pub fn auth(&self, uname: &str, n_uname: u32) -> Result<(Fid, Qid), ClientError> {
        let afid = self.new_fid();
        let request = Request::Auth {
            afid,
            uname,
            aname: "",
            n_uname,
        };
        match self.keep_fid(afid, self.call(&request))? {
            Reply::Auth { aqid } => Ok((afid, aqid)),
            _ => Err(unexpected()),
        }
    }

    /// The root of the file tree, for one more user (Linux: for each with
    /// `access=user`).
    ///
    /// # Errors
    /// What the server says.
    pub fn attach(&self, afid: Option<Fid>, uname: &str, n_uname: u32) -> Result<Fid, ClientError> {
        let fid = self.new_fid();
        let request = Request::Attach {
            fid,
            afid,
            uname,
            aname: "",
            n_uname,
        };
        self.keep_fid(fid, self.call(&request)).map(|_| fid)
    }

    /// Walks from `fid` along `names` to a new fid; no names clone it. Also
    /// returns the qid of each step.
    ///
    /// # Errors
    /// `ENOENT` when a later name does not exist, as Linux turns a short walk
    /// into; else what the server says.
    pub fn walk(&self, fid: Fid, names: &[&[u8]]) -> Result<(Fid, Vec<Qid>), ClientError> {
        let newfid = self.new_fid();
        let request = Request::Walk { fid, newfid, names };
        match self.call(&request) {
            Ok(Reply::Walk { qids }) if qids.len() == names.len() => Ok((newfid, qids)),
            // A short walk makes no fid (walk(5)).
            Ok(_) => {
                self.drop_fid(newfid);
                Err(ClientError::Server(Errno::NOENT))
            }
            Err(error) => {
                self.drop_fid(newfid);
                Err(error)
            }
        }
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// What the server says.
    pub fn mkdir(&self, dfid: Fid, name: &[u8], mode: u32) -> Result<Qid, ClientError> {
        let request = Request::Mkdir {
            dfid,
            name,
            mode,
            gid: 0,
        };
        match self.call(&request)? {
            Reply::Mkdir { qid } => Ok(qid),
            _ => Err(unexpected()),
        }
    }

    /// Makes a symbolic link with this text.
    ///
    /// # Errors
    /// What the server says.
    pub fn symlink(&self, dfid: Fid, name: &[u8], target: &[u8]) -> Result<Qid, ClientError> {
        let request = Request::Symlink {
            dfid,
            name,
            target,
            gid: 0,
        };
        match self.call(&request)? {
            Reply::Symlink { qid } => Ok(qid),
            _ => Err(unexpected()),
        }
    }

    /// The text of a symbolic link.
    ///
    /// # Errors
    /// What the server says.
    pub fn readlink(&self, fid: Fid) -> Result<Vec<u8>, ClientError> {
        match self.call(&Request::Readlink { fid })? {
            Reply::Readlink { target } => Ok(target),
            _ => Err(unexpected()),
        }
    }

    /// Makes a FIFO, a socket or a device node: `mode` says which (mknod(2)), `device` is
    /// a node's major and minor number.
    ///
    /// # Errors
    /// What the server says.
    pub fn mknod(
        &self,
        dfid: Fid,
        name: &[u8],
        mode: u32,
        device: (u32, u32),
    ) -> Result<Qid, ClientError> {
        let request = Request::Mknod {
            dfid,
            name,
            mode,
            major: device.0,
            minor: device.1,
            gid: 0,
        };
        match self.call(&request)? {
            Reply::Mknod { qid } => Ok(qid),
            _ => Err(unexpected()),
        }
    }

    /// Gives the file that `fid` stands for one more name, in the directory `dfid`.
    ///
    /// # Errors
    /// What the server says.
    pub fn link(&self, dfid: Fid, fid: Fid, name: &[u8]) -> Result<(), ClientError> {
        self.call(&Request::Link { dfid, fid, name }).map(drop)
    }

    /// Moves what `fid` was walked to: to `name` in the directory `dfid`. Linux asks so
    /// where a server has no [`renameat`](Self::renameat).
    ///
    /// # Errors
    /// What the server says.
    pub fn rename(&self, fid: Fid, dfid: Fid, name: &[u8]) -> Result<(), ClientError> {
        self.call(&Request::Rename { fid, dfid, name }).map(drop)
    }

    /// Moves a name: from one directory to another, or within one.
    ///
    /// # Errors
    /// What the server says.
    pub fn renameat(&self, old: (Fid, &[u8]), new: (Fid, &[u8])) -> Result<(), ClientError> {
        let request = Request::Renameat {
            olddirfid: old.0,
            oldname: old.1,
            newdirfid: new.0,
            newname: new.1,
        };
        self.call(&request).map(drop)
    }

    /// Removes a name; a directory with [`UNLINK_DIRECTORY`](crate::p9::message::UNLINK_DIRECTORY).
    ///
    /// # Errors
    /// What the server says.
    pub fn unlink(&self, dirfid: Fid, name: &[u8], flags: u32) -> Result<(), ClientError> {
        self.call(&Request::Unlinkat {
            dirfid,
            name,
            flags,
        })
        .map(|_| ())
    }

    /// Removes the file that `fid` stands for, and gives the fid up: it is gone whatever
    /// the answer (remove(5)).
    ///
    /// # Errors
    /// What the server says.
    pub fn remove(&self, fid: Fid) -> Result<(), ClientError> {
        let answer = self.call(&Request::Remove { fid });
        self.drop_fid(fid);
        answer.map(drop)
    }

    /// Gives the fid up. It is gone whatever the answer (clunk(5)).
    ///
    /// # Errors
    /// What the server says.
    pub fn clunk(&self, fid: Fid) -> Result<(), ClientError> {
        let answer = self.call(&Request::Clunk { fid });
        self.drop_fid(fid);
        answer.map(|_| ())
    }
}
