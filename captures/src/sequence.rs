//! Undoing the wrap of sequence numbers.

use virtscope_record::Sequence;

/// The 64-bit number of `sequence` that is nearest to `near`, never below zero:
/// what would lie before the first record lies 2³² further on instead.
pub(crate) fn unwrap_sequence(sequence: Sequence, near: u64) -> u64 {
    let number = sequence.unwrap_near(near);
    // Only wrapping below zero can move the number by more than 2³¹.
    if number.abs_diff(near) > 1 << 31 {
        u64::from(sequence.0)
    } else {
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_above_zero() {
        assert_eq!(unwrap_sequence(Sequence(0), 0), 0);
        assert_eq!(unwrap_sequence(Sequence(u32::MAX), 0), u64::from(u32::MAX));
        assert_eq!(
            unwrap_sequence(Sequence(u32::MAX), 1 << 32),
            u64::from(u32::MAX)
        );
        assert_eq!(unwrap_sequence(Sequence(0), u64::from(u32::MAX)), 1 << 32);
        assert_eq!(unwrap_sequence(Sequence(1 << 31), 5), 1 << 31);
        assert_eq!(unwrap_sequence(Sequence(u32::MAX), 5), u64::from(u32::MAX));
    }
}
