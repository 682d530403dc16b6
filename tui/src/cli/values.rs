//! Values as people write them.

use std::time::Duration;

use virtscope_captures::WIRESHARK_SNAPLEN;

/// Bytes of payload a record carries unless told otherwise: enough for every 9P
/// message's fields, little of a file's content.
pub(super) const DEFAULT_SNAPLEN: u32 = 256;

/// A time like `10s`, `500ms`, `1m30s`, or bare seconds like `10` or `2.5`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let help = || format!("`{text}` is no time: write it like 10s, 500ms or 2m");
    let time = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| help())?,
        Err(_) => humantime::parse_duration(text).map_err(|_| help())?,
    };
    if time.is_zero() {
        return Err("it must be longer than nothing".to_owned());
    }
    Ok(time)
}

/// A number of bytes like `4096`, `64K`, `10M`, `1G`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let help = || format!("`{text}` is no size: write it like 4096, 64K, 10M or 1G");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(help()),
    };
    let number: u64 = digits.parse().map_err(|_| help())?;
    number
        .checked_mul(1 << shift)
        .filter(|size| *size > 0)
        .ok_or_else(help)
}

pub(super) fn snaplen(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(bytes) if bytes <= WIRESHARK_SNAPLEN => Ok(bytes),
        _ => Err(format!("it must be a number up to {WIRESHARK_SNAPLEN}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "0", "0s", "-1", "ten", "1e400"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("64K"), Ok(65536));
        assert_eq!(size("2G"), Ok(2 << 30));
        for bad in ["", "K", "0", "-1", "1.5M", "10MiB", "99999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(snaplen("0"), Ok(0));
        assert_eq!(snaplen("262072"), Ok(WIRESHARK_SNAPLEN));
        for bad in ["262073", "-1", "99999999999", "x"] {
            assert!(snaplen(bad).is_err(), "{bad}");
        }
    }
}
