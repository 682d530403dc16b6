//! A table by small numbers, of which only the parts that are used take room.

/// Places of a page.
const PAGE: usize = 256;

/// Values by 16-bit numbers: heads, slots. A forged number costs a page, not a
/// whole table.
#[derive(Debug)]
pub(crate) struct Paged<T> {
    pages: Vec<Option<Box<[Option<T>; PAGE]>>>,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T: Copy> Paged<T> {
    #[inline]
    pub(crate) fn get(&self, number: u16) -> Option<T> {
        let page = self.pages.get(usize::from(number) / PAGE)?.as_ref()?;
        page[usize::from(number) % PAGE]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: u16) -> Option<&mut T> {
        let page = self.pages.get_mut(usize::from(number) / PAGE)?.as_mut()?;
        page[usize::from(number) % PAGE].as_mut()
    }

    /// Puts `value` there; gives what was there before.
    #[inline]
    pub(crate) fn insert(&mut self, number: u16, value: T) -> Option<T> {
        let page = usize::from(number) / PAGE;
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| Box::new([None; PAGE]));
        page[usize::from(number) % PAGE].replace(value)
    }

    #[inline]
    pub(crate) fn remove(&mut self, number: u16) -> Option<T> {
        let page = self.pages.get_mut(usize::from(number) / PAGE)?.as_mut()?;
        page[usize::from(number) % PAGE].take()
    }

    pub(crate) fn clear(&mut self) {
        self.pages.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_own_place() {
        let mut table = Paged::default();
        let numbers = [0, 255, 256, u16::MAX];
        for number in numbers {
            assert_eq!(table.get(number), None);
            assert_eq!(table.insert(number, number), None);
        }
        assert_eq!(table.get(1000), None);
        for number in numbers {
            assert_eq!(table.get_mut(number).copied(), Some(number));
            assert_eq!(table.insert(number, 7), Some(number));
            assert_eq!(table.remove(number), Some(7));
            assert_eq!(table.remove(number), None);
        }
    }
}
