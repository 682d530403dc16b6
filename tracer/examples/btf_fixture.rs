//! Cuts what the tests need out of a kernel's type information.
//!
//! ```console
//! $ cargo run -p virtscope-tracer --features fixtures --example btf_fixture -- \
//!       /sys/kernel/btf tracer/tests/btf/6.1
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs, io};

use virtscope_tracer::btf::Btf;
use virtscope_tracer::btf::writer::{Wanted, cut};

const STRUCTS: [&str; 20] = [
    "virtqueue",
    "vring_virtqueue",
    "vring_desc_state_split",
    "vring_desc_state_packed",
    "vring_desc_extra",
    "vring_desc",
    "vring_used_elem",
    "vring_packed_desc",
    "vring_packed_desc_event",
    "virtio_device",
    "virtio_driver",
    "virtio_device_id",
    "device_private",
    "device_driver",
    "subsys_private",
    "bus_type",
    "kset",
    "kobject",
    "klist_node",
    "scatterlist",
];
const FUNCTIONS: [&str; 12] = [
    "virtqueue_add_sgs",
    "virtqueue_add_inbuf_ctx",
    "virtqueue_kick",
    "virtqueue_kick_prepare",
    "virtqueue_kick_prepare_split",
    "virtqueue_notify",
    "virtqueue_get_buf",
    "vring_interrupt",
    "detach_buf_split",
    "detach_buf_split_in_order",
    "p9_virtio_request",
    "virtqueue_add_split",
];
const ENUMS: [&str; 1] = ["vq_layout"];
const MODULES: [&str; 3] = ["virtio", "virtio_ring", "9pnet_virtio"];

fn main() -> io::Result<()> {
    let paths: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [from, to] = paths.as_slice() else {
        return Err(io::Error::other("usage: btf_fixture FROM TO"));
    };
    fs::create_dir_all(to)?;
    let wanted = Wanted {
        structs: &STRUCTS,
        enums: &ENUMS,
        functions: &FUNCTIONS,
    };
    let whole = Arc::new(read(from, "vmlinux", Btf::parse)?);
    let base = cut(&whole, None, wanted);
    fs::write(to.join("vmlinux"), &base.bytes)?;
    let small = Arc::new(Btf::parse(base.bytes).map_err(io::Error::other)?);
    for name in MODULES {
        if !from.join(name).exists() {
            continue;
        }
        let module = read(from, name, |bytes| {
            Btf::parse_module(bytes, Arc::clone(&whole))
        })?;
        let ids: HashMap<_, _> = base.ids.clone();
        let module = cut(&module, Some((&small, &ids)), wanted);
        fs::write(to.join(name), module.bytes)?;
    }
    Ok(())
}

fn read<E: std::error::Error + Send + Sync + 'static>(
    from: &Path,
    name: &str,
    parse: impl FnOnce(Vec<u8>) -> Result<Btf, E>,
) -> io::Result<Btf> {
    parse(fs::read(from.join(name))?).map_err(io::Error::other)
}
