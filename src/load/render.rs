//! Fills templates: values from the walk's variables, its data row and its random numbers.

use crate::record::{Timestamp, date_of_day};
use crate::scenario::{
    Comparison, Escape, Expression, Fake, Filter, Locale, Member, Operator, Piece, Template, base64,
    compares, percent_encode, text_of, write_value,
};
use fake::Fake as _;
use fake::faker;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt};
use serde_json::Value;
use std::borrow::Cow;

/// What templates of one iteration may look at.
pub struct Scope<'a> {
    /// Variables by slot; null where nothing was extracted.
    pub variables: &'a [Value],
    /// This iteration's data row.
    pub row: Option<&'a Row<'a>>,
    /// The virtual user.
    pub user: u32,
    /// Its iteration.
    pub iteration: u32,
    /// Now, for `now()`.
    pub now: Timestamp,
    /// Of invented data.
    pub locale: Locale,
}

/// A row of a journey's data, by column.
pub enum Row<'a> {
    /// In memory.
    Kept(&'a [Value]),
    /// Read from the disk.
    Read(Vec<Value>),
}

impl Row<'_> {
    fn value(&self, column: usize) -> Option<&Value> {
        match self {
            Row::Kept(values) => values.get(column),
            Row::Read(values) => values.get(column),
        }
    }
}

/// Appends a filled template.
///
/// # Errors
/// A sentence that says which value is missing or does not fit.
pub fn render(
    template: &Template,
    scope: &Scope,
    random: &mut SmallRng,
    out: &mut String,
) -> Result<(), String> {
    for piece in &template.pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Hole(expression, escape) => {
                let value = evaluate(expression, scope, random)?;
                if value.is_null() && *escape != Escape::JsonValue {
                    return Err(format!("{} has no value", described(expression)));
                }
                let escape = match (expression, escape) {
                    (Expression::Filtered(_, Filter::Raw), Escape::Percent) => Escape::Plain,
                    _ => *escape,
                };
                write_value(&value, escape, out);
            }
        }
    }
    Ok(())
}

fn evaluate<'a>(
    expression: &'a Expression,
    scope: &Scope<'a>,
    random: &mut SmallRng,
) -> Result<Cow<'a, Value>, String> {
    Ok(match expression {
        Expression::Literal(value) => Cow::Borrowed(value),
        Expression::Variable(named) => {
            scope.variables.get(named.index).map_or(Cow::Owned(Value::Null), Cow::Borrowed)
        }
        Expression::Column(named) => match scope.row {
            Some(row) => row.value(named.index).map_or(Cow::Owned(Value::Null), Cow::Borrowed),
            None => Cow::Owned(Value::Null),
        },
        Expression::User => owned(scope.user),
        Expression::Iteration => owned(scope.iteration),
        Expression::Pick(low, high) => owned(random.random_range(*low..=*high)),
        Expression::PickBetween(low, high) => {
            let end = |e: &'a Expression, random: &mut SmallRng| -> Result<i64, String> {
                let value = evaluate(e, scope, random)?;
                let number = value.as_i64().or_else(|| text_of(&value).trim().parse().ok());
                number.ok_or_else(|| format!("{} is no whole number", described(e)))
            };
            let (low, high) = (end(low, random)?, end(high, random)?);
            if low > high {
                return Err(format!("pick({low}, {high}) is an empty range"));
            }
            owned(random.random_range(low..=high))
        }
        Expression::OneOf(values) => {
            let index = random.random_range(0..values.len().max(1));
            match values.get(index) {
                Some(value) => evaluate(value, scope, random)?,
                None => Cow::Owned(Value::Null),
            }
        }
        Expression::Uuid => owned(uuid(random)),
        Expression::RandomText(length) => owned(random_text(*length, random)),
        Expression::Now => owned(scope.now.0 / 1_000_000),
        Expression::Fake(kind) => Cow::Owned(fake_value(*kind, scope.locale, random)),
        Expression::Secret(_, value) => Cow::Borrowed(value),
        Expression::Member(inner, member) => take_member(evaluate(inner, scope, random)?, member),
        Expression::Filtered(inner, filter) => {
            let value = evaluate(inner, scope, random)?;
            filtered(value, filter, inner, scope, random)?
        }
        Expression::Text(template) => {
            let mut text = String::new();
            render(template, scope, random, &mut text)?;
            owned(text)
        }
        Expression::Compare(left, comparison, right) => {
            let (left, right) = (evaluate(left, scope, random)?, evaluate(right, scope, random)?);
            owned(compares(&left, *comparison, &right))
        }
        Expression::Contains(whole, part) => {
            let (whole, part) = (evaluate(whole, scope, random)?, evaluate(part, scope, random)?);
            owned(contains(&whole, &part))
        }
        Expression::And(left, right) => {
            owned(is_true(&*evaluate(left, scope, random)?) && is_true(&*evaluate(right, scope, random)?))
        }
        Expression::Or(left, right) => {
            owned(is_true(&*evaluate(left, scope, random)?) || is_true(&*evaluate(right, scope, random)?))
        }
        Expression::Not(inner) => owned(!is_true(&*evaluate(inner, scope, random)?)),
        Expression::Defined(inner) => {
            owned(evaluate(inner, scope, random).is_ok_and(|value| !value.is_null()))
        }
        Expression::Arithmetic(left, operator, right) => {
            let (a, b) = (evaluate(left, scope, random)?, evaluate(right, scope, random)?);
            Cow::Owned(calculated(&a, *operator, &b).ok_or_else(|| {
                format!("{} and {} cannot be calculated with", described(left), described(right))
            })?)
        }
    })
}

/// The value of an expression.
///
/// # Errors
/// A sentence that says which value is missing or does not fit.
pub fn value(expression: &Expression, scope: &Scope, random: &mut SmallRng) -> Result<Value, String> {
    evaluate(expression, scope, random).map(Cow::into_owned)
}

/// Whether a condition holds. One that lacks a value does not.
pub fn holds(condition: &Expression, scope: &Scope, random: &mut SmallRng) -> bool {
    evaluate(condition, scope, random).is_ok_and(|value| is_true(&value))
}

/// What counts as true: all but nothing, `false`, 0, and empty texts, lists and mappings.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

fn contains(whole: &Value, part: &Value) -> bool {
    match whole {
        Value::Array(items) => items.iter().any(|item| compares(item, Comparison::Equal, part)),
        Value::Object(members) => part.as_str().is_some_and(|key| members.contains_key(key)),
        Value::Null => false,
        text => text_of(text).contains(&*text_of(part)),
    }
}

fn calculated(a: &Value, operator: Operator, b: &Value) -> Option<Value> {
    let whole = |v: &Value| v.as_i64().or_else(|| v.as_str()?.trim().parse().ok());
    let real = |v: &Value| v.as_f64().or_else(|| v.as_str()?.trim().parse().ok());
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        let result = match operator {
            Operator::Plus => a.checked_add(b),
            Operator::Minus => a.checked_sub(b),
            Operator::Times => a.checked_mul(b),
            Operator::Over if b != 0 && a.checked_rem(b) == Some(0) => a.checked_div(b),
            Operator::Over => None,
            Operator::Modulo => a.checked_rem_euclid(b),
        };
        if let Some(result) = result {
            return Some(result.into());
        }
    }
    match (real(a), real(b), operator) {
        (Some(a), Some(b), operator) => {
            let result = match operator {
                Operator::Plus => a + b,
                Operator::Minus => a - b,
                Operator::Times => a * b,
                Operator::Over => a / b,
                Operator::Modulo => a.rem_euclid(b),
            };
            // There is no JSON for a division by zero.
            serde_json::Number::from_f64(result).map(Value::Number)
        }
        (_, _, Operator::Plus) if !a.is_null() && !b.is_null() => {
            Some(format!("{}{}", text_of(a), text_of(b)).into())
        }
        _ => None,
    }
}

fn owned<'a>(value: impl Into<Value>) -> Cow<'a, Value> {
    Cow::Owned(value.into())
}

fn take_member<'a>(value: Cow<'a, Value>, member: &Member) -> Cow<'a, Value> {
    fn within<'v>(value: &'v Value, member: &Member) -> Option<&'v Value> {
        match (member, value) {
            (Member::Key(key), value) => value.get(key),
            (Member::Index(index), Value::Array(items)) => {
                let index = if *index < 0 {
                    items.len().checked_add_signed(*index as isize)
                } else {
                    Some(*index as usize)
                };
                items.get(index?)
            }
            _ => None,
        }
    }
    match value {
        Cow::Borrowed(value) => within(value, member).map_or(Cow::Owned(Value::Null), Cow::Borrowed),
        Cow::Owned(value) => Cow::Owned(within(&value, member).cloned().unwrap_or_default()),
    }
}

fn item_at<'a>(value: Cow<'a, Value>, index: usize) -> Cow<'a, Value> {
    take_member(value, &Member::Index(index as i64))
}

fn filtered<'a>(
    value: Cow<'a, Value>,
    filter: &'a Filter,
    inner: &Expression,
    scope: &Scope<'a>,
    random: &mut SmallRng,
) -> Result<Cow<'a, Value>, String> {
    if value.is_null() {
        return match filter {
            Filter::Default(fallback) => evaluate(fallback, scope, random),
            _ => Err(format!("{} has no value", described(inner))),
        };
    }
    Ok(match filter {
        Filter::Default(_) | Filter::Raw => value,
        Filter::Random | Filter::First | Filter::Last => {
            let Value::Array(items) = &*value else {
                // A list of one is what many services send for one result.
                return Ok(value);
            };
            let length = items.len();
            if length == 0 {
                return Err(format!("{} is an empty list", described(inner)));
            }
            let index = match filter {
                Filter::First => 0,
                Filter::Last => length - 1,
                _ => random.random_range(0..length),
            };
            item_at(value, index)
        }
        Filter::Length => owned(match &*value {
            Value::Array(items) => items.len(),
            Value::Object(members) => members.len(),
            other => text_of(other).chars().count(),
        }),
        Filter::Int => {
            let text = text_of(&value);
            let number = text.trim().parse::<i64>().ok().or_else(|| value.as_f64().map(|n| n as i64));
            owned(number.ok_or_else(|| format!("{} is no whole number: {text:.40}", described(inner)))?)
        }
        Filter::Text => owned(text_of(&value).into_owned()),
        Filter::Json => owned(value.to_string()),
        Filter::Upper => owned(text_of(&value).to_uppercase()),
        Filter::Lower => owned(text_of(&value).to_lowercase()),
        Filter::Trim => owned(text_of(&value).trim()),
        Filter::UrlEncode => {
            let mut out = String::new();
            percent_encode(&text_of(&value), &mut out);
            owned(out)
        }
        Filter::Base64 => owned(base64(text_of(&value).as_bytes())),
    })
}

/// What a template's author calls the expression.
fn described(expression: &Expression) -> String {
    match expression {
        Expression::Variable(named) => format!("`{}`", named.name),
        Expression::Column(named) => format!("`data.{}`", named.name),
        Expression::Member(inner, Member::Key(key)) => format!("`{key}` of {}", described(inner)),
        Expression::Member(inner, Member::Index(index)) => format!("item {index} of {}", described(inner)),
        Expression::Filtered(inner, _) => described(inner),
        _ => "the expression".to_string(),
    }
}

fn uuid(random: &mut SmallRng) -> String {
    let (high, low) = (random.next_u64(), random.next_u64());
    // Version 4, variant 1 (RFC 9562, section 5.4).
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

fn random_text(length: usize, random: &mut SmallRng) -> String {
    const CHARACTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..length).map(|_| char::from(CHARACTERS[random.random_range(0..CHARACTERS.len())])).collect()
}

/// Invented data: texts, save for what is a number or a truth value.
fn fake_value(kind: Fake, locale: Locale, random: &mut SmallRng) -> Value {
    use fake::locales::{DE_DE, EN, FR_FR, IT_IT, JA_JP, NL_NL, PT_BR, ZH_CN};
    match kind {
        Fake::Boolean => return random.random::<bool>().into(),
        Fake::Latitude => return (f64::from(random.random_range(-90_000_000..=90_000_000)) / 1e6).into(),
        Fake::Longitude => return (f64::from(random.random_range(-180_000_000..=180_000_000)) / 1e6).into(),
        Fake::Date => return date(random).into(),
        Fake::Time => return time_of_day(random).into(),
        Fake::DateTime => return format!("{}T{}Z", date(random), time_of_day(random)).into(),
        Fake::Color => return format!("#{:06x}", random.random_range(0..0x100_0000)).into(),
        _ => {}
    }
    macro_rules! of {
        ($locale:ident) => {
            match kind {
                // Each language makes names of places by rules of its own, which no common bound names.
                Fake::City => faker::address::raw::CityName($locale).fake_with_rng(random),
                _ => fake_text(kind, $locale, random),
            }
        };
    }
    let text: String = match locale {
        Locale::En => of!(EN),
        Locale::De => of!(DE_DE),
        Locale::Fr => of!(FR_FR),
        Locale::It => of!(IT_IT),
        Locale::Nl => of!(NL_NL),
        Locale::PtBr => of!(PT_BR),
        Locale::Ja => of!(JA_JP),
        Locale::ZhCn => of!(ZH_CN),
    };
    text.into()
}

/// A day of 1970 to 2037, which any service can hold.
fn date(random: &mut SmallRng) -> String {
    let (year, month, day) = date_of_day(random.random_range(0..24_837u64));
    format!("{year:04}-{month:02}-{day:02}")
}

fn time_of_day(random: &mut SmallRng) -> String {
    let second = random.random_range(0..86_400);
    format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

fn fake_text<L: fake::locales::Data + Copy>(kind: Fake, locale: L, random: &mut SmallRng) -> String {
    use faker::{
        address::raw as address, company::raw as company, creditcard::raw as card, internet::raw as internet,
    };
    use faker::{job::raw as job, lorem::raw as lorem, name::raw as name, phone_number::raw as phone};
    match kind {
        Fake::Name => name::Name(locale).fake_with_rng(random),
        Fake::FirstName => name::FirstName(locale).fake_with_rng(random),
        Fake::LastName => name::LastName(locale).fake_with_rng(random),
        Fake::Username => internet::Username(locale).fake_with_rng(random),
        Fake::Email => internet::SafeEmail(locale).fake_with_rng(random),
        Fake::Password => internet::Password(locale, 10..20).fake_with_rng(random),
        Fake::Phone => phone::PhoneNumber(locale).fake_with_rng(random),
        Fake::Company => company::CompanyName(locale).fake_with_rng(random),
        Fake::JobTitle => job::Title(locale).fake_with_rng(random),
        Fake::StreetAddress => {
            let number: String = address::BuildingNumber(locale).fake_with_rng(random);
            let street: String = address::StreetName(locale).fake_with_rng(random);
            format!("{number} {street}")
        }
        Fake::StreetName => address::StreetName(locale).fake_with_rng(random),
        Fake::State => address::StateName(locale).fake_with_rng(random),
        Fake::PostCode => address::PostCode(locale).fake_with_rng(random),
        Fake::Country => address::CountryName(locale).fake_with_rng(random),
        Fake::CountryCode => address::CountryCode(locale).fake_with_rng(random),
        Fake::Word => lorem::Word(locale).fake_with_rng(random),
        Fake::Sentence => lorem::Sentence(locale, 4..9).fake_with_rng(random),
        Fake::Paragraph => lorem::Paragraph(locale, 2..5).fake_with_rng(random),
        Fake::CreditCard => card::CreditCardNumber(locale).fake_with_rng(random),
        Fake::Ipv4 => internet::IPv4(locale).fake_with_rng(random),
        Fake::Ipv6 => internet::IPv6(locale).fake_with_rng(random),
        Fake::Domain => {
            let word: String = lorem::Word(fake::locales::EN).fake_with_rng(random);
            let suffix: String = internet::DomainSuffix(locale).fake_with_rng(random);
            format!("{word}.{suffix}")
        }
        Fake::UserAgent => internet::UserAgent(locale).fake_with_rng(random),
        // Made elsewhere.
        Fake::City
        | Fake::Date
        | Fake::DateTime
        | Fake::Time
        | Fake::Boolean
        | Fake::Latitude
        | Fake::Longitude
        | Fake::Color => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::random::of_iteration;
    use crate::scenario::{Body, parse};
    use serde_json::json;

    /// The first step's path and the second step's JSON body of a scenario, filled with what the first one extracted.
    fn filled(path: &str, body: &str, extracted: Value) -> Result<(String, String), String> {
        let text = format!(
            "target: http://h\nload: {{users: 1, for: 1s}}\nvars: {{word: 'a b/c', list: [1, 2, 3]}}\nsteps:\n  - get: /\n    extract: {{got: $.got}}\n  - post: {path}\n    json: {body}\n"
        );
        let scenario = parse(&text, "test").unwrap_or_else(|e| panic!("{e}"));
        let mut variables = scenario.variables.clone();
        variables[2] = extracted;
        let scope = Scope {
            variables: &variables,
            row: None,
            user: 3,
            iteration: 4,
            now: Timestamp(5_000_000),
            locale: Locale::En,
        };
        let mut random = of_iteration(1, 3, 4);
        let (mut path, mut json) = (String::new(), String::new());
        render(&scenario.steps[1].path, &scope, &mut random, &mut path)?;
        let Body::Text { text, .. } = &scenario.steps[1].body else { panic!("no body") };
        render(text, &scope, &mut random, &mut json)?;
        Ok((path, json))
    }

    #[test]
    fn values_are_escaped_for_their_place() {
        let body = r#"{a: "{{ got }}", b: "x {{ got.s }} y", c: "{{ word }}", d: "{{ got.n | string }}", e: "{{ got.none }}"}"#;
        let got = json!({"s": "say \"hi\"\n", "n": 7});
        let (path, json) =
            filled("/{{ word }}/{{ word | raw | trim | raw }}?u={{ user }}", body, got.clone()).unwrap();
        assert_eq!(path, "/a%20b%2Fc/a b/c?u=3");
        let sent: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(sent, json!({"a": got, "b": "x say \"hi\"\n y", "c": "a b/c", "d": "7", "e": null}));
    }

    #[test]
    fn filters_do_what_they_say() {
        let body = r#"["{{ list | first }}", "{{ list | last }}", "{{ list | length }}", "{{ '5' | int }}", "{{ 'Ab' | upper }}", "{{ 'Ab' | lower }}", "{{ got | default(9) }}", "{{ 'a:b' | base64 }}", "{{ list[-1] }}", "{{ list | json }}", "{{ now() }}", "{{ iteration }}"]"#;
        let (_, json) = filled("/", body, Value::Null).unwrap();
        let sent: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(sent, json!([1, 3, 3, 5, "AB", "ab", 9, "YTpi", 3, "[1,2,3]", 5, 4]));
    }

    #[test]
    fn random_values_are_of_their_kind_and_repeat_with_the_seed() {
        let body = r#"["{{ pick(5, 6) }}", "{{ uuid() }}", "{{ random_text(8) }}", "{{ list | random }}", "{{ one_of('x', 'y') }}", "{{ fake.street_address }}", "{{ fake.email }}"]"#;
        let (_, json) = filled("/", body, Value::Null).unwrap();
        assert_eq!(filled("/", body, Value::Null).unwrap().1, json);
        let sent: Vec<Value> = serde_json::from_str(&json).unwrap();
        assert!([5, 6].contains(&sent[0].as_i64().unwrap()));
        let uuid = sent[1].as_str().unwrap();
        assert!(uuid.len() == 36 && &uuid[14..15] == "4" && "89ab".contains(&uuid[19..20]), "{uuid}");
        assert_eq!(sent[2].as_str().unwrap().len(), 8);
        assert!([1, 2, 3].contains(&sent[3].as_i64().unwrap()));
        assert!(sent[4] == "x" || sent[4] == "y");
        assert!(sent[5].as_str().unwrap().contains(' ') && sent[6].as_str().unwrap().contains('@'));
    }

    #[test]
    fn formulas_give_what_they_say() {
        let body = r#"["{{ 1 + 2 * 3 }}", "{{ (1 + 2) * 3 - 1 }}", "{{ 7 / 2 }}", "{{ 8 / 2 }}", "{{ 7 % 4 }}", "{{ 'a' + 1 }}", "{{ got.n > 6 and got.s == 'x' }}", "{{ not defined(got.none) or false }}", "{{ list contains 2 }}", "{{ 'abc' contains 'd' }}", "{{ got.none == null }}", "{{ '10' > 9 }}", "{{ user - 1 }}"]"#;
        let (_, json) = filled("/", body, json!({"n": 7, "s": "x"})).unwrap();
        let sent: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(sent, json!([7, 8, 3.5, 4, 3, "a1", true, true, true, false, true, true, 2]));
        assert!(filled("/{{ 1 / 0 }}", "{}", json!({})).unwrap_err().contains("cannot be calculated"));
        assert!(filled("/{{ list + got.none }}", "{}", json!({})).is_err());
        let picked =
            r#"["{{ pick(got.n, got.n + 1) }}", "{{ pick(got.n, got.t) }}", "{{ pick(1, got.n) }}"]"#;
        let (_, json) = filled("/", picked, json!({"n": 7, "t": "7"})).unwrap();
        let sent: Vec<i64> = serde_json::from_str(&json).unwrap();
        assert!((7..=8).contains(&sent[0]) && sent[1] == 7 && (1..=7).contains(&sent[2]), "{sent:?}");
        assert_eq!(
            filled("/{{ pick(got.n, 1) }}", "{}", json!({"n": 7})).unwrap_err(),
            "pick(7, 1) is an empty range"
        );
        assert_eq!(filled("/{{ pick(1, word) }}", "{}", json!({})).unwrap_err(), "`word` is no whole number");
        assert!(
            is_true(&json!("no")) && !is_true(&json!("")) && !is_true(&json!([])) && !is_true(&json!(0.0))
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(filled("/{{ got.id }}", "{}", json!({})).unwrap_err(), "`id` of `got` has no value");
        assert_eq!(filled("/{{ got | random }}", "{}", json!([])).unwrap_err(), "`got` is an empty list");
        assert_eq!(filled("/{{ got | int }}", "{}", json!("x")).unwrap_err(), "`got` is no whole number: x");
    }

    #[test]
    fn every_kind_of_fake_data_gives_something_in_every_locale() {
        for (_, locale) in Locale::NAMES {
            for index in 0..Fake::NAMES.len() {
                let text = format!("[\"{{{{ fake.{} }}}}\"]", Fake::NAMES[index]);
                let scenario = parse(
                    &format!(
                        "target: http://h\nload: {{users: 1, for: 1s}}\nsteps: [{{post: /, json: {text}}}]\n"
                    ),
                    "t",
                )
                .unwrap();
                let Body::Text { text, .. } = &scenario.steps[0].body else { panic!("no body") };
                let scope =
                    Scope { variables: &[], row: None, user: 0, iteration: 0, now: Timestamp(0), locale };
                let filled = |seed| {
                    let mut out = String::new();
                    render(text, &scope, &mut of_iteration(seed, 0, 0), &mut out).unwrap();
                    let value: Value = serde_json::from_str(&out).unwrap();
                    value[0].clone()
                };
                assert_eq!(filled(1), filled(1));
                assert!(!text_of(&filled(1)).is_empty(), "{} {locale:?}", Fake::NAMES[index]);
            }
        }
        let mut random = of_iteration(1, 0, 0);
        let mut name = |locale| text_of(&fake_value(Fake::City, locale, &mut random)).into_owned();
        assert!(
            !name(Locale::Ja).is_ascii() && !name(Locale::ZhCn).is_ascii() && name(Locale::En).is_ascii()
        );
        for _ in 0..200 {
            let day = date(&mut random);
            assert!(("1970-01-01".."2038-01-01").contains(&day.as_str()) && day.len() == 10, "{day}");
        }
    }

    #[test]
    fn every_kind_of_fake_data_gives_something() {
        for name in Fake::NAMES {
            let (_, json) = filled("/", &format!("[\"{{{{ fake.{name} }}}}\"]"), Value::Null).unwrap();
            assert!(json.len() > 4, "{name}: {json}");
        }
    }
}
