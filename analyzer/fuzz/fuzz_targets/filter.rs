//! No text is too strange for a filter, and what compiles can be asked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use virtscope_analyzer::{Analyzer, Filter, Options};
use virtscope_record::{Add, Body, Common, Record, Timestamp};

fuzz_target!(|text: &str| {
    if let Ok(filter) = Filter::compile(text) {
        let mut analyzer = Analyzer::new(Options::default());
        let add = Body::Add(Add::default());
        analyzer.push(&Record::new(Common::default(), add), b"");
        for life in analyzer.in_flight() {
            filter.judge(&life, Timestamp::default());
        }
    }
});
