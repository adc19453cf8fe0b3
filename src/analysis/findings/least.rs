//! A sample chosen by content: the same whatever the order in which things came.

use std::collections::BTreeSet;
use std::ops::Deref;

/// The least of what came. The greatest of them is at hand: of millions that come, all but a few are refused by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Least<T> {
    set: BTreeSet<T>,
    last: Option<T>,
}

impl<T> Default for Least<T> {
    fn default() -> Least<T> {
        Least { set: BTreeSet::new(), last: None }
    }
}

impl<T> Deref for Least<T> {
    type Target = BTreeSet<T>;

    fn deref(&self) -> &BTreeSet<T> {
        &self.set
    }
}

impl<T: Ord + Copy> FromIterator<T> for Least<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Least<T> {
        let set: BTreeSet<T> = all.into_iter().collect();
        Least { last: set.last().copied(), set }
    }
}

impl<T: Ord + Copy> Least<T> {
    /// Keeps it among at most so many.
    #[inline]
    pub(super) fn keep(&mut self, one: T, most: usize) {
        if self.set.len() < most || self.last.is_none_or(|last| one < last) {
            self.insert(one, most);
        }
    }

    /// Keeps those of another, among at most so many.
    pub(super) fn extend(&mut self, other: &Least<T>, most: usize) {
        other.set.iter().for_each(|one| self.keep(*one, most));
    }

    fn insert(&mut self, one: T, most: usize) {
        self.set.insert(one);
        while self.set.len() > most {
            self.set.pop_last();
        }
        self.last = self.set.last().copied();
    }
}
