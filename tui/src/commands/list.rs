//! `virtscope list`.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde_json::json;
use virtscope_analyzer::{device_type, sanitize};
use virtscope_tracer::walk::{Device, Inspection, SYSFS, compare, shown};

use super::kernel::{Kernel, queue_name};
use super::{OUTPUT_FAILED, Outcome, complain};
use crate::cli::ListArgs;
use crate::json;
use crate::virtio;

/// Lists devices and queues.
pub(crate) fn list(args: &ListArgs) -> anyhow::Result<Outcome> {
    let kernel = match Kernel::open(args.from.as_deref()) {
        Ok(kernel) => kernel,
        Err(error) if args.from.is_none() => return list_sysfs(args, error),
        Err(error) => return Err(error),
    };
    let walk = kernel.walk();
    let devices = walk.devices()?;
    let mut rows = Vec::new();
    for device in devices {
        let rings = device.queues.iter().map(|queue| walk.inspect(queue));
        // A device that has gone meanwhile has no rings left; it was there.
        let rings = rings.collect::<Result<Vec<_>, _>>().unwrap_or_default();
        rows.push((device, rings));
    }
    print(args, &rows, true)?;
    let mut outcome = Outcome::Clean;
    if kernel.is_running() {
        let devices: Vec<Device> = rows.into_iter().map(|(device, _)| device).collect();
        // Without sysfs there is nothing to compare with.
        for difference in compare(&devices, Path::new(SYSFS)).unwrap_or_default() {
            complain(&format!(
                "{}: {}; it may have changed meanwhile: list again",
                difference.device, difference.what
            ));
            outcome = Outcome::Failed;
        }
    }
    Ok(outcome)
}

/// Lists the devices that sysfs has, where `why` keeps us from the kernel's memory. Their
/// queues stand nowhere else.
fn list_sysfs(args: &ListArgs, why: anyhow::Error) -> anyhow::Result<Outcome> {
    let Ok(devices) = shown(Path::new(SYSFS)) else {
        return Err(why);
    };
    let rows: Vec<Row> = devices
        .into_iter()
        .map(|device| (device, Vec::new()))
        .collect();
    print(args, &rows, false)?;
    complain(&format!("the queues cannot be listed: {why:#}"));
    Ok(Outcome::Failed)
}

fn print(args: &ListArgs, rows: &[Row], with_queues: bool) -> anyhow::Result<()> {
    let text = match args.json {
        true => json(rows)?,
        false => text(rows, with_queues),
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context(OUTPUT_FAILED)
}

type Row = (Device, Vec<Inspection>);

fn json(rows: &[Row]) -> anyhow::Result<String> {
    let devices: Vec<_> = rows
        .iter()
        .map(|(device, rings)| {
            let mut value = serde_json::to_value(device)?;
            value["type_name"] = device_type(device.device_type).into();
            value["feature_names"] = features(device).into();
            for (queue, ring) in rings.iter().enumerate() {
                value["queues"][queue]["in_flight"] = ring.in_flight.len().into();
                value["queues"][queue]["broken"] = ring.broken.into();
            }
            Ok(value)
        })
        .collect::<Result<_, serde_json::Error>>()
        .context("the list as JSON")?;
    let whole = json!({ "version": 1, "devices": serde_json::Value::Array(devices) });
    json::to_text(&whole).context("the list as JSON")
}

fn features(device: &Device) -> Vec<String> {
    virtio::features(device.device_type, device.features, device.more_features)
}

fn text(rows: &[Row], with_queues: bool) -> String {
    if rows.is_empty() {
        return "this kernel has no virtio device\n".to_owned();
    }
    let mut text = String::new();
    for (device, rings) in rows {
        // Writing to a string cannot fail.
        let _ = write_device(&mut text, device);
        if with_queues {
            let _ = write_queues(&mut text, device, rings);
        }
        text.push('\n');
    }
    text
}

fn write_device(text: &mut String, device: &Device) -> std::fmt::Result {
    let or_none = |name: &Option<String>| match name {
        Some(name) => sanitize(name).into_owned(),
        None => "none".to_owned(),
    };
    writeln!(
        text,
        "{}  {}, driver {}, on {}",
        device.name,
        device_type(device.device_type),
        or_none(&device.driver),
        or_none(&device.parent),
    )?;
    for line in wrapped(&features(device), 90) {
        writeln!(text, "    {line}")?;
    }
    Ok(())
}

fn write_queues(text: &mut String, device: &Device, rings: &[Inspection]) -> std::fmt::Result {
    if device.queues.is_empty() {
        return writeln!(text, "    no queues: no driver has set any up");
    }
    writeln!(
        text,
        "    {:<16} {:>5}  {:<15}  {:<11}  {:<8}  {:>9}",
        "QUEUE", "SIZE", "LAYOUT", "SUPPRESSION", "INDIRECT", "IN FLIGHT"
    )?;
    for queue in &device.queues {
        let ring = rings.iter().find(|ring| ring.queue.index == queue.index);
        let in_flight = ring.map_or("?".to_owned(), |ring| match ring.broken {
            true => format!("{} broken", ring.in_flight.len()),
            false => ring.in_flight.len().to_string(),
        });
        writeln!(
            text,
            "    {:<16} {:>5}  {:<15}  {:<11}  {:<8}  {:>9}",
            format!("{} {}", queue.index, queue_name(queue)),
            queue.size,
            queue.layout,
            if queue.event_idx {
                "event index"
            } else {
                "flags"
            },
            if queue.indirect { "yes" } else { "no" },
            in_flight,
        )?;
    }
    Ok(())
}

/// Words in lines of at most `width` characters.
fn wrapped(words: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}
