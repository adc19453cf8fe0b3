//! What is said of broken files: place, fault, way out.

use super::*;

/// What the methods in broken files of gRPC look like.
const SHOP_PROTO: &str = "syntax = \"proto3\"; package shop.v1;
message GetRequest { string id = 1; repeated Tag tags = 2; }
message Tag { string name = 1; }
service Catalog {
  rpc GetProduct(GetRequest) returns (Tag);
  rpc Watch(GetRequest) returns (stream Tag);
  rpc Add(stream GetRequest) returns (Tag);
}
";

fn said(text: &str) -> String {
    let surroundings = Surroundings {
        read: &|path| match path.to_str() {
            Some("users.csv") => Ok("user,password\nann,secret\n".to_string()),
            Some("broken.csv") => Ok("user,password\nann\n".to_string()),
            Some("shop.proto") => Ok(SHOP_PROTO.to_string()),
            Some("broken.proto") => Ok("syntax = \"proto3\";\nmessage Id { strin value = 1; }\n".to_string()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        },
        ..Surroundings::default()
    };
    match parse_with(text, "shop.yaml", &surroundings) {
        Ok(_) => "it was accepted".to_string(),
        Err(error) => error.to_string(),
    }
}

/// The example with one text replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "{from}");
    said(&EXAMPLE.replacen(from, to, 1))
}

#[test]
fn the_example_is_not_broken() {
    assert_eq!(said(EXAMPLE), "it was accepted");
}

#[test]
fn keys_that_nobody_knows() {
    insta::assert_snapshot!(changed("rate: 200/s", "rat: 200/s"), @r"
    shop.yaml:5:6: unknown key `rat` in a load stage; did you mean `rate`?
     5 |   - {rat: 200/s, for: 2m}
       |      ^
    ");
    insta::assert_snapshot!(changed("thresholds:", "treshold:"), @r"
    shop.yaml:26:1: unknown key `treshold` in the scenario; did you mean `thresholds`?
     26 | treshold:
        | ^
    ");
    insta::assert_snapshot!(changed("weight: 8", "frequency: 8"), @r"
    shop.yaml:8:5: unknown key `frequency` in a journey; known keys are `weight`, `think`, `pace`, `data`, `load`, `takes`, `target`, `on_failure`, `follow` and `steps`
     8 |     frequency: 8
       |     ^
    ");
    insta::assert_snapshot!(changed("within: 300ms", "withn: 300ms"), @r#"
    shop.yaml:14:57: unknown key `withn` in expect; did you mean `within`?
     14 |         expect: {status: 200, json: {"$.price": "> 0"}, withn: 300ms}
        |                                                         ^
    "#);
}

#[test]
fn values_of_the_wrong_kind() {
    insta::assert_snapshot!(changed("weight: 8", "weight: often"), @r#"
    shop.yaml:8:13: expected a whole number (weight), found "often"
     8 |     weight: often
       |             ^
    "#);
    insta::assert_snapshot!(changed("for: 1m", "for: 60"), @r#"
    shop.yaml:4:33: "60" has no unit: write e.g. 60s or 60ms
     4 |   - {users: 20, ramp: 10s, for: 60}
       |                                 ^
    "#);
    insta::assert_snapshot!(changed("500ms..2s", "2s..500ms"), @r"
    shop.yaml:9:12: the range 2s..500ms is empty: the shorter pause goes first
     9 |     think: 2s..500ms
       |            ^
    ");
    insta::assert_snapshot!(changed("status: 200", "status: ok"), @r#"
    shop.yaml:14:26: expected a status such as 200 or 2xx, found "ok"
     14 |         expect: {status: ok, json: {"$.price": "> 0"}, within: 300ms}
        |                          ^
    "#);
    insta::assert_snapshot!(changed("http://127.0.0.1:8080", "127.0.0.1:8080"), @r#"
    shop.yaml:2:9: "127.0.0.1:8080" is no URL (relative URL without a base): write it with its scheme, e.g. http://127.0.0.1:8080
     2 | target: 127.0.0.1:8080
       |         ^
    "#);
}

#[test]
fn templates_that_cannot_be_filled() {
    insta::assert_snapshot!(changed("{{ token }}", "{{ tokn }}"), @r#"
    shop.yaml:23:45: undefined variable `tokn`; did you mean `token`?
     23 |         headers: {Authorization: "Bearer {{ tokn }}"}
        |                                             ^
    "#);
    insta::assert_snapshot!(changed("{{ data.user }}", "{{ data.username }}"), @r#"
    shop.yaml:20:31: unknown column `username`; expected one of `user` and `password`
     20 |         json: {user: "{{ data.username }}", password: "{{ data.password }}"}
        |                               ^
    "#);
    insta::assert_snapshot!(changed("{{ pick(1, 20) }}", "{{ pik(1, 20) }}"), @r"
    shop.yaml:11:31: unknown function `pik`; did you mean `pick`?
     11 |       - GET /products?page={{ pik(1, 20) }}
        |                               ^
    ");
    insta::assert_snapshot!(changed("/products/{{ ids | random }}", "/products/{id}"), @r"
    shop.yaml:13:24: `{id}` is no template: write {{ id }}
     13 |         get: /products/{id}
        |                        ^
    ");
}

#[test]
fn references_to_nothing() {
    insta::assert_snapshot!(changed("- product: latency", "- products: latency"), @r"
    shop.yaml:28:5: no step is named `products`; did you mean `product`?
     28 |   - products: latency.p99 < 500ms
        |     ^
    ");
    insta::assert_snapshot!(changed("data: users.csv", "data: customers.csv"), @r"
    shop.yaml:17:11: the data file customers.csv cannot be read: entity not found
     17 |     data: customers.csv
        |           ^
    ");
    insta::assert_snapshot!(changed("\"$.token\"", "\"token\""), @r#"
    shop.yaml:21:26: "token" is no JSONPath: it starts with `$`, e.g. $.token or $.items[*].id
     21 |         extract: {token: "token"}
        |                          ^
    "#);
}

#[test]
fn files_that_are_no_scenario() {
    insta::assert_snapshot!(said(""), @"shop.yaml:1:1: the file is empty: a scenario needs at least `target`, `load` and `journeys`");
    insta::assert_snapshot!(said("target: http://h\nload: {users: 1, for: 1s}\n"), @r"
    shop.yaml:1:1: the scenario needs `journeys` (or `steps` for a single journey)
     1 | target: http://h
       | ^
    ");
    insta::assert_snapshot!(said("target: http://h\n\tload: 1\n"), @r"
    shop.yaml:1:9: not valid YAML: while scanning a plain scalar, found a tab
     1 | target: http://h
       |         ^
    ");
    insta::assert_snapshot!(said("name: a\nname: b\n"), @r"
    shop.yaml:2:1: the key `name` stands here a second time
     2 | name: b
       | ^
    ");
    insta::assert_snapshot!(said("- GET /\n"), @r"
    shop.yaml:1:1: expected the scenario, a mapping with keys such as `name`, `target`, `load` and `journeys`, found a list
     1 | - GET /
       | ^
    ");
    insta::assert_snapshot!(said("target: http://h\nload: {users: 0, for: 1s}\nsteps: [GET /]\n"), @r"
    shop.yaml:2:7: the load has no stage with users or a rate above 0
     2 | load: {users: 0, for: 1s}
       |       ^
    ");
    insta::assert_snapshot!(said("target: http://h\nload: {users: 1, rate: 5/s, for: 1s}\nsteps: [GET /]\n"), @r"
    shop.yaml:2:24: a load stage has `users` (each waits for its answers) or `rate` (arrivals wait for nobody), not both
     2 | load: {users: 1, rate: 5/s, for: 1s}
       |                        ^
    ");
    insta::assert_snapshot!(said("target: http://h\nload: {users: 1, for: 1s}\nsteps:\n  - get: /a\n    post: /b\n"), @r"
    shop.yaml:5:11: a step is one request: it has GET and POST
     5 |     post: /b
       |           ^
    ");
}

/// Every file in `broken/` with its whole message beside it. `HOTSPAN_BLESS=1 cargo test --lib scenario::` writes the
/// messages anew; look at each before you commit it.
#[test]
fn broken_files_are_told_what_is_wrong_with_them() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scenario/tests/broken");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    assert!(files.len() >= 60, "{} files", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let said = said(&std::fs::read_to_string(&file).unwrap()) + "\n";
        let expected = file.with_extension("txt");
        if std::env::var_os("HOTSPAN_BLESS").is_some() {
            std::fs::write(&expected, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        let located = said.starts_with("shop.yaml:");
        if said != expected || !located || said.starts_with("it was accepted") {
            wrong.push(format!("{}\n  expected {expected:?}\n  said     {said:?}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_beyond_all_measure_are_refused_at_once() {
    let large = format!("# {}\n{EXAMPLE}", "x".repeat(1 << 20));
    assert_eq!(
        said(&large),
        "shop.yaml: the file has 1025 KiB: a scenario has at most 1024; put data into files beside it"
    );
    let deep = format!(
        "target: http://h\nload: {{users: 1, for: 1s}}\nsteps:\n{}",
        (0..40)
            .map(|n| format!("{}- repeat: 2\n{}  steps:\n", "    ".repeat(n), "    ".repeat(n)))
            .collect::<String>()
    );
    assert!(said(&deep).contains("shop.yaml:"), "{}", said(&deep));
    let truncated = EXAMPLE.len();
    for end in (0..truncated).filter(|end| EXAMPLE.is_char_boundary(*end)) {
        // Whatever it says, it says it without a panic.
        let _ = said(&EXAMPLE[..end]);
    }
}
