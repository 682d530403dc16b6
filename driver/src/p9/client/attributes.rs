//! What is known of files and file systems beside their content.

use super::super::message::{
    Attributes, Fid, FileSystem, GETATTR_BASIC, Reply, Request, SetAttributes,
};
use super::{Client, ClientError, unexpected};
use crate::instrument::Instrument;

impl<I: Instrument> Client<I> {
    /// What stat(2) would tell of the file.
    ///
    /// # Errors
    /// What the server says.
    pub fn getattr(&self, fid: Fid) -> Result<Attributes, ClientError> {
        let request = Request::Getattr {
            fid,
            request_mask: GETATTR_BASIC,
        };
        match self.call(&request)? {
            Reply::Getattr(attributes) => Ok(*attributes),
            _ => Err(unexpected()),
        }
    }

    /// Changes attributes (chmod(2), chown(2), truncate(2), utimensat(2)).
    ///
    /// # Errors
    /// What the server says.
    pub fn setattr(&self, fid: Fid, attributes: SetAttributes) -> Result<(), ClientError> {
        self.call(&Request::Setattr { fid, attributes }).map(drop)
    }

    /// What statfs(2) would tell of the file's file system.
    ///
    /// # Errors
    /// What the server says.
    pub fn statfs(&self, fid: Fid) -> Result<FileSystem, ClientError> {
        match self.call(&Request::Statfs { fid })? {
            Reply::Statfs(system) => Ok(*system),
            _ => Err(unexpected()),
        }
    }

    /// A fid from which the extended attribute `name` is read like a file, and its
    /// bytes; with an empty name, of the list of all names, each ended by a zero byte.
    ///
    /// # Errors
    /// What the server says.
    pub fn xattr_walk(&self, fid: Fid, name: &[u8]) -> Result<(Fid, u64), ClientError> {
        let newfid = self.new_fid();
        let request = Request::Xattrwalk { fid, newfid, name };
        match self.keep_fid(newfid, self.call(&request))? {
            Reply::Xattrwalk { size } => Ok((newfid, size)),
            _ => Err(unexpected()),
        }
    }

    /// Makes `fid` stand for the extended attribute `name`, of `size` bytes to be written
    /// to it. It is set when the fid is clunked. `flags` are setxattr(2)'s.
    ///
    /// # Errors
    /// What the server says.
    pub fn xattr_create(
        &self,
        fid: Fid,
        name: &[u8],
        size: u64,
        flags: u32,
    ) -> Result<(), ClientError> {
        let request = Request::Xattrcreate {
            fid,
            name,
            size,
            flags,
        };
        self.call(&request).map(drop)
    }
}
