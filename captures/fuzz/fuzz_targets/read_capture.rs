//! Any bytes are read to an end or an error, and whatever records they hold add
//! up and can be written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use virtscope_captures::{
    CaptureInfo, CaptureReader, CaptureWriter, ClockOffset, Item, Ledger, Selection,
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = CaptureReader::new(bytes) else {
        return;
    };
    let mut ledger = Ledger::new(Selection::WHOLE);
    let info = CaptureInfo::new(64, ClockOffset::default());
    let mut writer = CaptureWriter::new(std::io::sink(), info).expect("a sink takes everything");
    let mut records = 0;
    loop {
        match reader.next_item() {
            Ok(Item::Record(packet)) => {
                records += 1;
                ledger.observe(&packet.record);
                // A queue that was not declared is refused, and that is all.
                let _ = writer.write(&packet.record, packet.payload);
            }
            Ok(Item::End(_)) | Err(_) => break,
            Ok(_) => {}
        }
        let totals = ledger.totals();
        assert_eq!(
            totals.emitted,
            totals.stored + totals.lost + totals.filtered
        );
    }
    let stored = ledger.totals().stored + ledger.inconsistencies().duplicates;
    assert_eq!(stored, records);
    writer.finish().expect("a sink takes everything");
});
