//! `virtscope inspect`.

use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, Write};

use anyhow::{Context, bail};
use serde_json::json;
use virtscope_analyzer::{device_type, sanitize};
use virtscope_captures::create_file;
use virtscope_tracer::walk::{
    Area, Device, EventSuppression, InFlight, Inspection, PackedRing, Ring, SplitRing, Stability,
    Whereabouts,
};

use super::kernel::{Kernel, Wanted, queue_name};
use super::{OUTPUT_FAILED, Outcome, complain};
use crate::cli::InspectArgs;
use crate::json;

/// Buffers in flight that are shown unless all are wanted.
const SHOWN: usize = 16;

/// Shows rings as they are now.
pub(crate) fn inspect(args: &InspectArgs) -> anyhow::Result<Outcome> {
    let kernel = Kernel::open(args.from.as_deref())?;
    let wanted = Wanted {
        device: args.device.as_deref(),
        queue: args.queue.as_deref(),
    };
    let walk = kernel.walk();
    let devices = wanted.choose(walk.devices()?)?;
    let mut rings = Vec::new();
    let mut outcome = Outcome::Clean;
    for device in &devices {
        for queue in &device.queues {
            match walk.inspect(queue) {
                Ok(ring) => rings.push((device, ring)),
                Err(error) => {
                    complain(&format!("{}/{}: {error}", device.name, queue_name(queue)));
                    outcome = Outcome::Failed;
                }
            }
        }
    }
    if rings.is_empty() && outcome == Outcome::Clean {
        bail!("there is no virtqueue: virtscope list shows the devices");
    }
    let text = match args.json {
        true => json(&rings)?,
        false => text(&rings, args.all),
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context(OUTPUT_FAILED)?;
    if let Some(path) = &args.save {
        let mut file = BufWriter::new(create_file(path)?);
        let written = kernel.into_saved().write(&mut file);
        written
            .and_then(|()| file.flush())
            .with_context(|| format!("cannot write {}", crate::input::name(path)))?;
    }
    Ok(outcome)
}

fn json(rings: &[(&Device, Inspection)]) -> anyhow::Result<String> {
    let all: Vec<_> = rings
        .iter()
        .map(|(device, ring)| {
            let mut value = serde_json::to_value(ring)?;
            value["device"] = json!({
                "name": device.name,
                "driver": device.driver,
                "type": device.device_type,
                "features": device.features,
                "more_features": device.more_features,
            });
            Ok(value)
        })
        .collect::<Result<_, serde_json::Error>>()
        .context("the rings as JSON")?;
    let whole = json!({ "version": 1, "queues": serde_json::Value::Array(all) });
    json::to_text(&whole).context("the rings as JSON")
}

fn text(rings: &[(&Device, Inspection)], all: bool) -> String {
    let mut text = String::new();
    for (device, ring) in rings {
        // Writing to a string cannot fail.
        let _ = write_ring(&mut text, device, ring, all);
    }
    let any = rings.iter().any(|(_, ring)| !ring.in_flight.is_empty());
    if any {
        text += "A ring does not tell since when a buffer is in flight: virtscope trace does, for \
                 those added\nwhile it runs.\n";
    }
    text
}

fn write_ring(text: &mut String, device: &Device, ring: &Inspection, all: bool) -> fmt::Result {
    let queue = &ring.queue;
    let driver = device.driver.as_deref().unwrap_or("none");
    writeln!(
        text,
        "{}/{}  {}, driver {}; queue {}, {} descriptors, {}{}{}",
        device.name,
        queue_name(queue),
        device_type(device.device_type),
        sanitize(driver),
        queue.index,
        queue.size,
        queue.layout,
        if queue.indirect { ", indirect" } else { "" },
        if queue.event_idx { ", event index" } else { "" },
    )?;
    let labels = match queue.layout.is_packed() {
        true => ["descriptor ring", "driver events", "device events"],
        false => ["descriptors", "available ring", "used ring"],
    };
    let areas = [
        queue.areas.descriptors,
        queue.areas.driver,
        queue.areas.device,
    ];
    for (label, area) in labels.into_iter().zip(areas) {
        writeln!(text, "  {label:<16} {}", place(area))?;
    }
    match &ring.ring {
        Ring::Split(split) => write_split(text, split, queue.event_idx)?,
        Ring::Packed(packed) => write_packed(text, packed)?,
    }
    writeln!(
        text,
        "  {:<16} {} free, {} added since the last kick decision{}",
        "driver",
        ring.free,
        ring.added,
        match ring.event_triggered {
            Some(true) => ", interrupted since callbacks were enabled",
            _ => "",
        },
    )?;
    write_notes(text, ring)?;
    write_in_flight(text, ring, all)?;
    writeln!(text)
}

fn place(area: Area) -> String {
    match area.device {
        0 => format!("{:#018x}", area.kernel),
        device => format!("{:#018x}, for the device {device:#x}", area.kernel),
    }
}

fn write_split(text: &mut String, ring: &SplitRing, event_idx: bool) -> fmt::Result {
    let asks = |flags: u16, event: &str, index: u16, what: &str| match (event_idx, flags & 1) {
        (true, _) => format!("{event} {index}, flags {flags}"),
        (false, 0) => format!("flags {flags}: {what} wanted"),
        (false, _) => format!("flags {flags}: no {what} wanted"),
    };
    writeln!(
        text,
        "  {:<16} idx {}{}; {}",
        "available",
        ring.avail_idx,
        match ring.avail_idx == ring.avail_idx_shadow {
            true => String::new(),
            false => format!(", the driver's own copy {}", ring.avail_idx_shadow),
        },
        asks(
            ring.avail_flags,
            "used_event",
            ring.used_event,
            "interrupts"
        ),
    )?;
    writeln!(
        text,
        "  {:<16} idx {}, taken back up to {}; {}",
        "used",
        ring.used_idx,
        ring.last_used_idx,
        asks(ring.used_flags, "avail_event", ring.avail_event, "kicks"),
    )
}

fn write_packed(text: &mut String, ring: &PackedRing) -> fmt::Result {
    writeln!(
        text,
        "  {:<16} next at {}, wrap counter {}; driver wants interrupts {}",
        "available",
        ring.next_avail,
        u8::from(ring.avail_wrap),
        suppression(ring.driver_event),
    )?;
    writeln!(
        text,
        "  {:<16} next at {}, wrap counter {}; device wants kicks {}",
        "used",
        ring.next_used,
        u8::from(ring.used_wrap),
        suppression(ring.device_event),
    )
}

/// virtio 1.4 §2.8.14.
fn suppression(event: EventSuppression) -> String {
    match event.flags {
        0 => "always".to_owned(),
        1 => "never".to_owned(),
        2 => format!("at {}, wrap counter {}", event.offset, u8::from(event.wrap)),
        flags => format!("as flags {flags} say, which mean nothing"),
    }
}

fn write_notes(text: &mut String, ring: &Inspection) -> fmt::Result {
    let mut note = |words: &str| writeln!(text, "  {:<16} {words}", "note");
    if ring.broken {
        note("the driver has given this ring up (broken): nothing moves on it any more")?;
    }
    if ring.stability == Stability::Moving {
        note("it changed each time it was read: its parts may be of different moments")?;
    }
    if ring.stability == Stability::Stable && ring.adds_up == Some(false) {
        note("the buffers in flight and the free descriptors do not add up to its size")?;
    }
    Ok(())
}

fn write_in_flight(text: &mut String, ring: &Inspection, all: bool) -> fmt::Result {
    let buffers = &ring.in_flight;
    if buffers.is_empty() {
        return writeln!(text, "  {:<16} none", "in flight");
    }
    let with = |whereabouts| {
        let there = buffers
            .iter()
            .filter(|each| each.whereabouts == whereabouts);
        there.count()
    };
    let mut parts = Vec::new();
    for (whereabouts, words) in [
        (Whereabouts::Device, "with the device"),
        (Whereabouts::Returned, "returned and not taken back"),
    ] {
        match with(whereabouts) {
            0 => {}
            count => parts.push(format!("{count} {words}")),
        }
    }
    writeln!(
        text,
        "  {:<16} {}: {}",
        "in flight",
        buffers.len(),
        parts.join(", ")
    )?;
    let head = match ring.queue.layout.is_packed() {
        true => "ID",
        false => "HEAD",
    };
    writeln!(
        text,
        "    {head:>5}  {:<18}  {:<8}  {:>11}  {:>8}  {:>9}  {:>9}",
        "TOKEN", "WHERE", "DESCRIPTORS", "INDIRECT", "READABLE", "WRITABLE"
    )?;
    let shown = if all { buffers.len() } else { SHOWN };
    for buffer in buffers.iter().take(shown) {
        write_buffer(text, buffer)?;
    }
    match buffers.len().saturating_sub(shown) {
        0 => Ok(()),
        more => writeln!(text, "    and {more} more: --all shows them"),
    }
}

fn write_buffer(text: &mut String, buffer: &InFlight) -> fmt::Result {
    fn or_unknown(number: Option<impl ToString>) -> String {
        number.map_or("unknown".to_owned(), |number| number.to_string())
    }
    writeln!(
        text,
        "    {:>5}  {:#018x}  {:<8}  {:>11}  {:>8}  {:>9}  {:>9}",
        buffer.head,
        buffer.token,
        match buffer.whereabouts {
            Whereabouts::Device => "device",
            Whereabouts::Returned => "returned",
        },
        or_unknown(buffer.descriptors),
        buffer
            .indirect
            .map_or("-".to_owned(), |entries| entries.to_string()),
        or_unknown(buffer.readable),
        or_unknown(buffer.writable),
    )
}
