//! A capture with other payloads.

use std::io::{Read, Write};

use virtscope_record::Record;

use super::source::Source;
use super::{Done, EditError, write};
use crate::{CaptureInfo, CaptureWriter, Origin};

/// What became of a capture whose payloads were rewritten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewritten {
    /// The capture it is now.
    pub done: Done,
}

/// Copies `source` to `out` with every payload as `change` leaves it. Its length
/// can't be changed, and no record is.
///
/// # Errors
/// A capture that cannot be read, an output that cannot be written;
/// [`EditError::Interrupted`] when `stop` says so.
pub fn rewrite<R: Read, W: Write>(
    source: &mut Source<R>,
    out: W,
    origin: Origin,
    change: &mut dyn FnMut(&Record, &mut [u8]),
    stop: &dyn Fn() -> bool,
) -> Result<Rewritten, EditError> {
    let read = |source| EditError::Read { input: 0, source };
    let first = source.next_record().map_err(read)?;
    let info = *source
        .info()
        .unwrap_or(&CaptureInfo::new(0, crate::ClockOffset::default()));
    let mut writer = CaptureWriter::with_origin(out, info, &origin)?;
    let whole = info.selection.is_whole();
    let mut next = first;
    let mut payload = Vec::new();
    while let Some(record) = next {
        if stop() {
            return Err(EditError::Interrupted);
        }
        payload.clear();
        payload.extend_from_slice(source.payload());
        change(&record, &mut payload);
        let queue = record.queue();
        if !whole {
            writer.tell_lost(queue, source.ledger().settled_losses(queue));
        }
        write(&mut writer, &record, &payload, || queue.to_string())?;
        next = source.next_record().map_err(read)?;
    }
    if !whole {
        let queues: Vec<_> = source
            .ledger()
            .per_producer()
            .map(|(queue, _, _)| queue)
            .collect();
        for queue in queues {
            writer.tell_lost(queue, source.ledger().queue_totals(queue).lost);
        }
    }
    if !source.tail_known() {
        writer.tell_tail_unknown();
    }
    writer.tell_programs_skipped(source.programs_skipped());
    let totals = writer.finish()?;
    Ok(Rewritten {
        done: Done { totals, origin },
    })
}
