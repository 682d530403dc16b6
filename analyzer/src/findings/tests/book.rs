//! The book's page on findings says what the code says, and of every finding.

use crate::findings::nine::{errors, fid_leak, flush_storm, metadata_storm, msize, small_reads};
use crate::findings::{
    FindingCode as C, chain_too_long, head_of_line_blocking, interrupt_storm,
    kicks_without_batching, latency_outliers, lost_interrupt, lost_kick, ring_full,
    spurious_interrupts, stuck_request, unbalanced_queues,
};
use crate::format_duration;

const PAGE: &str = include_str!("../../../../docs/findings.md");

/// The sections by finding's name, each on one line.
fn sections() -> Vec<(&'static str, String)> {
    let sections = PAGE.split("\n## `").skip(1);
    sections
        .map(|section| {
            let (name, text) = section.split_once('`').unwrap();
            let words: Vec<_> = text.split_whitespace().collect();
            (name, words.join(" "))
        })
        .collect()
}

#[test]
fn every_finding_has_its_section_in_the_order_of_the_codes() {
    let names: Vec<_> = sections().into_iter().map(|(name, _)| name).collect();
    let codes: Vec<_> = C::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names, codes);
}

#[test]
fn each_section_says_what_the_code_says() {
    for (name, text) in sections() {
        let about = C::from_name(name).unwrap().about();
        let severity = format!("*{}*", about.severity.name());
        for wanted in [about.sentence, about.spec, about.advice, &severity] {
            assert!(text.contains(wanted), "{name}: {wanted}");
        }
        for part in ["**Proof.**", "**What can fool it.**", "**What to try.**"] {
            assert!(text.contains(part), "{name}: {part}");
        }
    }
}

#[test]
fn thresholds_are_those_of_the_code() {
    let thresholds = [
        (C::LostKick, "LOST_KICK_NS", lost_kick::LOST_KICK_NS),
        (
            C::LostInterrupt,
            "LOST_INTERRUPT_NS",
            lost_interrupt::LOST_INTERRUPT_NS,
        ),
        (C::DeviceNotConsuming, "STUCK_NS", stuck_request::STUCK_NS),
        (C::StuckRequest, "STUCK_NS", stuck_request::STUCK_NS),
        (C::RingFull, "LONG_WAIT_NS", ring_full::LONG_WAIT_NS),
        (C::RingFull, "WAITING_PERCENT", ring_full::WAITING_PERCENT),
        (C::ChainTooLong, "LEAST_LONG", chain_too_long::LEAST_LONG),
        (
            C::ChainTooLong,
            "LONG_PERCENT",
            chain_too_long::LONG_PERCENT,
        ),
        (
            C::HeadOfLineBlocking,
            "LEAST_TIMES",
            head_of_line_blocking::LEAST_TIMES,
        ),
        (
            C::HeadOfLineBlocking,
            "SLOW_NS",
            head_of_line_blocking::SLOW_NS,
        ),
        (
            C::HeadOfLineBlocking,
            "LEAST_FOLLOWERS",
            head_of_line_blocking::LEAST_FOLLOWERS,
        ),
        (
            C::HeadOfLineBlocking,
            "BLOCKED_PERCENT",
            head_of_line_blocking::BLOCKED_PERCENT,
        ),
        (
            C::LatencyOutliers,
            "OUTLIER_NS",
            latency_outliers::OUTLIER_NS,
        ),
        (
            C::LatencyOutliers,
            "OUTLIER_TIMES",
            latency_outliers::OUTLIER_TIMES,
        ),
        (
            C::LatencyOutliers,
            "LEAST_OF_KIND",
            latency_outliers::LEAST_OF_KIND,
        ),
        (
            C::InterruptStorm,
            "STORM_CALLBACKS",
            interrupt_storm::STORM_CALLBACKS,
        ),
        (
            C::InterruptStorm,
            "STORM_RATIO",
            interrupt_storm::STORM_RATIO,
        ),
        (C::NineErrors, "ERROR_PERCENT", errors::ERROR_PERCENT),
        (
            C::NineFlushStorm,
            "STORM_FLUSHES",
            flush_storm::STORM_FLUSHES,
        ),
        (
            C::NineFlushStorm,
            "STORM_PERCENT",
            flush_storm::STORM_PERCENT,
        ),
        (C::NineMsize, "LEAST_FULL", msize::LEAST_FULL),
        (C::NineMsize, "FULL_PERCENT", msize::FULL_PERCENT),
        (C::NineFidLeak, "MANY_FIDS", fid_leak::MANY_FIDS),
        (C::NineFidLeak, "KEPT_PERCENT", fid_leak::KEPT_PERCENT),
        (
            C::SpuriousInterrupts,
            "LEAST_SPURIOUS",
            spurious_interrupts::LEAST_SPURIOUS,
        ),
        (
            C::SpuriousInterrupts,
            "SPURIOUS_PERCENT",
            spurious_interrupts::SPURIOUS_PERCENT,
        ),
        (
            C::KicksWithoutBatching,
            "LEAST_KICKS",
            kicks_without_batching::LEAST_KICKS,
        ),
        (
            C::KicksWithoutBatching,
            "KICKS_PERCENT",
            kicks_without_batching::KICKS_PERCENT,
        ),
        (
            C::KicksWithoutBatching,
            "CLOSE_NS",
            kicks_without_batching::CLOSE_NS,
        ),
        (
            C::UnbalancedQueues,
            "SHARE_PERCENT",
            unbalanced_queues::SHARE_PERCENT,
        ),
        (
            C::UnbalancedQueues,
            "LEAST_REQUESTS",
            unbalanced_queues::LEAST_REQUESTS,
        ),
        (
            C::NineMetadataStorm,
            "STORM_LOOKUPS",
            metadata_storm::STORM_LOOKUPS,
        ),
        (
            C::NineMetadataStorm,
            "STORM_PERCENT",
            metadata_storm::STORM_PERCENT,
        ),
        (C::NineSmallReads, "LEAST_SMALL", small_reads::LEAST_SMALL),
        (
            C::NineSmallReads,
            "SMALL_PERCENT",
            small_reads::SMALL_PERCENT,
        ),
        (
            C::NineSmallReads,
            "SMALL_PART",
            small_reads::SMALL_PART.into(),
        ),
    ];
    let sections = sections();
    for (code, name, value) in thresholds {
        let value = match name {
            _ if name.ends_with("_NS") => format_duration(value),
            _ if name.ends_with("_PERCENT") => format!("{value} %"),
            _ => value.to_string(),
        };
        let (_, text) = sections.iter().find(|(of, _)| *of == code.name()).unwrap();
        let wanted = format!("`{name}` {value}");
        assert!(text.contains(&wanted), "{code}: {wanted}");
    }
    // And none is named that is not checked here.
    let named = PAGE.matches("_NS`").count()
        + PAGE.matches("_PERCENT`").count()
        + sections
            .iter()
            .map(|(_, text)| text.matches("(`LEAST_").count())
            .sum::<usize>();
    assert!(
        named <= thresholds.len(),
        "{named} thresholds are named in the book"
    );
}
