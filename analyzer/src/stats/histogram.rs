//! Counts of values, as many as there may be, in little room.

use crate::budget::Budget;

/// Bytes that all histograms of an analyzer together take, with a little more for each:
/// three digits of some 80 distributions that are as wide as they get.
pub(crate) const BYTES: usize = 16 << 20;

/// Bits behind the first that tell one value from another: enough for three decimal
/// digits.
const PRECISION: u32 = 10;

/// Cells of a page. Values lie close together, so that few pages are needed.
const PAGE: usize = 64;

/// Bytes that a page takes.
const PAGE_BYTES: usize = PAGE * size_of::<u32>();

/// How often values came, by cells: each small value has its own, of larger ones those
/// share one that agree in their first bits.
///
/// Only cells near values that came take room. Where that is used up, cells are merged
/// in pairs: [`precision`](Self::precision) says how exact what is left is.
#[derive(Debug)]
pub(super) struct Histogram {
    precision: u32,
    /// For each page of cells where it is among those that are there, counted from 1; 0
    /// if it is not.
    places: Vec<u16>,
    pages: Vec<[u32; PAGE]>,
    /// Cells that came 2³² times, as often as they did.
    carries: Vec<u16>,
    /// Pages that the budget was asked for.
    paid: usize,
    budget: Budget,
}

impl Histogram {
    pub(super) fn new(budget: &Budget) -> Self {
        Self {
            precision: PRECISION,
            places: Vec::new(),
            pages: Vec::new(),
            carries: Vec::new(),
            paid: 0,
            budget: budget.clone(),
        }
    }

    /// Values of the same cell differ by less than their 2ⁿth part.
    pub(super) fn precision(&self) -> u32 {
        self.precision
    }

    /// Whether cells had to be merged.
    pub(super) fn is_coarse(&self) -> bool {
        self.precision < PRECISION
    }

    /// Counts one value.
    #[inline]
    pub(super) fn count(&mut self, value: u64) {
        let cell = cell_of(value, self.precision);
        let place = self.places.get(cell / PAGE).copied().unwrap_or(0);
        if let Some(page) = self.pages.get_mut(usize::from(place).wrapping_sub(1)) {
            let count = &mut page[cell % PAGE];
            *count = count.wrapping_add(1);
            if *count == 0 {
                self.carries.push(cell as u16);
            }
            return;
        }
        self.count_anew(value);
    }

    /// Counts a value whose cell is in no page yet.
    #[cold]
    fn count_anew(&mut self, value: u64) {
        loop {
            let cell = cell_of(value, self.precision);
            if self.has(cell) || self.pay(1) || self.precision == 0 {
                // Its page is there from now on.
                self.cell_mut(cell);
                return self.count(value);
            }
            self.merge_cells();
        }
    }

    fn has(&self, cell: usize) -> bool {
        self.places.get(cell / PAGE).is_some_and(|place| *place > 0)
    }

    /// Asks the budget for so many pages.
    fn pay(&mut self, pages: usize) -> bool {
        let paid = self.budget.take(pages * PAGE_BYTES);
        self.paid += if paid { pages } else { 0 };
        paid
    }

    /// The count of a cell, whose page is made if it is not there, and the carries.
    fn cell_mut(&mut self, cell: usize) -> (&mut u32, &mut Vec<u16>) {
        let page = cell / PAGE;
        if self.places.len() <= page {
            self.places.resize(page + 1, 0);
        }
        let place = &mut self.places[page];
        if *place == 0 {
            self.pages.push([0; PAGE]);
            // There are fewer than a thousand.
            *place = self.pages.len() as u16;
        }
        let page = &mut self.pages[usize::from(*place) - 1];
        (&mut page[cell % PAGE], &mut self.carries)
    }

    /// Merges cells in pairs, so that half of the pages will do.
    fn merge_cells(&mut self) {
        let mut merged = Self::new(&self.budget);
        merged.precision = self.precision - 1;
        for (cell, many) in self.cells() {
            let last = last_of(cell, self.precision);
            let at = cell_of(last, merged.precision);
            let (count, carries) = merged.cell_mut(at);
            let sum = u64::from(*count) + many;
            *count = sum as u32;
            carries.extend((0..sum >> 32).map(|_| at as u16));
        }
        self.give_back();
        let pages = merged.pages.len();
        // Pairs need not stand in one page, so there may be more of these than before.
        if !merged.pay(pages) && merged.precision > 0 {
            merged.merge_cells();
        }
        *self = merged;
    }

    fn give_back(&mut self) {
        self.budget.give(self.paid * PAGE_BYTES);
        self.paid = 0;
    }

    /// The cells that have any values, ascending, and how many.
    fn cells(&self) -> impl Iterator<Item = (usize, u64)> {
        let pages = self.places.iter().enumerate().filter_map(|(page, place)| {
            let counts = self.pages.get(usize::from(*place).wrapping_sub(1))?;
            Some((page * PAGE, counts))
        });
        let counts = pages.flat_map(|(first, counts)| (first..).zip(counts));
        counts.filter_map(|(cell, count)| {
            let carries = || {
                let of = |carry: &&u16| usize::from(**carry) == cell;
                self.carries.iter().filter(of).count() as u64
            };
            let carries = if self.carries.is_empty() {
                0
            } else {
                carries()
            };
            let many = u64::from(*count) + (carries << 32);
            (many > 0).then_some((cell, many))
        })
    }

    /// How many values came up to which, ascending: each number is of those above the
    /// one before.
    pub(super) fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.cells()
            .map(|(cell, many)| (last_of(cell, self.precision), many))
    }

    /// The largest value that is not told from this one.
    pub(super) fn last_like(&self, value: u64) -> u64 {
        last_of(cell_of(value, self.precision), self.precision)
    }
}

impl Drop for Histogram {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Below 2 to the power of `precision + 1` each value has a cell; from there on, each
/// power of two has 2 to the power of `precision`.
#[inline]
fn cell_of(value: u64, precision: u32) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let dropped = bits.saturating_sub(precision + 1);
    // What is left of the value has `precision + 1` bits at most.
    ((dropped as usize) << precision) + (value >> dropped) as usize
}

/// The largest value of a cell.
fn last_of(cell: usize, precision: u32) -> u64 {
    let dropped = (cell >> precision).saturating_sub(1);
    let first = (cell - (dropped << precision)) as u64;
    (first << dropped) + ((1 << dropped) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Vec<u64>> {
        let value = (any::<u64>(), 0_u32..64).prop_map(|(value, bits)| value >> bits);
        prop::collection::vec(value, 1..400)
    }

    fn histogram(budget: &Budget, values: &[u64]) -> Histogram {
        let mut histogram = Histogram::new(budget);
        for value in values {
            histogram.count(*value);
        }
        histogram
    }

    /// How many values lie up to each bound that the histogram tells of.
    fn check(histogram: &Histogram, values: &[u64]) -> Result<(), TestCaseError> {
        let mut below = None;
        let mut all = 0;
        for (last, many) in histogram.counts() {
            prop_assert!(below.is_none_or(|below| below < last));
            let is_in = |value: &&u64| **value <= last && below.is_none_or(|below| **value > below);
            let those: Vec<_> = values.iter().filter(is_in).collect();
            prop_assert_eq!(those.len() as u64, many);
            for value in those {
                prop_assert_eq!(histogram.last_like(*value), last);
                prop_assert!(last - value <= value >> histogram.precision());
            }
            below = Some(last);
            all += many;
        }
        prop_assert_eq!(all, values.len() as u64);
        Ok(())
    }

    proptest! {
        /// Against the list of values; and where there is room for few pages, with
        /// cells merged.
        #[test]
        fn counts_what_came(values in values(), pages in 1_usize..40) {
            let large = Budget::of(BYTES);
            let exact = histogram(&large, &values);
            prop_assert!(!exact.is_coarse());
            check(&exact, &values)?;
            drop(exact);
            prop_assert_eq!(large.left(), BYTES);

            let small = Budget::of(pages * PAGE_BYTES);
            let coarse = histogram(&small, &values);
            check(&coarse, &values)?;
            // All values of a bit's width are two pages.
            prop_assert!(coarse.pages.len() <= pages.max(2), "{}", coarse.pages.len());
            drop(coarse);
            prop_assert_eq!(small.left(), pages * PAGE_BYTES);
        }

        /// Against another's histogram of the same precision, which has no last value of
        /// its largest cell.
        #[test]
        fn has_the_cells_of_hdr_histogram(values in values()) {
            let values: Vec<_> = values.into_iter().map(|value| value / 2).collect();
            let mut theirs = hdrhistogram::Histogram::<u64>::new(3).unwrap();
            for value in &values {
                theirs.record(*value).unwrap();
            }
            let theirs: Vec<_> = theirs
                .iter_recorded()
                .map(|it| (theirs.highest_equivalent(it.value_iterated_to()), it.count_at_value()))
                .collect();
            let ours: Vec<_> = histogram(&Budget::of(BYTES), &values).counts().collect();
            prop_assert_eq!(ours, theirs);
        }
    }

    /// A count goes on beyond 32 bits, also when its cell is merged with another.
    #[test]
    fn a_count_may_be_large() {
        let mut histogram = histogram(&Budget::of(BYTES), &[2048, 2050]);
        for value in [2048, 2050] {
            *histogram.cell_mut(cell_of(value, PRECISION)).0 = u32::MAX;
        }
        histogram.count(2048);
        histogram.count(2048);
        histogram.count(5);
        let many = 1 << 32;
        let counts: Vec<_> = histogram.counts().collect();
        assert_eq!(counts, [(5, 1), (2049, many + 1), (2051, many - 1)]);
        histogram.merge_cells();
        let counts: Vec<_> = histogram.counts().collect();
        assert_eq!(counts, [(5, 1), (2051, 2 * many)]);
        assert!(histogram.is_coarse());
    }
}
