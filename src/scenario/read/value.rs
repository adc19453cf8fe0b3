//! Values as a scenario writes them: texts with templates, JSON, names of variables.

use super::super::error::Fault;
use super::super::mask::{self, Kind};
use super::super::template::{self, Escape, Expression, Names, Template};
use super::super::yaml::{Key, Node, Value};
use super::Context;

pub fn plain(node: &Node, text: &str, names: &Names, context: &Context) -> Result<Template, Fault> {
    Template::parse(text, names, Escape::Plain, template::as_it_is)
        .map_err(|fault| context.template_fault(node, text, 0, fault))
}

/// A text whose holes, if any, are environment variables.
pub fn fixed_text(
    node: &Node,
    text: &str,
    names: &Names,
    context: &Context,
    what: &str,
) -> Result<String, Fault> {
    let template = plain(node, text, names, context)?;
    template.revealed().as_static().map(str::to_string).ok_or_else(|| {
        Fault::new(
            node.place,
            format!("{what} is fixed for the whole run: only {{{{ env.… }}}} can be used in it"),
        )
    })
}

/// JSON text with holes. A text that is one hole keeps its value's type: `"{{ pick(1, 9) }}"` is sent as a number.
pub fn json(node: &Node, names: &Names, context: &Context, out: &mut Template) -> Result<(), Fault> {
    match &node.value {
        Value::Null => out.push_text("null"),
        Value::Bool(b) => out.push_text(&b.to_string()),
        Value::Int(n) => out.push_text(&n.to_string()),
        Value::Float(n) => out.push_text(&serde_json::Value::from(*n).to_string()),
        Value::Text(text) => {
            let fault = |fault| context.template_fault(node, text, 0, fault);
            let single =
                Template::parse(text, names, Escape::JsonValue, template::json_inside).map_err(fault)?;
            if single.as_single_hole().is_some() {
                out.append(single);
            } else {
                let inside =
                    Template::parse(text, names, Escape::JsonInside, template::json_inside).map_err(fault)?;
                out.push_text("\"");
                out.append(inside);
                out.push_text("\"");
            }
        }
        Value::List(items) => {
            out.push_text("[");
            for (index, item) in items.iter().enumerate() {
                out.push_text(if index > 0 { "," } else { "" });
                json(item, names, context, out)?;
            }
            out.push_text("]");
        }
        Value::Map(entries) => {
            out.push_text("{");
            for (index, (key, value)) in entries.iter().enumerate() {
                if mask::is_secret(&key.text) {
                    context.secret(value, Kind::Value);
                }
                out.push_text(if index > 0 { "," } else { "" });
                out.push_text(&format!("\"{}\":", template::json_inside(&key.text)));
                json(value, names, context, out)?;
            }
            out.push_text("}");
        }
    }
    Ok(())
}

/// A value under `set` or `with`: a text that is one hole keeps its value's type.
pub fn single_value(node: &Node, names: &Names, context: &Context) -> Result<Expression, Fault> {
    if let Value::Text(text) = &node.value {
        let template = plain(node, text, names, context)?;
        return Ok(match (template.as_single_hole(), template.as_static()) {
            (Some(expression), _) => expression.clone(),
            (_, Some(text)) => Expression::Literal(text.into()),
            _ => Expression::Text(template),
        });
    }
    let mut text = Template::default();
    json(node, names, context, &mut text)?;
    let fixed = text.as_static().and_then(|t| serde_json::from_str(t).ok());
    fixed.map(Expression::Literal).ok_or_else(|| {
        Fault::new(node.place, "lists and mappings are fixed here: only texts can have templates")
    })
}

/// A fixed value, for `vars`.
pub fn json_value(node: &Node, names: &Names, context: &Context) -> Result<serde_json::Value, Fault> {
    let mut text = Template::default();
    json(node, names, context, &mut text)?;
    let fixed = text.revealed().as_static().and_then(|t| serde_json::from_str(t).ok());
    fixed.ok_or_else(|| {
        Fault::new(node.place, "`vars` are fixed for the whole run: only {{ env.… }} can be used in them")
    })
}

/// A name that templates can spell.
pub fn variable_name(key: &Key) -> Result<(), Fault> {
    let mut chars = key.text.chars();
    let good = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_');
    if !good {
        return Err(Fault::new(
            key.place,
            format!("`{}` is no variable name: use letters, digits and _", key.text),
        ));
    }
    if matches!(
        key.text.as_str(),
        "data" | "fake" | "env" | "secret" | "true" | "false" | "null" | "and" | "or" | "not" | "contains"
    ) {
        return Err(Fault::new(
            key.place,
            format!("`{}` has a meaning of its own in templates: choose another name", key.text),
        ));
    }
    Ok(())
}
