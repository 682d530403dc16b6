//! Numbers as the screens say them, beside the analyzer's durations and bytes.

/// Every digit, in groups of three: `1,234,567`.
pub(super) fn exact(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits and a decimal unit: `12.3k`, `950`, `1.20M`.
pub(super) fn short(value: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    // What would be rounded up to the next unit is said in that one.
    for (size, unit) in UNITS {
        if value >= size * 0.9995 {
            return digits(value / size, unit);
        }
    }
    if value == 0.0 || value >= 99.95 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

fn digits(value: f64, unit: &str) -> String {
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{unit}")
}

/// Something per second: `12.3k/s`.
pub(super) fn rate(per_second: f64) -> String {
    format!("{}/s", short(per_second))
}

/// A part of a whole: `12.5 %`; a dash if there is no whole.
pub(super) fn share(part: f64, whole: f64) -> String {
    if whole > 0.0 {
        format!("{:.1} %", part / whole * 100.0)
    } else {
        "–".to_owned()
    }
}

/// How many of `cells` a part of a whole fills; something fills at least one.
pub(super) fn cells(part: f64, whole: f64, cells: usize) -> usize {
    if whole <= 0.0 || part <= 0.0 {
        return 0;
    }
    // A float too large for the type becomes its largest value.
    let filled = (part / whole * cells as f64).round() as usize;
    filled.clamp(usize::from(cells > 0), cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "0")]
    #[case(999, "999")]
    #[case(1000, "1,000")]
    #[case(1_234_567, "1,234,567")]
    #[case(u64::MAX, "18,446,744,073,709,551,615")]
    fn exact_numbers_are_grouped(#[case] count: u64, #[case] text: &str) {
        assert_eq!(exact(count), text);
    }

    #[rstest]
    #[case(0.0, "0")]
    #[case(0.25, "0.2")]
    #[case(3.0, "3")]
    #[case(99.9, "99.9")]
    #[case(512.4, "512")]
    #[case(999.6, "1.00k")]
    #[case(12_345.0, "12.3k")]
    #[case(999_999.0, "1.00M")]
    #[case(1.5e12, "1.50T")]
    fn short_numbers_have_three_digits(#[case] value: f64, #[case] text: &str) {
        assert_eq!(short(value), text);
    }

    #[test]
    fn a_part_fills_its_share_of_the_cells() {
        assert_eq!(cells(0.0, 10.0, 8), 0);
        assert_eq!(cells(0.01, 10.0, 8), 1);
        assert_eq!(cells(5.0, 10.0, 8), 4);
        assert_eq!(cells(20.0, 10.0, 8), 8);
        assert_eq!(cells(1.0, 0.0, 8), 0);
        assert_eq!(cells(1.0, 2.0, 0), 0);
        assert_eq!(cells(f64::NAN, 2.0, 8), 1);
        assert_eq!(share(1.0, 8.0), "12.5 %");
        assert_eq!(share(1.0, 0.0), "–");
    }
}
