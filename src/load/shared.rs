//! Variables of the whole run: what one user leaves there is there for all.
//!
//! They are few and seldom change (a token that is fetched anew), so one lock holds them; a counter spares everybody the lock
//! as long as nothing is new.

use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Values by slot. Each change makes a new version.
#[derive(Debug, Default)]
pub struct Shared {
    version: AtomicU64,
    values: Mutex<Vec<(usize, Value)>>,
}

impl Shared {
    /// Leaves the values of `slots` that differ from those that are here, and takes what others have left since `seen`.
    /// Values of the walk's own that are new win over those of others.
    pub fn exchange(
        &self,
        slots: &[usize],
        variables: &mut [Value],
        before: &mut Vec<Value>,
        seen: &mut u64,
    ) {
        let changed = |variables: &[Value], before: &[Value]| {
            slots.iter().enumerate().any(|(n, slot)| variables.get(*slot) != before.get(n))
        };
        let version = self.version.load(Ordering::Acquire);
        let mine = !before.is_empty() && changed(variables, before);
        if !mine && version == *seen && !before.is_empty() {
            return;
        }
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        for (n, slot) in slots.iter().enumerate() {
            let Some(variable) = variables.get_mut(*slot) else { continue };
            let kept = values.iter_mut().find(|(s, _)| s == slot);
            if before.get(n).is_some_and(|b| b != variable) {
                match kept {
                    Some((_, value)) => value.clone_from(variable),
                    None => values.push((*slot, variable.clone())),
                }
            } else if let Some((_, value)) = kept {
                variable.clone_from(value);
            }
        }
        if mine {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        *seen = self.version.load(Ordering::Acquire);
        before.clear();
        before.extend(slots.iter().map(|slot| variables.get(*slot).cloned().unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_one_leaves_all_others_find() {
        let shared = Shared::default();
        let slots = [1];
        let (mut a, mut b) = (vec![json!("a"), json!(null)], vec![json!("b"), json!(null)]);
        let (mut of_a, mut of_b) = ((Vec::new(), 0), (Vec::new(), 0));
        shared.exchange(&slots, &mut a, &mut of_a.0, &mut of_a.1);
        shared.exchange(&slots, &mut b, &mut of_b.0, &mut of_b.1);
        assert_eq!((&a[1], &b[1]), (&json!(null), &json!(null)));
        a[1] = json!("token 1");
        shared.exchange(&slots, &mut a, &mut of_a.0, &mut of_a.1);
        shared.exchange(&slots, &mut b, &mut of_b.0, &mut of_b.1);
        assert_eq!(b, [json!("b"), json!("token 1")]);
        // Both have fetched a new one: the later is everybody's.
        (a[1], b[1]) = (json!("token 2"), json!("token 3"));
        shared.exchange(&slots, &mut a, &mut of_a.0, &mut of_a.1);
        shared.exchange(&slots, &mut b, &mut of_b.0, &mut of_b.1);
        shared.exchange(&slots, &mut a, &mut of_a.0, &mut of_a.1);
        assert_eq!((&a[1], &b[1]), (&json!("token 3"), &json!("token 3")));
        // Who comes later begins with it.
        let (mut late, mut of_late) = (vec![json!("c"), json!("of the setup")], (Vec::new(), 0));
        shared.exchange(&slots, &mut late, &mut of_late.0, &mut of_late.1);
        assert_eq!(late, [json!("c"), json!("token 3")]);
    }
}
