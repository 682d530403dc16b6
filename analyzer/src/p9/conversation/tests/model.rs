//! The server: a tree of files, and the fids that stand for them.

use std::collections::BTreeMap;

use crate::p9::Qid;

/// A file of the server.
pub(super) type Inode = usize;

pub(super) const ENOENT: u32 = 2;
const EBADF: u32 = 9;
const EBUSY: u32 = 16;
const EEXIST: u32 = 17;
const ENOTDIR: u32 = 20;
const EINVAL: u32 = 22;
const ENOTEMPTY: u32 = 39;

#[derive(Clone, Debug, Default)]
struct File {
    /// `None` for what is no directory.
    names: Option<BTreeMap<String, Inode>>,
    /// Where it stands; `None` for the root and for what was removed.
    at: Option<(Inode, String)>,
}

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    Version,
    Attach {
        fid: u32,
        tree: &'static str,
    },
    Walk {
        fid: u32,
        newfid: u32,
        names: Vec<String>,
    },
    Create {
        fid: u32,
        name: String,
    },
    Mkdir {
        fid: u32,
        name: String,
    },
    Rename {
        fid: u32,
        dir: u32,
        name: String,
    },
    RenameAt {
        from: u32,
        old: String,
        to: u32,
        new: String,
    },
    Unlink {
        fid: u32,
        name: String,
    },
    Remove {
        fid: u32,
    },
    Clunk {
        fid: u32,
    },
    Getattr {
        fid: u32,
    },
    Flush {
        tag: u16,
    },
}

impl Ask {
    /// The fids it uses.
    pub(super) fn uses(&self) -> Vec<u32> {
        match self {
            Self::Version | Self::Attach { .. } | Self::Flush { .. } => vec![],
            Self::Walk { fid, .. }
            | Self::Create { fid, .. }
            | Self::Mkdir { fid, .. }
            | Self::Unlink { fid, .. }
            | Self::Remove { fid }
            | Self::Clunk { fid }
            | Self::Getattr { fid } => vec![*fid],
            Self::Rename { fid, dir, .. } => vec![*fid, *dir],
            Self::RenameAt { from, to, .. } => vec![*from, *to],
        }
    }

    /// The fid that stands for something else afterwards.
    pub(super) fn changes(&self) -> Option<u32> {
        match self {
            Self::Attach { fid, .. }
            | Self::Create { fid, .. }
            | Self::Remove { fid }
            | Self::Clunk { fid } => Some(*fid),
            Self::Walk { newfid, .. } => Some(*newfid),
            _ => None,
        }
    }

    /// Whether only names change, so that a server may have done it though it was
    /// given up.
    pub(super) fn changes_names_only(&self) -> bool {
        matches!(
            self,
            Self::Rename { .. } | Self::RenameAt { .. } | Self::Unlink { .. }
        )
    }
}

/// What the server answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Error(u32),
    Ok,
    Qid(Qid),
    Qids(Vec<Qid>),
}

/// The server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    files: Vec<File>,
    pub(super) fids: BTreeMap<u32, Inode>,
}

impl Server {
    pub(super) fn new() -> Self {
        let root = File {
            names: Some(BTreeMap::new()),
            at: None,
        };
        Self {
            files: vec![root],
            fids: BTreeMap::new(),
        }
    }

    fn qid(&self, inode: Inode) -> Qid {
        Qid {
            kind: if self.files[inode].names.is_some() {
                0x80
            } else {
                0
            },
            version: 0,
            path: inode as u64,
        }
    }

    /// Where a file stands; `None` if it was removed.
    pub(super) fn path(&self, inode: Inode) -> Option<String> {
        let mut names = Vec::new();
        let mut at = inode;
        while at != 0 {
            let (parent, name) = self.files[at].at.as_ref()?;
            names.push(name.as_str());
            at = *parent;
        }
        names.reverse();
        Some(format!("/{}", names.join("/")))
    }

    pub(super) fn files(&self) -> std::ops::Range<Inode> {
        0..self.files.len()
    }

    fn fid(&self, fid: u32) -> Result<Inode, u32> {
        self.fids.get(&fid).copied().ok_or(EBADF)
    }

    fn names(&mut self, dir: Inode) -> Result<&mut BTreeMap<String, Inode>, u32> {
        if dir != 0 && self.files[dir].at.is_none() {
            return Err(ENOENT);
        }
        self.files[dir].names.as_mut().ok_or(ENOTDIR)
    }

    fn add(&mut self, dir: Inode, name: &str, is_dir: bool) -> Result<Inode, u32> {
        let inode = self.files.len();
        let names = self.names(dir)?;
        if names.contains_key(name) {
            return Err(EEXIST);
        }
        names.insert(name.to_owned(), inode);
        self.files.push(File {
            names: is_dir.then(BTreeMap::new),
            at: Some((dir, name.to_owned())),
        });
        Ok(inode)
    }

    fn remove(&mut self, inode: Inode) -> Result<(), u32> {
        let (dir, name) = self.files[inode].at.clone().ok_or(ENOENT)?;
        if self.files[inode]
            .names
            .as_ref()
            .is_some_and(|names| !names.is_empty())
        {
            return Err(ENOTEMPTY);
        }
        self.names(dir)?.remove(&name);
        self.files[inode].at = None;
        Ok(())
    }

    fn rename(&mut self, inode: Inode, to: Inode, name: &str) -> Result<(), u32> {
        let (dir, old) = self.files[inode].at.clone().ok_or(EBUSY)?;
        let mut above = to;
        while above != 0 {
            if above == inode {
                return Err(EINVAL);
            }
            above = self.files[above].at.as_ref().ok_or(ENOENT)?.0;
        }
        if let Some(there) = self.names(to)?.get(name).copied() {
            if there == inode {
                return Ok(());
            }
            if self.files[there].names.is_some() != self.files[inode].names.is_some() {
                return Err(EEXIST);
            }
            self.remove(there)?;
        }
        self.names(dir)?.remove(&old);
        self.names(to)?.insert(name.to_owned(), inode);
        self.files[inode].at = Some((to, name.to_owned()));
        Ok(())
    }

    fn walk(&self, from: Inode, names: &[String]) -> Result<Vec<Inode>, u32> {
        let mut at = from;
        let mut met = Vec::new();
        for name in names {
            let file = &self.files[at];
            let next = match (name.as_str(), &file.names) {
                ("..", _) if at == 0 => Some(0),
                ("..", Some(_)) => file.at.as_ref().map(|(parent, _)| *parent),
                (name, Some(names)) => names.get(name).copied(),
                _ => None,
            };
            match next {
                Some(next) => {
                    met.push(next);
                    at = next;
                }
                None if met.is_empty() => return Err(ENOENT),
                None => break,
            }
        }
        Ok(met)
    }

    /// Does what is asked.
    pub(super) fn serve(&mut self, ask: &Ask) -> Answer {
        self.try_serve(ask).unwrap_or_else(Answer::Error)
    }

    fn try_serve(&mut self, ask: &Ask) -> Result<Answer, u32> {
        Ok(match ask {
            Ask::Version => {
                self.fids.clear();
                Answer::Ok
            }
            Ask::Attach { fid, .. } => {
                self.free(*fid)?;
                self.fids.insert(*fid, 0);
                Answer::Qid(self.qid(0))
            }
            Ask::Walk { fid, newfid, names } => {
                let from = self.fid(*fid)?;
                if fid != newfid {
                    self.free(*newfid)?;
                }
                let met = self.walk(from, names)?;
                if met.len() == names.len() {
                    self.fids
                        .insert(*newfid, met.last().copied().unwrap_or(from));
                }
                Answer::Qids(met.into_iter().map(|inode| self.qid(inode)).collect())
            }
            Ask::Create { fid, name } => {
                let dir = self.fid(*fid)?;
                let inode = match self.names(dir)?.get(name).copied() {
                    Some(there) if self.files[there].names.is_some() => return Err(EEXIST),
                    Some(there) => there,
                    None => self.add(dir, name, false)?,
                };
                self.fids.insert(*fid, inode);
                Answer::Qid(self.qid(inode))
            }
            Ask::Mkdir { fid, name } => {
                let dir = self.fid(*fid)?;
                let inode = self.add(dir, name, true)?;
                Answer::Qid(self.qid(inode))
            }
            Ask::Rename { fid, dir, name } => {
                let (inode, dir) = (self.fid(*fid)?, self.fid(*dir)?);
                self.rename(inode, dir, name)?;
                Answer::Ok
            }
            Ask::RenameAt { from, old, to, new } => {
                let (from, to) = (self.fid(*from)?, self.fid(*to)?);
                let inode = self.names(from)?.get(old).copied().ok_or(ENOENT)?;
                self.rename(inode, to, new)?;
                Answer::Ok
            }
            Ask::Unlink { fid, name } => {
                let dir = self.fid(*fid)?;
                let inode = self.names(dir)?.get(name).copied().ok_or(ENOENT)?;
                self.remove(inode)?;
                Answer::Ok
            }
            Ask::Remove { fid } => {
                // The fid goes, whether or not the file does.
                let inode = self.fids.remove(fid).ok_or(EBADF)?;
                self.remove(inode)?;
                Answer::Ok
            }
            Ask::Clunk { fid } => {
                self.fids.remove(fid).ok_or(EBADF)?;
                Answer::Ok
            }
            Ask::Getattr { fid } => Answer::Qid(self.qid(self.fid(*fid)?)),
            Ask::Flush { .. } => Answer::Ok,
        })
    }

    fn free(&self, fid: u32) -> Result<(), u32> {
        match self.fids.contains_key(&fid) {
            true => Err(EBUSY),
            false => Ok(()),
        }
    }
}
