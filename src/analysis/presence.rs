//! Which virtual users are there in which slice of a run. A user who thinks has nothing under way and is there all the same:
//! without that, a short slice counts whoever happens to ask just then, and one number of users looks like many.
//!
//! Who was planned to be there is not known here, so thinking and absence are told apart by what a user does again and again:
//! a pause as long as several others of it is a thought, one much longer is an absence between two stages.

/// Pauses that a user must have made before its usual one is known.
const PAUSES: usize = 3;
/// A pause this many times the usual one is an absence.
const ABSENT: usize = 2;

/// A user's slices with something under way, and how long it usually has nothing.
struct User {
    number: usize,
    active: Vec<usize>,
    usual: Option<usize>,
}

/// From the first to the last slice of one stay.
struct Stay {
    number: usize,
    first: usize,
    last: usize,
    usual: usize,
}

/// Adds to the sets of users, one for each slice, those who were there with nothing under way.
pub(super) fn fill(slices: &mut [Vec<u64>]) {
    let bits = 64 * slices.iter().map(Vec::len).max().unwrap_or_default();
    let users: Vec<User> = (0..bits).map(|number| User::of(slices, number)).collect();
    let mut known: Vec<usize> = users.iter().filter_map(|user| user.usual).collect();
    known.sort_unstable();
    // Nobody pauses: everyone who is there has something under way.
    let Some(&common) = known.get(known.len() / 2) else { return };
    let stays: Vec<Stay> = users.iter().flat_map(|user| user.stays(user.usual.unwrap_or(common))).collect();
    let mut ends: Vec<usize> = stays.iter().map(|stay| stay.last).collect();
    ends.sort_unstable();
    for stay in &stays {
        // Those who leave together leave when the last of them is seen last: the others were thinking until then.
        let until = ends[..ends.partition_point(|end| *end <= stay.last + stay.usual + 1)].last();
        let (word, bit) = (stay.number / 64, stay.number % 64);
        for set in &mut slices[stay.first..=*until.unwrap_or(&stay.last)] {
            if set.len() <= word {
                set.resize(word + 1, 0);
            }
            set[word] |= 1 << bit;
        }
    }
}

impl User {
    fn of(slices: &[Vec<u64>], number: usize) -> User {
        let is_active =
            |set: &Vec<u64>| set.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1);
        let active: Vec<usize> = (0..slices.len()).filter(|at| is_active(&slices[*at])).collect();
        let mut pauses: Vec<usize> =
            active.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|p| *p > 0).collect();
        pauses.sort_unstable_by(|a, b| b.cmp(a));
        // The longest few may be absences.
        let usual = pauses.get((PAUSES - 1).max(pauses.len() / 10)).copied();
        User { number, active, usual }
    }

    fn stays(&self, usual: usize) -> Vec<Stay> {
        let apart = |pair: &usize, next: &usize| next - pair - 1 <= ABSENT * usual;
        self.active
            .chunk_by(apart)
            .filter_map(|stay| {
                Some(Stay { number: self.number, first: *stay.first()?, last: *stay.last()?, usual })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line for each user, a letter for each slice: `x` under way, `.` not.
    fn check(before: &[&str], after: &[&str]) {
        let width = before[0].len();
        let mut slices = vec![vec![0_u64]; width];
        for (number, line) in before.iter().enumerate() {
            for (at, _) in line.chars().enumerate().filter(|(_, c)| *c == 'x') {
                slices[at][0] |= 1 << number;
            }
        }
        fill(&mut slices);
        let line = |number: usize| -> String {
            slices.iter().map(|set| if set[0] >> number & 1 == 1 { 'x' } else { '.' }).collect()
        };
        let got: Vec<String> = (0..before.len()).map(line).collect();
        assert_eq!(got, after);
    }

    #[test]
    fn thoughts_are_filled_and_absences_are_not() {
        check(
            &[
                "x..x..x.x...x..x..x..x.x..x..x", // there all the time
                "x.x..x...............x..x..x.x", // away for a stage
                "..............................",
                "xxxxxxxxx...............xxxxxx", // never thinks
            ],
            &[
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
                "xxxxxxxxx............xxxxxxxxx",
                "..............................",
                "xxxxxxxxx...............xxxxxx",
            ],
        );
        check(&["xx...........xx", "xxxxxxxxxxxxxxx"], &["xx...........xx", "xxxxxxxxxxxxxxx"]);
    }

    #[test]
    fn who_leaves_with_others_was_there_as_long_as_they() {
        check(
            &["x..x..x..x..x.......", "x..x..x..x....x.....", "x.x..x..x..x..x..x.x"],
            &["xxxxxxxxxxxxxxx.....", "xxxxxxxxxxxxxxx.....", "xxxxxxxxxxxxxxxxxxxx"],
        );
    }
}
