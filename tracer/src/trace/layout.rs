//! The running kernel's structs, as the programs need to know them.

use virtscope_tracer_shared::{
    Config, MAX_DRIVER_NAME, MAX_FILTERED_DEVICES, MAX_FILTERED_QUEUES, SNAPLEN_LIMIT, WINDOW,
};

use super::error::TraceError;
use super::hooks::{Operation, Plan};
use super::options::TraceOptions;
use crate::btf::KernelBtf;
use crate::kallsyms::Symbols;

const VRING: &str = "vring_virtqueue";

/// The settings for this kernel and these options.
///
/// # Errors
/// What this kernel lacks, or has otherwise, by name.
pub(super) fn config(
    btf: &KernelBtf,
    symbols: &Symbols,
    options: &TraceOptions,
) -> Result<Config, TraceError> {
    let mut config = Config {
        vq_vdev: btf.offset("virtqueue", "vdev")?,
        vq_name: btf.offset("virtqueue", "name")?,
        vq_index: btf.offset("virtqueue", "index")?,
        vring_notify: btf
            .find_member(VRING, "notify")?
            .map_or(0, |member| member.offset),
        vdev_index: btf.offset("virtio_device", "index")?,
        vdev_type: btf.offset("virtio_device", "id.device")?,
        vdev_features: btf.offset("virtio_device", "features")?,
        vdev_driver: btf.offset("virtio_device", "dev.driver")?,
        driver_name: btf.offset("device_driver", "name")?,
        split_state_size: btf.size_of("vring_desc_state_split")?,
        split_state_data: btf.offset("vring_desc_state_split", "data")?,
        packed_state_size: btf.size_of("vring_desc_state_packed")?,
        packed_state_data: btf.offset("vring_desc_state_packed", "data")?,
        packed_state_num: btf.offset("vring_desc_state_packed", "num")?,
        ..Config::default()
    };
    ring(btf, &mut config)?;
    memory(btf, symbols, &mut config)?;
    context(btf, symbols, &mut config)?;
    let hooked = Plan::functions(Operation::Notify);
    for (slot, function) in config.notify.iter_mut().zip(hooked) {
        *slot = symbols.address_or_zero(function);
    }
    choices(options, &mut config);
    Ok(config)
}

/// Members of `struct vring_virtqueue`, which the programs read in one piece.
fn ring(btf: &KernelBtf, config: &mut Config) -> Result<(), TraceError> {
    config.window = btf.offset(VRING, "vq.num_free")? & !7;
    let window = config.window;
    let at = |member: &str| -> Result<u32, TraceError> {
        let found = btf.member(VRING, member)?;
        let start = found.offset.wrapping_sub(window);
        let fits = start as usize + found.size as usize <= WINDOW;
        if fits && start.is_multiple_of(found.size.clamp(1, 8)) {
            Ok(start)
        } else {
            Err(TraceError::Layout {
                name: VRING,
                problem: format!("has `{member}` at byte {}", found.offset),
            })
        }
    };
    config.window_num_free = at("vq.num_free")?;
    config.window_event = at("event")?;
    config.window_broken = at("broken")?;
    config.window_free_head = at("free_head")?;
    config.window_num_added = at("num_added")?;
    config.window_last_used_idx = at("last_used_idx")?;
    config.window_split_num = at("split.vring.num")?;
    config.window_split_avail = at("split.vring.avail")?;
    config.window_split_used = at("split.vring.used")?;
    config.window_split_flags = at("split.avail_flags_shadow")?;
    config.window_split_idx = at("split.avail_idx_shadow")?;
    config.window_split_state = at("split.desc_state")?;
    config.window_packed_num = at("packed.vring.num")?;
    config.window_packed_desc = at("packed.vring.desc")?;
    config.window_packed_driver = at("packed.vring.driver")?;
    config.window_packed_device = at("packed.vring.device")?;
    config.window_packed_wrap = at("packed.avail_wrap_counter")?;
    config.window_packed_next = at("packed.next_avail_idx")?;
    config.window_packed_flags = at("packed.event_flags_shadow")?;
    config.window_packed_state = at("packed.desc_state")?;
    if btf.find_member(VRING, "layout")?.is_some() {
        layouts(btf)?;
        config.layout_is_enum = 1;
        config.window_layout = at("layout")?;
        config.window_batch_id = at("batch_last.id")?;
        config.window_batch_len = at("batch_last.len")?;
        config.split_state_total = btf.offset("vring_desc_state_split", "total_in_len")?;
        config.packed_state_total = btf.offset("vring_desc_state_packed", "total_in_len")?;
    } else {
        config.window_layout = at("packed_ring")?;
    }
    Ok(())
}

/// The layouts must be numbered as the programs know them.
fn layouts(btf: &KernelBtf) -> Result<(), TraceError> {
    let known = [
        ("VQ_LAYOUT_SPLIT", 0),
        ("VQ_LAYOUT_PACKED", 1),
        ("VQ_LAYOUT_SPLIT_IN_ORDER", 2),
        ("VQ_LAYOUT_PACKED_IN_ORDER", 3),
    ];
    for (name, number) in known {
        match btf.enum_value("vq_layout", name) {
            Some(found) if found == number => {}
            found => {
                return Err(TraceError::Layout {
                    name: "vq_layout",
                    problem: match found {
                        Some(found) => format!("has `{name}` as {found}"),
                        None => format!("lacks `{name}`"),
                    },
                });
            }
        }
    }
    Ok(())
}

/// How a scatter list leads to bytes.
fn memory(btf: &KernelBtf, symbols: &Symbols, config: &mut Config) -> Result<(), TraceError> {
    for (member, place) in [("page_link", 0), ("offset", 8), ("length", 12)] {
        let found = btf.offset("scatterlist", member)?;
        if found != place {
            return Err(TraceError::Layout {
                name: "scatterlist",
                problem: format!("has `{member}` at byte {found}"),
            });
        }
    }
    config.sg_size = btf.size_of("scatterlist")?;
    let page = btf.size_of("page")?;
    // Where pages are in memory is known for x86-64 alone; elsewhere payload is said to
    // be unavailable.
    if cfg!(target_arch = "x86_64") && page.is_power_of_two() {
        config.page_shift = page.trailing_zeros();
        config.vmemmap_base = symbols.address_or_zero("vmemmap_base");
        config.page_offset_base = symbols.address_or_zero("page_offset_base");
    }
    Ok(())
}

/// Where the preemption counter is: a variable of its own, or in `pcpu_hot`.
fn context(btf: &KernelBtf, symbols: &Symbols, config: &mut Config) -> Result<(), TraceError> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(());
    }
    let offset = match symbols.offset("__preempt_count") {
        Some(offset) => Some(offset),
        None => match symbols.offset("pcpu_hot") {
            Some(hot) => {
                let member = btf.find_member("pcpu_hot", "preempt_count")?;
                member.map(|member| hot + u64::from(member.offset))
            }
            None => None,
        },
    };
    if let (table @ 1.., Some(offset)) = (symbols.address_or_zero("__per_cpu_offset"), offset) {
        config.per_cpu_offset = table;
        config.preempt_count = offset;
    }
    Ok(())
}

fn choices(options: &TraceOptions, config: &mut Config) {
    config.snaplen = options.snaplen.min(SNAPLEN_LIMIT);
    config.whole = u32::from(options.is_whole());
    config.payload = options.payload as u32;
    config.sample = options.sample;
    config.task = options.task.unwrap_or(0);
    let devices = options.devices.iter().take(MAX_FILTERED_DEVICES);
    for (slot, device) in config.devices.iter_mut().zip(devices) {
        *slot = u32::from(*device);
        config.device_count += 1;
    }
    let queues = options.queues.iter().take(MAX_FILTERED_QUEUES);
    for (slot, queue) in config.queues.iter_mut().zip(queues) {
        *slot = queue.to_raw();
        config.queue_count += 1;
    }
    if let Some(driver) = &options.driver {
        let bytes = driver.bytes().take(MAX_DRIVER_NAME - 1);
        for (slot, byte) in config.driver.iter_mut().zip(bytes) {
            *slot = byte;
        }
    }
}
