//! A rate as a formula of the time: `100 + 50*sin(t/60s*2*pi)`. Numbers, a variable and a closed list of functions; no
//! loops, no names of the user's, bounded in length and depth: evaluating it cannot hang, allocate without end or fail in any
//! way but by giving no number.

use super::error::nearest;

/// Longest formula, in bytes.
const LONGEST: usize = 1_000;
/// Deepest nesting of parentheses and signs.
const DEEPEST: usize = 50;

/// A formula made ready: operations in the order in which a stack machine does them.
#[derive(Clone, Debug)]
pub struct Formula {
    operations: Vec<Operation>,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Number(f64),
    Time,
    Negate,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
    One(fn(f64) -> f64),
    Two(fn(f64, f64) -> f64),
}

/// A function by its name.
type Named<F> = (&'static str, F);
type OfOne = fn(f64) -> f64;
type OfTwo = fn(f64, f64) -> f64;

/// Functions of one number.
const ONE: &[Named<OfOne>] = &[
    ("sin", f64::sin),
    ("cos", f64::cos),
    ("tan", f64::tan),
    ("abs", f64::abs),
    ("sqrt", f64::sqrt),
    ("exp", f64::exp),
    ("ln", f64::ln),
    ("floor", f64::floor),
    ("ceil", f64::ceil),
    ("round", f64::round),
    ("sign", f64::signum),
];
/// Functions of two numbers.
const TWO: &[Named<OfTwo>] = &[("min", f64::min), ("max", f64::max), ("pow", f64::powf)];
/// Units of time after a number; the value is in seconds, as `t` is.
const UNITS: &[(&str, f64)] = &[("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("min", 60.0), ("h", 3600.0)];

impl Formula {
    /// Reads a formula.
    ///
    /// # Errors
    /// What is wrong and from which character on (counted from 1).
    pub fn parse(text: &str) -> Result<Formula, String> {
        if text.len() > LONGEST {
            return Err(format!("the formula is longer than {LONGEST} bytes"));
        }
        let mut parser = Parser { rest: text, whole: text, depth: 0, out: Vec::new() };
        parser.sum()?;
        match parser.peek() {
            None => Ok(Formula { operations: parser.out }),
            Some(c) => Err(parser.wrong(&format!("`{c}` is not expected here"))),
        }
    }

    /// Its value `t` seconds after the beginning; not a finite number where the formula has none there.
    pub fn at(&self, t: f64) -> f64 {
        let mut stack: Vec<f64> = Vec::with_capacity(8);
        for operation in &self.operations {
            let value = match *operation {
                Operation::Number(number) => number,
                Operation::Time => t,
                Operation::Negate => -stack.pop().unwrap_or(f64::NAN),
                Operation::One(function) => function(stack.pop().unwrap_or(f64::NAN)),
                two => {
                    let right = stack.pop().unwrap_or(f64::NAN);
                    let left = stack.pop().unwrap_or(f64::NAN);
                    match two {
                        Operation::Add => left + right,
                        Operation::Subtract => left - right,
                        Operation::Multiply => left * right,
                        Operation::Divide => left / right,
                        Operation::Remainder => left.rem_euclid(right),
                        Operation::Power => left.powf(right),
                        Operation::Two(function) => function(left, right),
                        _ => f64::NAN,
                    }
                }
            };
            stack.push(value);
        }
        stack.pop().unwrap_or(f64::NAN)
    }
}

struct Parser<'a> {
    rest: &'a str,
    whole: &'a str,
    depth: usize,
    out: Vec<Operation>,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.rest = &self.rest[wanted.len_utf8()..];
        }
        there
    }

    fn wrong(&self, why: &str) -> String {
        let at = self.whole[..self.whole.len() - self.rest.len()].chars().count() + 1;
        format!("{why} (character {at} of the formula)")
    }

    fn sum(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong(&format!("the formula is nested more than {DEEPEST} deep")));
        }
        self.product()?;
        loop {
            let operation = match self.peek() {
                Some('+') => Operation::Add,
                Some('-') => Operation::Subtract,
                _ => break,
            };
            self.rest = &self.rest[1..];
            self.product()?;
            self.out.push(operation);
        }
        self.depth -= 1;
        Ok(())
    }

    fn product(&mut self) -> Result<(), String> {
        self.signed()?;
        loop {
            let operation = match self.peek() {
                Some('*') => Operation::Multiply,
                Some('/') => Operation::Divide,
                Some('%') => Operation::Remainder,
                _ => return Ok(()),
            };
            self.rest = &self.rest[1..];
            self.signed()?;
            self.out.push(operation);
        }
    }

    /// A sign binds less than a power: `-2^2` is −4.
    fn signed(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong(&format!("the formula is nested more than {DEEPEST} deep")));
        }
        if self.take('-') {
            self.signed()?;
            self.out.push(Operation::Negate);
        } else {
            self.atom()?;
            if self.take('^') {
                // To the right: 2^3^2 is 2^9.
                self.signed()?;
                self.out.push(Operation::Power);
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn atom(&mut self) -> Result<(), String> {
        match self.peek() {
            Some('(') => {
                self.take('(');
                self.sum()?;
                if self.take(')') { Ok(()) } else { Err(self.wrong("a closing parenthesis is missing")) }
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.name(),
            Some(c) => Err(self.wrong(&format!("`{c}` is not expected here"))),
            None => Err(self.wrong("the formula ends where a number was expected")),
        }
    }

    fn number(&mut self) -> Result<(), String> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number: f64 = digits.parse().map_err(|_| self.wrong(&format!("{digits} is no number")))?;
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(end);
        let scale = match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, scale)) => *scale,
            None if unit.is_empty() => 1.0,
            None => return Err(self.wrong(&format!("`{unit}` is no unit of time: ms, s, m or h"))),
        };
        self.rest = rest;
        self.out.push(Operation::Number(number * scale));
        Ok(())
    }

    fn name(&mut self) -> Result<(), String> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let unknown = || {
            let known = ONE.iter().map(|f| f.0).chain(TWO.iter().map(|f| f.0)).chain(["t", "pi"]);
            match nearest(name, known) {
                Some(near) => format!("`{name}` is not known; did you mean `{near}`?"),
                None => format!(
                    "`{name}` is not known; there are t (seconds), pi, sin, cos, min, max, floor and others"
                ),
            }
        };
        let one = ONE.iter().find(|(known, _)| *known == name);
        let two = TWO.iter().find(|(known, _)| *known == name);
        let operation = match (name, one, two) {
            ("t", ..) => Operation::Time,
            ("pi", ..) => Operation::Number(std::f64::consts::PI),
            (_, Some((_, function)), _) => {
                self.rest = rest;
                return self.call(name, 1, Operation::One(*function));
            }
            (_, _, Some((_, function))) => {
                self.rest = rest;
                return self.call(name, 2, Operation::Two(*function));
            }
            _ => return Err(self.wrong(&unknown())),
        };
        self.rest = rest;
        self.out.push(operation);
        Ok(())
    }

    fn call(&mut self, name: &str, arguments: usize, operation: Operation) -> Result<(), String> {
        if !self.take('(') {
            return Err(self.wrong(&format!("{name} needs its argument in parentheses: {name}(…)")));
        }
        for n in 0..arguments {
            if n > 0 && !self.take(',') {
                return Err(self.wrong(&format!("{name} needs {arguments} arguments, with a comma between")));
            }
            self.sum()?;
        }
        if !self.take(')') {
            return Err(self.wrong("a closing parenthesis is missing"));
        }
        self.out.push(operation);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str, t: f64) -> f64 {
        Formula::parse(text).unwrap().at(t)
    }

    #[test]
    fn formulas_have_the_usual_precedence() {
        for (text, t, expected) in [
            ("1 + 2*3", 0.0, 7.0),
            ("(1 + 2)*3", 0.0, 9.0),
            ("10 - 4 - 3", 0.0, 3.0),
            ("-2^2", 0.0, -4.0),
            ("2^3^2", 0.0, 512.0),
            ("2*-3", 0.0, -6.0),
            ("t % 10", 23.0, 3.0),
            ("max(10, t*2)", 4.0, 10.0),
            ("min(10, t*2)", 4.0, 8.0),
            ("90s/1.5m", 0.0, 1.0),
            ("100 + 50*sin(t/60s*2*pi)", 15.0, 150.0),
            ("100 + 50*sin(t/60s*2*pi)", 45.0, 50.0),
            ("floor(t/10s)*100", 29.9, 200.0),
        ] {
            assert!((value(text, t) - expected).abs() < 1e-9, "{text} at {t}: {}", value(text, t));
        }
        assert!(!value("1/t", 0.0).is_finite());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, words) in [
            ("", "ends where a number"),
            ("100 +", "ends where a number was expected (character 6"),
            ("100 + sine(t)", "did you mean `sin`?"),
            ("sin t", "sin(…)"),
            ("min(1)", "2 arguments"),
            ("(1 + 2", "parenthesis is missing"),
            ("1 2", "`2` is not expected here (character 3"),
            ("5 parsecs", "not expected"),
            ("5x", "no unit of time"),
            ("1.2.3", "is no number"),
            ("system(1)", "is not known"),
        ] {
            let message = Formula::parse(text).unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
        assert!(Formula::parse(&"(".repeat(60)).unwrap_err().contains("nested"));
        assert!(Formula::parse(&"-".repeat(500)).unwrap_err().contains("nested"));
        assert!(Formula::parse(&"1+".repeat(600)).unwrap_err().contains("longer"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+*/%^(),.0-9a-z é]{0,60}", t in 0.0f64..1e6) {
            if let Ok(formula) = Formula::parse(&text) {
                let _ = formula.at(t);
            }
        }
    }
}
