//! Faults of the shop: their names, what each really does, and where its effect must be found.
//!
//! A fault is a cause, never a label: nothing in here slows anything down. The services look at their
//! [`FaultSwitch`] where the cause lives.

use super::error::DemoError;
use std::fmt;
use std::sync::atomic::{AtomicU16, Ordering};

/// One fault that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The product list asks for the reviews of every product on the page by itself.
    NPlusOne,
    /// The index that search uses is dropped.
    MissingIndex,
    /// The payment API takes 400 ms.
    SlowExternal,
    /// The payment API allows fewer charges than the shop makes.
    RateLimitedExternal,
    /// Every login computes an expensive password hash again.
    Cpu,
    /// One database connection for everybody, and a job that keeps it while it waits for somebody else.
    PoolExhausted,
    /// The checkout holds a write lock while it waits for the payment API.
    LockContention,
    /// The product page asks the inventory once per item, one after the other.
    SequentialCalls,
    /// No page is read from the cache.
    CacheOff,
    /// The shop forgets its catalogue every so many requests, as a recycled worker does.
    ColdStart,
    /// The product list sends the whole catalogue.
    LargePayload,
    /// Static files are read and compressed for every request.
    StaticByApp,
}

impl Fault {
    /// All faults, in the order of the documentation.
    pub const ALL: [Fault; 12] = [
        Fault::NPlusOne,
        Fault::MissingIndex,
        Fault::SlowExternal,
        Fault::RateLimitedExternal,
        Fault::Cpu,
        Fault::PoolExhausted,
        Fault::LockContention,
        Fault::SequentialCalls,
        Fault::CacheOff,
        Fault::ColdStart,
        Fault::LargePayload,
        Fault::StaticByApp,
    ];

    /// Stable name, as typed on the command line and sent to `/admin/faults`.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::NPlusOne => "n_plus_one",
            Fault::MissingIndex => "missing_index",
            Fault::SlowExternal => "slow_external",
            Fault::RateLimitedExternal => "rate_limited_external",
            Fault::Cpu => "cpu",
            Fault::PoolExhausted => "pool_exhausted",
            Fault::LockContention => "lock_contention",
            Fault::SequentialCalls => "sequential_calls",
            Fault::CacheOff => "cache_off",
            Fault::ColdStart => "cold_start",
            Fault::LargePayload => "large_payload",
            Fault::StaticByApp => "static_by_app",
        }
    }

    /// The fault of that name.
    pub fn from_name(name: &str) -> Option<Fault> {
        Fault::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// One sentence: what the fault does.
    pub const fn description(self) -> &'static str {
        match self {
            Fault::NPlusOne => {
                "The product list runs one statement per product for its reviews and the standing of their authors."
            }
            Fault::MissingIndex => {
                "The index on search_term.term is dropped, so that every search scans the whole table twice."
            }
            Fault::SlowExternal => "The payment API takes 400 ms to answer a charge.",
            Fault::RateLimitedExternal => {
                "The payment API answers 429 with Retry-After when its token bucket is empty; the shop waits and tries again."
            }
            Fault::Cpu => {
                "The password policy's work factor was raised and the upgraded hash is never stored: every login derives it again."
            }
            Fault::PoolExhausted => {
                "The pool has one connection, and a settlement job keeps it while it waits for the payment API."
            }
            Fault::LockContention => {
                "The checkout takes its write lock before a slow, screened payment and holds it until the payment is through."
            }
            Fault::SequentialCalls => {
                "The product page asks the inventory for one item at a time, one call after the other, instead of all at once."
            }
            Fault::CacheOff => {
                "No page is read from the cache: the start page computes its bestsellers from all order lines."
            }
            Fault::ColdStart => {
                "The shop recycles its workers every few requests: the next request waits for the new process and loads the catalogue again, and others wait for it."
            }
            Fault::LargePayload => {
                "The product list lost its page limit and sends the whole catalogue, several megabytes."
            }
            Fault::StaticByApp => {
                "Static files are read from disk and compressed by the shop for every single request."
            }
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults(u16);

impl Faults {
    /// No fault: a healthy shop.
    pub const NONE: Faults = Faults(0);

    /// Exactly this fault.
    pub const fn only(fault: Fault) -> Faults {
        Faults(fault.bit())
    }

    /// These and that one.
    #[must_use]
    pub const fn with(self, fault: Fault) -> Faults {
        Faults(self.0 | fault.bit())
    }

    /// Whether that fault is in the set.
    pub const fn contains(self, fault: Fault) -> bool {
        self.0 & fault.bit() != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The faults of the set, in the order of [`Fault::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.contains(*fault))
    }

    /// Reads a list such as `n_plus_one,cpu`; `none` and an empty list mean no fault.
    ///
    /// # Errors
    /// [`DemoError::UnknownFault`] names the first word that is no fault, and all that are.
    pub fn parse(list: &str) -> Result<Faults, DemoError> {
        let mut faults = Faults::NONE;
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty() && *word != "none") {
            let fault = Fault::from_name(word).ok_or_else(|| DemoError::UnknownFault(word.to_owned()))?;
            faults = faults.with(fault);
        }
        Ok(faults)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (index, fault) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(fault.name())?;
        }
        Ok(())
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Faults {
        faults.into_iter().fold(Faults::NONE, Faults::with)
    }
}

/// The faults that are on in one process, changeable while it runs.
#[derive(Debug, Default)]
pub(super) struct FaultSwitch(AtomicU16);

impl FaultSwitch {
    pub(super) fn new(faults: Faults) -> FaultSwitch {
        FaultSwitch(AtomicU16::new(faults.0))
    }

    pub(super) fn get(&self) -> Faults {
        Faults(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn is_on(&self, fault: Fault) -> bool {
        self.get().contains(fault)
    }

    pub(super) fn set(&self, faults: Faults) {
        self.0.store(faults.0, Ordering::Relaxed);
    }
}

/// Where the effect of a fault must be found under the load of [`scenario`](super::scenario()): the truth that an analysis is
/// checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The fault.
    pub fault: Fault,
    /// Name of the step of the scenario that it slows down most clearly.
    pub step: &'static str,
    /// Category that owns the lost time there.
    pub category: &'static str,
    /// Part of the name of the contributor that owns most of it.
    pub contributor: &'static str,
}

/// The truth about a fault.
pub const fn expectation(fault: Fault) -> Expectation {
    let (step, category, contributor) = match fault {
        Fault::NPlusOne => ("products", "database", "review"),
        Fault::MissingIndex => ("search", "database", "search_term"),
        Fault::SlowExternal => ("checkout", "external", "/v1/charges"),
        Fault::RateLimitedExternal => ("checkout", "queue", "/v1/charges"),
        Fault::Cpu => ("login", "app", "hash password"),
        Fault::PoolExhausted => ("products", "queue", "pool acquire"),
        Fault::LockContention => ("basket_add", "database", "warehouse"),
        Fault::SequentialCalls => ("product", "network", "/stock/{product_id}"),
        Fault::CacheOff => ("home", "database", "order_item"),
        Fault::ColdStart => ("search", "app", "load catalogue"),
        Fault::LargePayload => ("products", "transfer", ""),
        Fault::StaticByApp => ("static", "app", "compress static file"),
    };
    Expectation { fault, step, category, contributor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_any_order_and_written_in_one() {
        let faults = Faults::parse(" cpu , n_plus_one,cpu,").unwrap();
        assert_eq!(faults.to_string(), "n_plus_one,cpu");
        assert!(faults.contains(Fault::Cpu) && !faults.contains(Fault::CacheOff));
        assert_eq!(Faults::parse("none").unwrap(), Faults::NONE);
        assert_eq!(Faults::parse("").unwrap().to_string(), "none");
    }

    #[test]
    fn an_unknown_fault_is_named_with_all_that_exist() {
        let message = Faults::parse("cpu,memory").unwrap_err().to_string();
        assert!(message.contains("`memory`"), "{message}");
        for fault in Fault::ALL {
            assert!(message.contains(fault.name()), "{message} lacks {fault}");
        }
    }

    #[test]
    fn every_fault_has_a_bit_and_a_name_of_its_own() {
        let all: Faults = Fault::ALL.into_iter().collect();
        assert_eq!(all.iter().collect::<Vec<_>>(), Fault::ALL);
        for fault in Fault::ALL {
            assert_eq!(Fault::from_name(fault.name()), Some(fault));
            assert_eq!(Faults::only(fault).iter().collect::<Vec<_>>(), [fault]);
            assert!(fault.description().ends_with('.'));
        }
        assert_eq!(Faults::parse(&all.to_string()).unwrap(), all);
    }

    #[test]
    fn a_switch_shows_what_was_set_last() {
        let switch = FaultSwitch::new(Faults::only(Fault::Cpu));
        assert!(switch.is_on(Fault::Cpu));
        switch.set(Faults::only(Fault::ColdStart));
        assert_eq!(switch.get(), Faults::only(Fault::ColdStart));
    }
}
