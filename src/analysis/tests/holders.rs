//! Several that hold up one event loop, each for a little.

use super::results::kinds;
use super::turns::{LOOP, analysed, of_step, request};
use crate::analysis::result::{Analysis, FindingKind as K};

/// Three pages that each hold up their loop for so many ms, once in 200 ms, and three that only wait for their turn after them.
fn each_in_turn(takes: f64) -> Analysis {
    analysed(
        6,
        (0..600u64).map(|n| {
            let page = n % 6;
            let turn = page.min(3) as f64 * (takes + 1.0) + page.saturating_sub(3) as f64 * 2.0;
            let begins = 200.0 + (n / 6) as f64 * 200.0 + turn;
            let ends = begins + if page > 2 { 1.0 } else { takes };
            let mut r = request(n, page as u16, (begins - 150.0, begins, ends), LOOP);
            r.spans[0].name = format!("GET /{}", ["a", "b", "c", "d", "e", "f"][page as usize]);
            r
        }),
    )
}

#[test]
fn several_pages_that_hold_up_a_loop_are_why_others_wait() {
    let analysis = each_in_turn(30.0);
    let found = kinds(&analysis);
    let holders = analysis.findings.iter().filter(|f| f.kind == K::EventLoopBlocked);
    assert_eq!(holders.clone().count(), 3, "{found:?}");
    assert!(holders.clone().all(|f| f.evidence["held_up_share"] < 0.2), "{found:?}");
    assert!((3..6).all(|page| of_step(&analysis, page).is_empty()), "{found:?}");
}
