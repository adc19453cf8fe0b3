//! PostgreSQL's plans (`EXPLAIN (FORMAT JSON)`): does a statement read a whole table to find a few rows, and by which
//! columns?

use serde_json::Value;
use std::sync::Arc;

/// Share of a table's rows that a scan finds, from which an index would not help.
pub(super) const SELECTIVE: f64 = 0.10;
/// Share of the statement's cost from which a scan is what makes it dear.
const DEAR: f64 = 0.30;
/// Plan nodes that are looked at, against plans made to be large.
const NODES: usize = 10_000;

/// A scan of a whole table.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// The table, as the plan names it.
    pub table: Arc<str>,
    /// Columns to index, in the order of the index; empty where the plan does not tell.
    pub columns: Vec<String>,
    /// Rows of the table.
    pub rows: f64,
    /// Rows that the scan is expected to find.
    pub found: f64,
    /// Cost of the statement's plan without and with the index, where the database was asked.
    pub cost: Option<(f64, f64)>,
}

impl Scan {
    /// The statement that makes the index, empty where the columns are not known. With a name, as MySQL and SQLite want one.
    pub fn remedy(&self) -> String {
        if self.columns.is_empty() {
            return String::new();
        }
        let name = format!("{}_{}", self.table, self.columns.join("_"));
        let name: String = name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).take(60).collect();
        format!("CREATE INDEX {name} ON {} ({})", self.table, self.columns.join(", "))
    }
}

/// The dearest scan of a plan that an index would spare. `rows` tells the size of a table, `is_column` whether a word is
/// a column of it.
pub fn scan_of_plan(
    plan: &Value,
    rows: &dyn Fn(&str) -> Option<f64>,
    is_column: &dyn Fn(&str, &str) -> bool,
) -> Option<Scan> {
    let root = plan.pointer("/0/Plan").or_else(|| plan.get("Plan"))?;
    let total = number(root, "Total Cost").max(f64::MIN_POSITIVE);
    let mut best: Option<(f64, Scan)> = None;
    // Node, sort key above it that has a limit, with the rows of that and what sorting costs, whether a limit may end it early, how often its parent runs it.
    let mut open = vec![(root, None, false, 1.0)];
    let mut looked_at = 0;
    while let Some((node, order, limited, times)) = open.pop() {
        looked_at += 1;
        if looked_at > NODES {
            break;
        }
        if let Some((scan, cost)) = judge(node, (order, limited), rows, is_column)
            && cost * times >= DEAR * total
            && best.as_ref().is_none_or(|(dearest, _)| cost * times > *dearest)
        {
            best = Some((cost * times, scan));
        }
        let kind = text(node, "Node Type");
        let kids: Vec<&Value> = node.get("Plans").and_then(Value::as_array).into_iter().flatten().collect();
        for kid in &kids {
            let below = text(kid, "Node Type");
            let sorted = matches!(below, "Sort" | "Incremental Sort").then(|| kid.get("Sort Key")).flatten();
            // The order that a limit wants holds down to the scan that could give it.
            let order = match kind {
                "Limit" => sorted.map(|key| (key, number(node, "Plan Rows"), number(kid, "Total Cost"))),
                "Sort" | "Incremental Sort" | "Gather Merge" | "Gather" => order,
                _ => None,
            };
            let inner = kind == "Nested Loop" && text(kid, "Parent Relationship") == "Inner";
            let outer_rows = kids.first().map_or(1.0, |o| number(o, "Plan Rows")).max(1.0);
            // What sorts, hashes or sums needs all that is below it.
            let needs_all =
                ["Sort", "Aggregate", "Hash", "Materialize"].iter().any(|all| kind.ends_with(all));
            let limited = kind == "Limit" || (limited && !needs_all);
            open.push((kid, order, limited, if inner { times * outer_rows } else { times }));
        }
    }
    best.map(|(_, scan)| scan)
}

/// Share of the rows that are sorted up to which a limit wants the first few. A limit that is a parameter is planned as a tenth, rounded.
const FIRST: f64 = 0.11;

/// Rows that are found so seldom that a limit of ten still has a tenth of the table read for them.
const SELDOM: f64 = 100.0;

fn judge(
    node: &Value,
    (order, limited): (Option<(&Value, f64, f64)>, bool),
    rows: &dyn Fn(&str) -> Option<f64>,
    is_column: &dyn Fn(&str, &str) -> bool,
) -> Option<(Scan, f64)> {
    // An index that is walked from end to end for its order reads the whole table, too, unless a limit is soon reached.
    let walks = text(node, "Node Type") == "Index Scan"
        && text(node, "Index Cond").is_empty()
        && !text(node, "Filter").is_empty()
        && (!limited || number(node, "Plan Rows") <= SELDOM);
    if text(node, "Node Type") != "Seq Scan" && !walks {
        return None;
    }
    let table = text(node, "Relation Name");
    let all = rows(table)?;
    // Workers of a parallel scan each find their part.
    let workers = if node.get("Parallel Aware").and_then(Value::as_bool) == Some(true) { 2.5 } else { 1.0 };
    let found = number(node, "Plan Rows") * workers;
    let filter = text(node, "Filter");
    if !filter.is_empty() && found <= SELECTIVE * all {
        let columns = compared_columns(filter, &|word| is_column(table, word));
        let scan = Scan { table: Arc::from(table), columns, rows: all, found, cost: None };
        return Some((scan, number(node, "Total Cost")));
    }
    // All are wanted, or most: to sort them for the first few, which an index of that order has without the others.
    let (key, first, sorting) = order?;
    let keys = key.as_array().into_iter().flatten().filter_map(Value::as_str);
    let columns: Vec<String> = keys.filter_map(|k| sort_column(k, table, is_column)).collect();
    let few = first <= FIRST * found.min(all);
    // It spares the sorting, too.
    let scan = Scan { table: Arc::from(table), columns, rows: all, found: first, cost: None };
    (few && !scan.columns.is_empty()).then_some((scan, sorting))
}

fn sort_column(key: &str, table: &str, is_column: &dyn Fn(&str, &str) -> bool) -> Option<String> {
    let word = key.split(' ').next().unwrap_or_default();
    let word = word.rsplit('.').next().unwrap_or_default();
    is_column(table, word.trim_matches('"')).then(|| word.to_owned())
}

/// Columns that a condition compares, those compared for equality first: `((a = $1) AND (lower(b) > 'x'::text))` gives
/// `a, b`. Conditions that only OR joins, and patterns, give nothing that one index could serve.
fn compared_columns(filter: &str, is_column: &dyn Fn(&str) -> bool) -> Vec<String> {
    let (mut equal, mut other) = (Vec::new(), Vec::new());
    if filter.contains(" OR ") {
        return Vec::new();
    }
    for condition in filter.split(" AND ") {
        let Some((left, operator, right)) = comparison(condition) else { continue };
        let side = |text: &str| column_in(text, is_column);
        let Some(column) = side(left).or_else(|| side(right)) else { continue };
        let list = match operator {
            "=" => &mut equal,
            "~~" | "~~*" | "!~~" | "<>" => continue,
            _ => &mut other,
        };
        if !list.contains(&column) {
            list.push(column);
        }
    }
    // After a range, further columns of an index do not narrow.
    other.truncate(1);
    other.retain(|c| !equal.contains(c));
    equal.extend(other);
    equal
}

fn comparison(condition: &str) -> Option<(&str, &'static str, &str)> {
    const OPERATORS: [&str; 9] = ["<>", "!~~", "~~*", "<=", ">=", "~~", "=", "<", ">"];
    OPERATORS.into_iter().find_map(|op| {
        let (left, right) = condition.split_once(&format!(" {op} "))?;
        Some((left, op, right))
    })
}

/// The first column that a side names outside of literals.
fn column_in(side: &str, is_column: &dyn Fn(&str) -> bool) -> Option<String> {
    let outside: String = side.split('\'').step_by(2).collect::<Vec<_>>().join(" ");
    let words = outside.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|w| !w.is_empty()).find(|w| is_column(w)).map(str::to_owned)
}

fn text<'a>(node: &'a Value, key: &str) -> &'a str {
    node.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(node: &Value, key: &str) -> f64 {
    node.get(key).and_then(Value::as_f64).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scan(plan: Value) -> Option<Scan> {
        let rows = |table: &str| Some(if table == "review" { 80_000.0 } else { 40.0 });
        let is_column = |_: &str, word: &str| ["product_id", "stars", "at", "body"].contains(&word);
        scan_of_plan(&json!([{ "Plan": plan }]), &rows, &is_column)
    }

    fn seq(filter: &str, found: f64) -> Value {
        json!({"Node Type": "Seq Scan", "Relation Name": "review", "Filter": filter, "Plan Rows": found, "Total Cost": 1500.0})
    }

    #[test]
    fn a_scan_that_finds_few_rows_wants_an_index() {
        let found = scan(
            json!({"Node Type": "Aggregate", "Total Cost": 1510.0, "Plans": [seq("(product_id = $1)", 8.0)]}),
        );
        let found = found.unwrap();
        assert_eq!((&*found.table, found.rows, found.found), ("review", 80_000.0, 8.0));
        assert_eq!(found.remedy(), "CREATE INDEX review_product_id ON review (product_id)");
        let two =
            scan(seq("((at > $2) AND (product_id = $1) AND ((body)::text ~~ 'x%'::text))", 3.0)).unwrap();
        assert_eq!(two.remedy(), "CREATE INDEX review_product_id_at ON review (product_id, at)");
    }

    #[test]
    fn an_index_that_is_walked_for_its_order_is_a_scan() {
        let walk = |found: f64| {
            json!({"Node Type": "Index Scan", "Index Name": "review_pkey", "Relation Name": "review",
                "Filter": "(product_id = $1)", "Plan Rows": found, "Total Cost": 3500.0})
        };
        let limited = |node: Value| json!({"Node Type": "Limit", "Total Cost": 1200.0, "Plans": [node]});
        let found = scan(limited(walk(3.0))).unwrap();
        assert_eq!(found.remedy(), "CREATE INDEX review_product_id ON review (product_id)");
        // A limit that is soon reached; but not where all is sorted before.
        assert_eq!(scan(limited(walk(4_000.0))), None);
        let sorted = json!({"Node Type": "Sort", "Sort Key": ["stars"], "Total Cost": 3600.0, "Plans": [walk(4_000.0)]});
        assert!(scan(limited(sorted)).is_some());
        // One that finds by its condition, and one that is walked for all its rows.
        let mut by_condition = walk(3.0);
        by_condition["Index Cond"] = json!("(stars = $2)");
        assert_eq!(scan(limited(by_condition)), None);
        let mut all = walk(80_000.0);
        all["Filter"] = json!("");
        assert_eq!(scan(all), None);
    }

    #[test]
    fn other_scans_do_not() {
        assert_eq!(scan(seq("(stars > 1)", 60_000.0)), None, "most rows are wanted");
        assert_eq!(
            scan(
                json!({"Node Type": "Seq Scan", "Relation Name": "review", "Plan Rows": 80000, "Total Cost": 1.0})
            ),
            None
        );
        let cheap = json!({"Node Type": "Hash Join", "Total Cost": 90_000.0, "Plans": [seq("(product_id = 1)", 8.0)]});
        assert_eq!(scan(cheap), None, "something else is dear");
        assert!(scan(seq("((product_id = 1) OR (stars = 2))", 8.0)).unwrap().columns.is_empty());
        assert_eq!(
            scan(json!({"Node Type": "Index Scan", "Relation Name": "review", "Total Cost": 8.0})),
            None
        );
        assert_eq!(scan_of_plan(&json!({}), &|_| None, &|_, _| false), None);
    }

    #[test]
    fn the_inner_side_of_a_loop_runs_often_and_a_limited_sort_wants_its_key() {
        let outer =
            json!({"Node Type": "Seq Scan", "Relation Name": "product", "Plan Rows": 20, "Total Cost": 2.0});
        let mut inner = seq("(product_id = p.id)", 8.0);
        inner["Parent Relationship"] = json!("Inner");
        let nested = json!({"Node Type": "Nested Loop", "Total Cost": 30_010.0, "Plans": [outer, inner]});
        assert_eq!(scan(nested).unwrap().columns, ["product_id"]);
        let all = json!({"Node Type": "Seq Scan", "Relation Name": "review", "Plan Rows": 80000, "Total Cost": 1400.0});
        let sort =
            json!({"Node Type": "Sort", "Sort Key": ["at DESC"], "Total Cost": 1600.0, "Plans": [all]});
        let limit = |rows: f64| json!({"Node Type": "Limit", "Plan Rows": rows, "Total Cost": 1600.0, "Plans": [sort]});
        let found = scan(limit(20.0)).unwrap();
        assert_eq!((found.columns, found.found), (vec!["at".to_owned()], 20.0));
        assert!(scan(limit(8_001.0)).is_some(), "a limit that is a parameter");
        assert_eq!(scan(limit(60_000.0)), None, "most rows are wanted");
    }

    #[test]
    fn a_condition_that_most_rows_fulfil_is_no_way_to_the_first_of_an_order() {
        let sorted = |filter: &str, found: f64| {
            let sort = json!({"Node Type": "Sort", "Sort Key": ["at DESC"], "Total Cost": 1600.0, "Plans": [seq(filter, found)]});
            json!({"Node Type": "Limit", "Plan Rows": 20.0, "Total Cost": 1600.0, "Plans": [sort]})
        };
        let found = scan(sorted("(stars <> $1)", 79_000.0)).unwrap();
        assert_eq!(found.remedy(), "CREATE INDEX review_at ON review (at)");
        // Sorting is most of the cost.
        let mut dear = sorted("(stars <> $1)", 79_000.0);
        dear["Total Cost"] = json!(9_000.0);
        assert_eq!(scan(dear.clone()), None, "something else is dear");
        dear["Plans"][0]["Total Cost"] = json!(8_900.0);
        assert!(scan(dear).is_some());
        // What finds few wants an index of its own.
        assert_eq!(scan(sorted("(stars = $1)", 50.0)).unwrap().columns, ["stars"]);
        // Nothing is sorted, or by what is no column.
        assert_eq!(scan(seq("(stars <> $1)", 79_000.0)), None);
        let mut by_function = sorted("(stars <> $1)", 79_000.0);
        by_function["Plans"][0]["Sort Key"] = json!(["(random())"]);
        assert_eq!(scan(by_function), None);
    }
}
