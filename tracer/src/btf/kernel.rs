//! The type information of one kernel: vmlinux and its modules.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use super::error::BtfError;
use super::index;
use super::query::{Member, Obstacle};
use super::raw::{Btf, Kind, TypeId};

/// Where the running kernel shows its type information.
const SYSFS: &str = "/sys/kernel/btf";
const VMLINUX: &str = "vmlinux";

/// Where something of the kernel is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Home {
    /// In the kernel itself.
    Vmlinux,
    /// In a module of that name.
    Module(String),
}

impl std::fmt::Display for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vmlinux => f.pad(VMLINUX),
            Self::Module(name) => f.pad(name),
        }
    }
}

/// The type information of a kernel and of those of its modules that have to do with
/// virtio.
///
/// Everything is looked up in vmlinux first, then in `virtio_ring` and `virtio`, which
/// some distributions build as modules, then in the others by name.
#[derive(Debug)]
pub struct KernelBtf {
    release: String,
    vmlinux: Arc<Btf>,
    modules: BTreeMap<String, Btf>,
}

impl KernelBtf {
    /// That of the running kernel. No privileges are needed.
    ///
    /// # Errors
    /// [`BtfError::Missing`] if the kernel has none; else what is wrong with it.
    pub fn running() -> Result<Self, BtfError> {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy().into_owned();
        Self::open(Path::new(SYSFS), release)
    }

    /// What stands in `directory`, laid out like `/sys/kernel/btf`, of the kernel
    /// `release`.
    ///
    /// # Errors
    /// [`BtfError::Missing`] if there is no `vmlinux`; else what is wrong with it.
    pub fn open(directory: &Path, release: String) -> Result<Self, BtfError> {
        let path = directory.join(VMLINUX);
        let bytes = fs::read(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => BtfError::Missing {
                kernel: release.clone(),
                path: path.clone(),
            },
            _ => unreadable(&path, source),
        })?;
        let mut kernel = Self::of(bytes, release)?;
        for entry in fs::read_dir(directory).map_err(|source| unreadable(directory, source))? {
            let entry = entry.map_err(|source| unreadable(directory, source))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !concerns_virtio(&name) {
                continue;
            }
            match fs::read(entry.path()) {
                Ok(bytes) => kernel.add_module(&name, bytes)?,
                // A module that has been unloaded meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(&entry.path(), error)),
            }
        }
        Ok(kernel)
    }

    /// That of a kernel without modules, from the bytes of its `vmlinux`.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn of(vmlinux: Vec<u8>, release: String) -> Result<Self, BtfError> {
        let btf = Btf::parse(vmlinux).map_err(|problem| BtfError::Malformed {
            of: format!("{VMLINUX} of kernel {release}"),
            problem,
        })?;
        Ok(Self {
            release,
            vmlinux: Arc::new(btf),
            modules: BTreeMap::new(),
        })
    }

    /// Adds that of a module.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn add_module(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), BtfError> {
        let btf = Btf::parse_module(bytes, Arc::clone(&self.vmlinux)).map_err(|problem| {
            BtfError::Malformed {
                of: format!("the module {name} of kernel {}", self.release),
                problem,
            }
        })?;
        self.modules.insert(name.to_owned(), btf);
        Ok(())
    }

    /// The kernel's release, as `uname -r` has it.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The modules whose type information was read, in the order of their names.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }

    /// Where a member is in its struct, in bytes: `offset("vring_virtqueue",
    /// "split.vring.num")`. Anonymous structs and unions are looked through.
    ///
    /// # Errors
    /// [`BtfError::NoStruct`] and [`BtfError::NoMember`], which name what is missing and
    /// the kernel.
    pub fn offset(&self, name: &str, member: &str) -> Result<u32, BtfError> {
        Ok(self.member(name, member)?.offset)
    }

    /// Where a member is and how long it is; see [`offset`](Self::offset).
    ///
    /// # Errors
    /// As for [`offset`](Self::offset).
    pub fn member(&self, name: &str, member: &str) -> Result<Member, BtfError> {
        match self.find_member(name, member)? {
            Some(found) => Ok(found),
            None => Err(BtfError::NoMember {
                kernel: self.release.clone(),
                name: name.to_owned(),
                member: member.to_owned(),
            }),
        }
    }

    /// Where a member is, or `None` where this kernel's struct has none of that name.
    ///
    /// # Errors
    /// [`BtfError::NoStruct`] if not even the struct is there; others as for
    /// [`offset`](Self::offset).
    pub fn find_member(&self, name: &str, member: &str) -> Result<Option<Member>, BtfError> {
        let (btf, ids) = self.composites(name)?;
        let mut found: Option<Option<Member>> = None;
        for id in ids {
            let this = match btf.member(id, member) {
                Ok(this) => Some(this),
                Err(Obstacle::Absent) => None,
                Err(Obstacle::BitField) => {
                    return Err(BtfError::Unexpected {
                        kernel: self.release.clone(),
                        name: name.to_owned(),
                        member: member.to_owned(),
                        found: "a bit field".to_owned(),
                    });
                }
            };
            let place = |member: Option<Member>| member.map(|m| (m.offset, m.size));
            match found {
                Some(earlier) if place(earlier) != place(this) => {
                    return Err(BtfError::Ambiguous {
                        kernel: self.release.clone(),
                        name: name.to_owned(),
                        member: member.to_owned(),
                    });
                }
                Some(_) => {}
                None => found = Some(this),
            }
        }
        Ok(found.flatten())
    }

    /// Bytes of a struct or union.
    ///
    /// # Errors
    /// [`BtfError::NoStruct`] if it is not there, [`BtfError::Ambiguous`] if there are
    /// several of different sizes.
    pub fn size_of(&self, name: &str) -> Result<u32, BtfError> {
        let (btf, ids) = self.composites(name)?;
        let mut sizes = ids.into_iter().filter_map(|id| btf.size(id));
        let first = sizes.next().ok_or_else(|| self.no_struct(name))?;
        if sizes.any(|size| size != first) {
            return Err(BtfError::Ambiguous {
                kernel: self.release.clone(),
                name: name.to_owned(),
                member: "sizeof".to_owned(),
            });
        }
        Ok(first)
    }

    /// The value that an enum gives a name, if it has it.
    pub fn enum_value(&self, name: &str, value: &str) -> Option<i64> {
        self.enum_values(name)?
            .into_iter()
            .find_map(|(found, number)| (found == value).then_some(number))
    }

    /// All names of an enum and their values, if there is one of that name.
    pub fn enum_values(&self, name: &str) -> Option<Vec<(String, i64)>> {
        self.all().find_map(|(_, btf)| {
            let mut enums = btf
                .named(Kind::Enum, name)
                .chain(btf.named(Kind::Enum64, name));
            let (_, found) = enums.next()?;
            let values = btf.values(&found);
            Some(
                values
                    .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value))
                    .collect(),
            )
        })
    }

    /// Where a function is, if the kernel's type information has it. One that was
    /// inlined everywhere is not there.
    pub fn function(&self, name: &str) -> Option<Home> {
        self.home(Kind::Func, name)
    }

    /// The bytes of a BTF in which those functions of `names` that vmlinux has are quickly
    /// found, each with its number in the kernel's own.
    pub(crate) fn index_of_functions(&self, names: &[&str]) -> Vec<u8> {
        index::of_functions(&self.vmlinux, names)
    }

    /// Where a variable is, if the kernel's type information has it. Most kernels tell
    /// of their per-CPU variables only.
    pub fn variable(&self, name: &str) -> Option<Home> {
        self.home(Kind::Var, name)
    }

    /// Where a struct or union is defined, if it is.
    pub fn structure(&self, name: &str) -> Option<Home> {
        self.home(Kind::Struct, name)
            .or_else(|| self.home(Kind::Union, name))
    }

    fn home(&self, kind: Kind, name: &str) -> Option<Home> {
        let mut all = self.all();
        all.find_map(|(home, btf)| btf.named(kind, name).next().map(|_| home))
    }

    /// The structs and unions of that name in the first BTF that has any.
    fn composites(&self, name: &str) -> Result<(&Btf, Vec<TypeId>), BtfError> {
        let found = self.all().find_map(|(_, btf)| {
            let structs = btf.named(Kind::Struct, name);
            let all = structs.chain(btf.named(Kind::Union, name));
            let ids: Vec<_> = all.map(|(id, _)| id).collect();
            (!ids.is_empty()).then_some((btf, ids))
        });
        found.ok_or_else(|| self.no_struct(name))
    }

    fn no_struct(&self, name: &str) -> BtfError {
        BtfError::NoStruct {
            kernel: self.release.clone(),
            name: name.to_owned(),
        }
    }

    fn all(&self) -> impl Iterator<Item = (Home, &Btf)> {
        const FIRST: [&str; 2] = ["virtio_ring", "virtio"];
        let module = |name: &str| Home::Module(name.to_owned());
        let first = FIRST
            .into_iter()
            .filter_map(move |name| Some((module(name), self.modules.get(name)?)));
        let rest = self.modules.iter();
        let rest = rest.filter(|(name, _)| !FIRST.contains(&name.as_str()));
        std::iter::once((Home::Vmlinux, &*self.vmlinux))
            .chain(first)
            .chain(rest.map(move |(name, btf)| (module(name), btf)))
    }
}

/// Modules of virtio and of its drivers; of the others there may be hundreds.
fn concerns_virtio(module: &str) -> bool {
    module.contains("virtio") || module.starts_with("9p") || module == "virtballoon"
}

fn unreadable(path: &Path, source: io::Error) -> BtfError {
    BtfError::Unreadable {
        path: path.to_owned(),
        source,
    }
}
