//! Texts with holes: `/products/{{ ids | random }}`. Parsed once when the scenario is read; a text without holes is one
//! piece and costs nothing later.
//!
//! The language is small on purpose: literals, variables with members and functions, then filters; comparisons, `and`,
//! `or`, `not` and arithmetic over them. Conditions of steps (`when`, `while`) are such expressions too.

mod parser;

use super::threshold::Comparison;
use parser::closing;
pub(super) use parser::{Names, TemplateFault, parse_expression};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// A text with holes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    /// Pieces in order; neighbouring texts are joined, empty texts left out.
    pub pieces: Vec<Piece>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Written as it is.
    Text(String),
    /// Evaluated for each request, then written in a way that suits the place.
    Hole(Expression, Escape),
}

/// How a value is written into its surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As text.
    Plain,
    /// Percent-encoded, so that it stays one part of a URL or of a form.
    Percent,
    /// As a JSON value: a number stays a number.
    JsonValue,
    /// As the inside of a JSON string.
    JsonInside,
}

/// Something that has a value when a request is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A literal.
    Literal(Value),
    /// A variable of the walk: extracted by an earlier step or given under `vars`.
    Variable(Named),
    /// A column of the journey's data row.
    Column(Named),
    /// A value that must not be seen, and its name.
    Secret(Arc<str>, Value),
    /// The virtual user's number, from 0.
    User,
    /// The user's iteration, from 0.
    Iteration,
    /// A uniformly distributed whole number, both ends included.
    Pick(i64, i64),
    /// The same between two values that are known when the request is made.
    PickBetween(Box<Expression>, Box<Expression>),
    /// One of the given values, each as likely.
    OneOf(Vec<Expression>),
    /// A random UUID (version 4).
    Uuid,
    /// That many random letters and digits.
    RandomText(usize),
    /// Milliseconds since the Unix epoch.
    Now,
    /// Invented data of that kind.
    Fake(Fake),
    /// A member of a mapping, or an item of a list.
    Member(Box<Expression>, Member),
    /// A value put through a filter.
    Filtered(Box<Expression>, Filter),
    /// A text with holes.
    Text(Template),
    /// Whether two values compare so.
    Compare(Box<Expression>, Comparison, Box<Expression>),
    /// Whether a text has another in it, or a list an item.
    Contains(Box<Expression>, Box<Expression>),
    /// Whether both hold; the second is looked at only where the first does.
    And(Box<Expression>, Box<Expression>),
    /// Whether one holds; the second is looked at only where the first does not.
    Or(Box<Expression>, Box<Expression>),
    /// Whether it does not hold.
    Not(Box<Expression>),
    /// Whether it has a value.
    Defined(Box<Expression>),
    /// A calculation.
    Arithmetic(Box<Expression>, Operator, Box<Expression>),
}

/// What is calculated. Whole numbers stay whole, save where a division leaves a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`; joins texts.
    Plus,
    /// `-`
    Minus,
    /// `*`
    Times,
    /// `/`
    Over,
    /// `%`: the remainder.
    Modulo,
}

/// Something that was found by its name when the template was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Where it stands: a variable's slot, a column's number.
    pub index: usize,
    /// Its name, for messages.
    pub name: Arc<str>,
}

/// How to get at a part of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Member {
    /// By key.
    Key(String),
    /// By position, from 0; negative counts from the end.
    Index(i64),
}

/// What a filter does.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// One item of a list.
    Random,
    /// The first item of a list.
    First,
    /// The last item of a list.
    Last,
    /// Number of items or characters.
    Length,
    /// A whole number from text.
    Int,
    /// Text from anything.
    Text,
    /// JSON from anything.
    Json,
    /// Capitals.
    Upper,
    /// Small letters.
    Lower,
    /// Without space at the ends.
    Trim,
    /// Percent-encoded.
    UrlEncode,
    /// Base64 of the text.
    Base64,
    /// Written into a URL without percent-encoding.
    Raw,
    /// The given value where there is none.
    Default(Box<Expression>),
}

macro_rules! fakes {
    ($($name:ident $text:literal;)*) => {
        /// Kinds of invented data.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is its own name")]
        pub enum Fake { $($name),* }

        impl Fake {
            /// Names as in `fake.<name>`.
            pub const NAMES: &'static [&'static str] = &[$($text),*];

            fn from_name(name: &str) -> Option<Fake> {
                match name { $($text => Some(Fake::$name),)* _ => None }
            }
        }
    };
}
fakes! {
    Name "name";
    FirstName "first_name";
    LastName "last_name";
    Username "username";
    Email "email";
    Password "password";
    Phone "phone";
    Company "company";
    JobTitle "job_title";
    StreetAddress "street_address";
    City "city";
    PostCode "post_code";
    Country "country";
    CountryCode "country_code";
    Word "word";
    Sentence "sentence";
    Paragraph "paragraph";
    CreditCard "credit_card";
    Ipv4 "ipv4";
    UserAgent "user_agent";
    Date "date";
    DateTime "date_time";
    Time "time";
    Boolean "boolean";
    Latitude "latitude";
    Longitude "longitude";
    State "state";
    StreetName "street_name";
    Domain "domain";
    Ipv6 "ipv6";
    Color "color";
}

/// Country and language of invented data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its own name")]
pub enum Locale {
    #[default]
    En,
    De,
    Fr,
    It,
    Nl,
    PtBr,
    Ja,
    ZhCn,
}

impl Locale {
    /// As written under `locale`.
    pub const NAMES: [(&'static str, Locale); 8] = [
        ("en", Locale::En),
        ("de", Locale::De),
        ("fr", Locale::Fr),
        ("it", Locale::It),
        ("nl", Locale::Nl),
        ("pt-br", Locale::PtBr),
        ("ja", Locale::Ja),
        ("zh-cn", Locale::ZhCn),
    ];
}

impl Template {
    /// A text without holes.
    pub fn text(text: impl Into<String>) -> Template {
        let mut template = Template::default();
        template.push_text(&text.into());
        template
    }

    /// Reads a text in which `{{ … }}` are holes, written with `escape`; `literal` encodes what stands around them.
    pub(super) fn parse(
        text: &str,
        names: &Names,
        escape: Escape,
        literal: fn(&str) -> Cow<'_, str>,
    ) -> Result<Template, TemplateFault> {
        let mut template = Template::default();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            template.push_text(&literal(&rest[..open]));
            let inside = &rest[open + 2..];
            let at = text.len() - rest.len() + open;
            let Some(close) = closing(inside) else {
                let at = text[..at].chars().count();
                return Err(TemplateFault { at, message: "`{{` without its `}}`".to_string() });
            };
            let start = text[..at + 2].chars().count();
            let expression = parse_expression(&inside[..close], names)
                .map_err(|fault| TemplateFault { at: start + fault.at, ..fault })?;
            template.push_hole(expression, escape);
            rest = &inside[close + 2..];
        }
        template.push_text(&literal(rest));
        Ok(template)
    }

    /// The text, if there are no holes.
    pub fn as_static(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The template with secrets written out: for what is sent, never for what is shown.
    pub fn revealed(&self) -> Template {
        let mut out = Template::default();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_text(text),
                Piece::Hole(Expression::Secret(_, value), escape) => {
                    let mut text = String::new();
                    write_value(value, *escape, &mut text);
                    out.push_text(&text);
                }
                hole => out.pieces.push(hole.clone()),
            }
        }
        out
    }

    /// The expression, if the whole text is one hole.
    pub fn as_single_hole(&self) -> Option<&Expression> {
        match self.pieces.as_slice() {
            [Piece::Hole(expression, _)] => Some(expression),
            _ => None,
        }
    }

    pub(super) fn push_text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_string())),
        }
    }

    /// A literal value is written at once: `{{ env.HOST }}` costs no more than the text that it stands for.
    fn push_hole(&mut self, expression: Expression, escape: Escape) {
        match &expression {
            Expression::Literal(value) => {
                let mut text = String::new();
                write_value(value, escape, &mut text);
                self.push_text(&text);
            }
            _ => self.pieces.push(Piece::Hole(expression, escape)),
        }
    }

    pub(super) fn append(&mut self, other: Template) {
        for piece in other.pieces {
            match piece {
                Piece::Text(text) => self.push_text(&text),
                hole => self.pieces.push(hole),
            }
        }
    }

    /// All holes' expressions.
    pub fn holes(&self) -> impl Iterator<Item = &Expression> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Hole(expression, _) => Some(expression),
            Piece::Text(_) => None,
        })
    }

    /// The text with a short name in braces for each hole: `/products/{ids}`.
    pub(super) fn skeleton(&self) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Hole(expression, _) => {
                    out.push('{');
                    out.push_str(&short_name(expression));
                    out.push('}');
                }
            }
        }
        out
    }
}

fn short_name(expression: &Expression) -> String {
    match expression {
        Expression::Variable(named) | Expression::Column(named) => named.name.to_string(),
        Expression::Member(_, Member::Key(key)) => key.clone(),
        Expression::Member(inner, Member::Index(_)) | Expression::Filtered(inner, _) => short_name(inner),
        Expression::Secret(name, _) => name.to_string(),
        Expression::User => "user".to_string(),
        Expression::Iteration => "iteration".to_string(),
        Expression::Pick(..) | Expression::PickBetween(..) => "n".to_string(),
        Expression::Uuid => "uuid".to_string(),
        Expression::Now => "now".to_string(),
        Expression::RandomText(_) => "text".to_string(),
        Expression::Fake(kind) => Fake::NAMES.get(*kind as usize).copied().unwrap_or_default().to_string(),
        Expression::Arithmetic(inner, ..) => short_name(inner),
        _ => "value".to_string(),
    }
}

/// A value as text: a string without quotes, anything else as JSON; nothing is an empty text.
pub fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    }
}

/// Writes a value in the way that suits its surroundings.
pub fn write_value(value: &Value, escape: Escape, out: &mut String) {
    match (value, escape) {
        (Value::Number(number), _) => {
            let _ = write!(out, "{number}");
        }
        (value, Escape::JsonValue) => {
            let _ = write!(out, "{value}");
        }
        (value, Escape::Plain) => out.push_str(&text_of(value)),
        (value, Escape::Percent) => percent_encode(&text_of(value), out),
        (value, Escape::JsonInside) => {
            let quoted = Value::from(text_of(value)).to_string();
            out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
        }
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
pub fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// The inside of a JSON string.
pub(super) fn json_inside(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    write_value(&Value::from(text), Escape::JsonInside, &mut out);
    Cow::Owned(out)
}

/// The text as it is.
pub(super) fn as_it_is(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

/// Percent-encodes what may not stand in a URL as it is; `%41` and the like are left alone.
pub(super) fn url_literal(text: &str) -> Cow<'_, str> {
    let fine = |b: u8| {
        b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    };
    if text.bytes().all(fine) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            byte if fine(byte) => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    Cow::Owned(out)
}

/// The text, percent-encoded as one part of a form.
pub(super) fn form_literal(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    percent_encode(text, &mut out);
    Cow::Owned(out)
}

/// Every word of the language, for the test that the reference names them all.
#[cfg(test)]
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    Fake::NAMES.iter().chain(parser::FUNCTIONS).chain(parser::FILTERS).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names {
            columns: Some(vec!["user".to_string(), "password".to_string()].into()),
            environment: Arc::new([("HOST".to_string(), "example.org".to_string())].into()),
            ..Names::default()
        };
        names.declare("ids");
        names.declare("token");
        names
    }

    fn parse(text: &str) -> Result<Template, TemplateFault> {
        Template::parse(text, &names(), Escape::Plain, as_it_is)
    }

    fn refused(text: &str) -> String {
        let fault = parse(text).unwrap_err();
        format!("{}: {}", fault.at, fault.message)
    }

    #[test]
    fn a_text_without_holes_is_one_piece() {
        assert_eq!(parse("/a}b{c").unwrap().as_static(), Some("/a}b{c"));
        assert_eq!(parse("").unwrap().as_static(), Some(""));
        assert_eq!(parse("http://{{ env.HOST }}/x").unwrap().as_static(), Some("http://example.org/x"));
    }

    #[test]
    fn expressions_become_trees() {
        let random = Expression::Filtered(
            Box::new(Expression::Variable(Named { index: 0, name: "ids".into() })),
            Filter::Random,
        );
        assert_eq!(
            parse("/p/{{ids|random}}?q={{ pick(1, 20) }}").unwrap().pieces,
            vec![
                Piece::Text("/p/".into()),
                Piece::Hole(random, Escape::Plain),
                Piece::Text("?q=".into()),
                Piece::Hole(Expression::Pick(1, 20), Escape::Plain),
            ]
        );
        let member = parse("{{ token.items[0][\"a}}b\"] }}").unwrap();
        let Some(Expression::Member(inner, Member::Key(key))) = member.as_single_hole() else {
            panic!("{member:?}")
        };
        assert_eq!(key, "a}}b");
        assert!(matches!(&**inner, Expression::Member(_, Member::Index(0))));
        assert_eq!(
            parse("{{ data.password }}").unwrap().as_single_hole(),
            Some(&Expression::Column(Named { index: 1, name: "password".into() }))
        );
        assert_eq!(
            parse("{{ fake.street_address }}").unwrap().as_single_hole(),
            Some(&Expression::Fake(Fake::StreetAddress))
        );
    }

    #[test]
    fn operators_bind_as_usual() {
        let shape = |text: &str| {
            fn of(e: &Expression) -> String {
                match e {
                    Expression::Or(a, b) => format!("({} or {})", of(a), of(b)),
                    Expression::And(a, b) => format!("({} and {})", of(a), of(b)),
                    Expression::Not(a) => format!("not {}", of(a)),
                    Expression::Compare(a, c, b) => format!("({} {c} {})", of(a), of(b)),
                    Expression::Contains(a, b) => format!("({} contains {})", of(a), of(b)),
                    Expression::Arithmetic(a, o, b) => format!("({} {o:?} {})", of(a), of(b)),
                    Expression::Defined(a) => format!("defined {}", of(a)),
                    Expression::Filtered(a, f) => format!("{}|{f:?}", of(a)),
                    Expression::Variable(named) => named.name.to_string(),
                    Expression::Literal(value) => value.to_string(),
                    other => format!("{other:?}"),
                }
            }
            parse_expression(text, &names())
                .map(|e| of(&e))
                .unwrap_or_else(|f| format!("{}: {}", f.at, f.message))
        };
        assert_eq!(
            shape("ids|length - 1 * 2 > 3 and not token or true"),
            "((((ids|Length Minus (1 Times 2)) > 3) and not token) or true)"
        );
        assert_eq!(shape("not defined(token) and (ids or token)"), "(not defined token and (ids or token))");
        assert_eq!(shape("token == 'a or b'"), "(token == \"a or b\")");
        assert_eq!(shape("token contains \"x\""), "(token contains \"x\")");
        assert_eq!(shape("token = 1"), "6: `=` is no comparison: write == for equal");
        assert_eq!(shape("token and"), "9: a value is missing at the end");
        assert_eq!(shape("or token"), "0: `or` stands between two values: a value is missing here");
        assert_eq!(shape("(token"), "6: `(` without its `)`");
        assert_eq!(shape(&"(".repeat(40)), "32: the expression is nested too deeply");
    }

    #[test]
    fn the_skeleton_has_few_values() {
        let template = parse("/p/{{ ids | random }}/r/{{ pick(1, 9) }}/{{ data.user }}").unwrap();
        assert_eq!(template.skeleton(), "/p/{ids}/r/{n}/{user}");
    }

    #[test]
    fn faults_name_the_character_and_the_way_out() {
        assert_eq!(refused("/p/{{ ids | randon }}"), "12: unknown filter `randon`; did you mean `random`?");
        assert_eq!(refused("{{ tokne }}"), "3: undefined variable `tokne`; did you mean `token`?");
        assert_eq!(
            refused("{{ basket }}"),
            "3: undefined variable `basket`; extract it in an earlier step of this journey, or set it under `vars`"
        );
        assert_eq!(
            refused("{{ password }}"),
            "3: undefined variable `password`; a column of the journey's data is `data.password`"
        );
        assert_eq!(refused("{{ data.usr }}"), "8: unknown column `usr`; did you mean `user`?");
        assert_eq!(
            refused("{{ fake.street_adress }}"),
            "8: unknown kind of fake data `street_adress`; did you mean `street_address`?"
        );
        assert_eq!(
            refused("ü{{ pick(9, 1) }}"),
            "4: pick(9, 1) is an empty range: the smaller number goes first"
        );
        assert_eq!(refused("a {{ ids"), "2: `{{` without its `}}`");
        assert_eq!(refused("{{ }}"), "3: an empty `{{ }}`");
        assert_eq!(refused("{{ env.TOKEN }}"), "7: the environment variable TOKEN is not set");
        assert_eq!(
            refused("{{ ids ids }}"),
            "7: expected `|`, an operator or the end of the template, found `i`"
        );
    }

    #[test]
    fn fake_kinds_and_their_names_agree() {
        for (index, name) in Fake::NAMES.iter().enumerate() {
            assert_eq!(Fake::from_name(name).map(|kind| kind as usize), Some(index));
        }
    }
}
