//! A sample chosen by content: the same whatever the order in which things came.

use std::ops::Deref;
use std::sync::OnceLock;

/// The least of what came, each once, in order. Of millions that come, all but a few are refused by the greatest of those that are kept;
/// the others are gathered, and put in order when there are twice as many as shall stay.
#[derive(Clone, Debug)]
pub struct Least<T> {
    gathered: Vec<T>,
    /// What is not less than this is not among the least.
    bound: Option<T>,
    most: usize,
    /// Made when they are read.
    ordered: OnceLock<Vec<T>>,
}

impl<T> Default for Least<T> {
    fn default() -> Least<T> {
        Least { gathered: Vec::new(), bound: None, most: usize::MAX, ordered: OnceLock::new() }
    }
}

impl<T: Ord + Copy> Deref for Least<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.ordered.get_or_init(|| {
            let mut all = self.gathered.clone();
            put_in_order(&mut all, self.most);
            all
        })
    }
}

impl<T: Ord + Copy> PartialEq for Least<T> {
    fn eq(&self, other: &Least<T>) -> bool {
        **self == **other
    }
}

impl<T: Ord + Copy> FromIterator<T> for Least<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Least<T> {
        Least { gathered: all.into_iter().collect(), ..Least::default() }
    }
}

impl<T: Ord + Copy> Least<T> {
    /// Keeps it among at most so many.
    #[inline]
    pub(super) fn keep(&mut self, one: T, most: usize) {
        if self.bound.is_none_or(|bound| one < bound) {
            self.gather(one, most);
        }
    }

    /// Keeps those of another, among at most so many.
    pub(super) fn extend(&mut self, other: &Least<T>, most: usize) {
        other.iter().for_each(|one| self.keep(*one, most));
    }

    fn gather(&mut self, one: T, most: usize) {
        self.ordered.take();
        self.most = most;
        self.gathered.push(one);
        if self.gathered.len() >= most.saturating_mul(2) {
            put_in_order(&mut self.gathered, most);
            self.bound = self.gathered.last().copied().filter(|_| self.gathered.len() == most);
        }
    }
}

fn put_in_order<T: Ord>(all: &mut Vec<T>, most: usize) {
    all.sort_unstable();
    all.dedup();
    all.truncate(most);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_the_least_of_all_in_order(all in prop::collection::vec(0u16..300, 0..400), cut in 0usize..400, most in 1usize..40) {
            let expected: Vec<u16> = all.iter().copied().collect::<BTreeSet<_>>().into_iter().take(most).collect();
            let mut whole = Least::default();
            for one in &all {
                whole.keep(*one, most);
                prop_assert!(whole.len() <= most);
            }
            prop_assert_eq!(&whole[..], &expected[..]);
            let (left, right) = all.split_at(cut.min(all.len()));
            let [mut left, right] = [left, right].map(|part| {
                let mut least = Least::default();
                part.iter().for_each(|one| least.keep(*one, most));
                least
            });
            left.extend(&right, most);
            prop_assert_eq!(&left[..], &expected[..]);
            // As it comes from another machine.
            let mut read: Least<u16> = left.iter().copied().collect();
            prop_assert_eq!(&read, &left);
            read.extend(&right, most);
            prop_assert_eq!(&read[..], &expected[..]);
        }
    }
}
