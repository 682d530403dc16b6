//! What the running kernel's structs look like: BTF, the BPF type format.
//!
//! Struct offsets differ from kernel to kernel, so none is written down here: all come
//! from the kernel that runs, by name, and a name that is not there is an error that says
//! which ([`BtfError`]), never a wrong number.
//!
//! ```no_run
//! # fn main() -> Result<(), virtscope_tracer::btf::BtfError> {
//! let btf = virtscope_tracer::btf::KernelBtf::running()?;
//! let free = btf.offset("virtqueue", "num_free")?;
//! let size = btf.offset("vring_virtqueue", "split.vring.num")?;
//! let has_layout = btf.find_member("vring_virtqueue", "layout")?.is_some();
//! let add = btf.function("virtqueue_add_sgs"); // Some(Home::Vmlinux), say
//! # Ok(())
//! # }
//! ```
//!
//! The crates that read BTF are under a licence that a program linked statically cannot
//! meet simply, or keep looking up members to themselves; hence a reader of its own.

mod error;
mod index;
mod kernel;
mod query;
mod raw;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "fixtures"))]
pub mod writer;

pub use error::{BtfError, Malformed};
pub use kernel::{Home, KernelBtf};
pub use query::Member;
pub use raw::{Btf, Kind, RawMember, Type, TypeId};
