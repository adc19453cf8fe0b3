//! Vectors for every dialect, key, document and path.

use super::*;

#[track_caller]
fn check(system: &str, cases: &[(&str, &str)]) {
    for (text, want) in cases {
        assert_eq!(normalise(system, text), *want, "{system}: {text}");
    }
}

#[test]
fn literals_and_placeholders_of_every_style_are_one() {
    let want = "SELECT * FROM product WHERE id = ? AND name = ?";
    for (id, name) in [
        ("17", "'O''Hara'"),
        ("$1", "$2"),
        ("%s", "%s"),
        ("?", "?2"),
        (":id", ":name"),
        ("@p0", "@p1"),
        ("%(id)s", "%(n)s"),
        ("-1.5e-3", "N'x'"),
        ("0xFF", "E'a\\'b'"),
        ("$$a'b$$", "$q$it's$q$"),
    ] {
        let text = format!("SELECT *\n\tFROM product -- by id\nWHERE id = {id} /* 2 */ AND name = {name};");
        assert_eq!(normalise("postgresql", &text), want, "{text}");
    }
}

#[test]
fn lists_are_cut_to_one_value() {
    check(
        "postgresql",
        &[
            ("SELECT a FROM t WHERE id IN ( 1, 2,3 , 4 )", "SELECT a FROM t WHERE id IN (?)"),
            ("SELECT a FROM t WHERE id in ($1,$2)", "SELECT a FROM t WHERE id in (?)"),
            ("SELECT a FROM t WHERE id = ANY(ARRAY[1,2])", "SELECT a FROM t WHERE id = ANY(ARRAY[?])"),
            ("INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (3,'z')", "INSERT INTO t (a, b) VALUES (?, ?)"),
            ("SELECT f(1, 2), (SELECT 3)", "SELECT f(?, ?), (SELECT ?)"),
            (
                "SELECT a FROM t WHERE id IN ($1::INTEGER, $2::INTEGER)",
                "SELECT a FROM t WHERE id IN (?::INTEGER)",
            ),
            (
                "SELECT a FROM t WHERE (a, b) IN ((1, 2), (3, 4), (5, 6))",
                "SELECT a FROM t WHERE (a, b) IN ((?, ?))",
            ),
            (
                "SELECT a FROM t WHERE id IN (SELECT b FROM u)",
                "SELECT a FROM t WHERE id IN (SELECT b FROM u)",
            ),
        ],
    );
}

#[test]
fn identifiers_stay_and_operators_are_no_signs() {
    check(
        "postgresql",
        &[
            ("SELECT \"Order\".\"2nd\" FROM \"Order\"", "SELECT \"Order\".\"2nd\" FROM \"Order\""),
            (
                "SELECT c3po, a::int8 FROM t2 WHERE a-1 > b - 2 LIMIT -1",
                "SELECT c3po, a::int8 FROM t2 WHERE a-? > b - ? LIMIT ?",
            ),
            ("SELECT x ?| y, arr[1] FROM größe", "SELECT x ?| y, arr[?] FROM größe"),
        ],
    );
    check(
        "mysql",
        &[
            (
                "SELECT `a b` FROM t WHERE n = \"se'cret\" AND m = 'it\\'s' # done",
                "SELECT `a b` FROM t WHERE n = ? AND m = ?",
            ),
            ("SELECT @@version, _utf8'x', @u", "SELECT @@version, ?, ?"),
        ],
    );
    check(
        "microsoft.sql_server",
        &[
            ("SELECT [Order 1] FROM [t] WHERE a = 1", "SELECT [Order 1] FROM [t] WHERE a = ?"),
            ("SELECT [a]]b] FROM #tmp WHERE c = @p0", "SELECT [a]]b] FROM #tmp WHERE c = ?"),
        ],
    );
    check(
        "oracle.db",
        &[
            ("SELECT /*+ INDEX(t i) */ a FROM t WHERE b = :1", "SELECT a FROM t WHERE b = ?"),
            ("SELECT a FROM t WHERE b = q'[it's]' AND c = nq'{x}'", "SELECT a FROM t WHERE b = ? AND c = ?"),
        ],
    );
    check(
        "postgresql",
        &[
            ("SELECT /* a /* b */ c */ x FROM \"a\"\"b\"", "SELECT x FROM \"a\"\"b\""),
            ("SELECT x /*traceparent='00-1'*/ FROM t", "SELECT x FROM t"),
        ],
    );
}

#[test]
fn data_that_is_cut_off_is_data_still() {
    check(
        "sqlite",
        &[
            ("SELECT a FROM t WHERE b = 'secre", "SELECT a FROM t WHERE b = ?"),
            ("SELECT a /* not closed", "SELECT a"),
            ("SELECT \"a", "SELECT \"a"),
            ("", ""),
            ("'", "?"),
        ],
    );
    let long = format!("SELECT {}", "column_é, ".repeat(500));
    let name = normalise("sqlite", &long);
    assert!(name.len() <= LONGEST + 3 && name.contains('…'), "{}", name.len());
}

#[test]
fn keys_and_documents() {
    check(
        "redis",
        &[
            ("GET user:123", "GET user:?"),
            ("set session:abc \"secret value\"", "SET session:?"),
            ("AUTH hunter2", "AUTH"),
            ("MGET a:1\nMGET a:2\nDEL b", "MGET a:?; DEL b"),
            ("GET 12345", "GET ?"),
            ("", ""),
        ],
    );
    check(
        "mongodb",
        &[(
            r#"{"find": "users", "filter": {"age": {"$gt": 30}, "tags": ["a", "b"]}}"#,
            r#"{"find":?, "filter":{"age":{"$gt":?}, "tags":[?]}}"#,
        )],
    );
}

#[test]
fn paths_are_templates() {
    for (path, want) in [
        ("/products/42?x=1", "/products/{id}"),
        ("/u/7d5a9b0e-3f7c-4b6e-9f7a-0a1b2c3d4e5f/orders", "/u/{id}/orders"),
        ("/static/app.js", "/static/app.js"),
        ("/api/v1/users/deadbeef01", "/api/v1/users/{id}"),
        ("/by-mail/a@b.example", "/by-mail/{id}"),
        ("/2024-01-31/report", "/{id}/report"),
        ("/image/17.png", "/image/{id}"),
        ("/orders/order-42;jsessionid=1", "/orders/{id}"),
        ("/sku/SKU12345", "/sku/{id}"),
        ("/blog/ten-ways-to-brew-green-tea", "/blog/{id}"),
        ("/at/2024-01-31T10:00:00Z", "/at/{id}"),
        ("/t/V1StGXR8Z5jdHi6B", "/t/{id}"),
        ("/api/v2/oauth2/forgot-my-password", "/api/v2/oauth2/forgot-my-password"),
        ("/files/x509/utf8", "/files/x509/utf8"),
        ("/forecast/c75", "/forecast/{id}"),
        ("/api/v12/h264/EU31", "/api/v12/h264/{id}"),
        // The version of what follows is no thing; a number with a point, an address and a file are.
        ("/api/2.0/runs/get", "/api/2.0/runs/get"),
        ("/api/1.12/runs/17", "/api/1.12/runs/{id}"),
        ("/rate/2.5", "/rate/{id}"),
        ("/rate/2.5/", "/rate/{id}/"),
        ("/hosts/10.0.0.7/disks", "/hosts/{id}/disks"),
        ("/prices/149.99/buyers", "/prices/{id}/buyers"),
    ] {
        assert_eq!(path_template(path), want);
    }
    for (name, want) in [
        ("GET /products/42", "GET /products/{id}"),
        ("get user 42", "get user {id}"),
        ("render", "render"),
        ("HTTP/1.1 GET", "HTTP/1.1 GET"),
        ("grpc.Shop/GetProduct", "grpc.Shop/GetProduct"),
        ("graphql.resolve product.variants.12.price", "graphql.resolve product.variants.{id}.price"),
        // Versions, and numbers that are no item's.
        ("python3.11 main", "python3.11 main"),
        ("net.1", "net.1"),
        ("tls.1.2.handshake", "tls.1.2.handshake"),
    ] {
        assert_eq!(name_template(name), want);
    }
}

#[test]
fn a_normal_form_can_be_planned() {
    for (normal, want) in [
        (
            "SELECT a FROM t WHERE b = ? AND c IN (?) LIMIT ?",
            Some("SELECT a FROM t WHERE b = $1 AND c IN ($2) LIMIT $3"),
        ),
        (
            "SELECT a FROM \"w?y\" WHERE x ?| y AND z = ?::INTEGER",
            Some("SELECT a FROM \"w?y\" WHERE x ?| y AND z = $1::INTEGER"),
        ),
        (
            "SELECT a FROM t WHERE b > now() - INTERVAL ?",
            Some("SELECT a FROM t WHERE b > now() - $1::interval"),
        ),
        (
            "SELECT a FROM t WHERE b %% ? = ? AND c % ? = ?",
            Some("SELECT a FROM t WHERE b % $1 = $2 AND c % $3 = $4"),
        ),
        ("SELECT \"a%%b\" FROM t WHERE c <% ?", Some("SELECT \"a%%b\" FROM t WHERE c <% $1")),
        ("SELECT a FROM t WHERE b IN ? AND c IN (?)", Some("SELECT a FROM t WHERE b IN ($1) AND c IN ($2)")),
        ("SELECT a FROM t WHERE begin = ?", Some("SELECT a FROM t WHERE begin = $1")),
        (
            "SELECT a, b, COUNT(?) FROM t WHERE c = ? GROUP BY ?, ? HAVING COUNT(?) > ?",
            Some("SELECT a, b, COUNT($1) FROM t WHERE c = $2 GROUP BY 1, 2 HAVING COUNT($3) > $4"),
        ),
        (
            "SELECT f(?, a) FROM t GROUP BY f(?, a), b LIMIT ?",
            Some("SELECT f($1, a) FROM t GROUP BY f($2, a), b LIMIT $3"),
        ),
        // Types with a length, and what only looks like one.
        (
            "SELECT a FROM t WHERE b = (c)::varchar(?) AND d = CAST(? AS numeric(?, ?)) AND e IN (?)",
            Some("SELECT a FROM t WHERE b = (c)::varchar AND d = CAST($1 AS numeric) AND e IN ($2)"),
        ),
        (
            "SELECT a FROM t WHERE b = ?::character varying(?) AND c::text IN (?) AND d = f(?)",
            Some("SELECT a FROM t WHERE b = $1::character varying AND c::text IN ($2) AND d = f($3)"),
        ),
        ("SELECT a FROM t WHERE b::date = ANY(?)", Some("SELECT a FROM t WHERE b::date = ANY($1)")),
        ("SELECT a, column_…", None),
        ("SELECT a FROM t WHERE b IN (?,..", None),
        ("SELECT a, b, … FROM t WHERE c = ?", Some("SELECT a, b FROM t WHERE c = $1")),
        ("SELECT … FROM t WHERE c = ?", None),
        (
            "SELECT x.d FROM (SELECT a, …, d FROM t) x WHERE x.d = ?",
            Some("SELECT x.d FROM (SELECT a, d FROM t) x WHERE x.d = $1"),
        ),
        ("INSERT INTO t (a, b, …) VALUES (?)", None),
        ("BEGIN", None),
        ("DROP TABLE t", None),
        ("SELECT ?; DELETE FROM t", None),
    ] {
        assert_eq!(with_parameters(normal).as_deref(), want, "{normal}");
    }
    assert_eq!(table_of("SELECT t.n FROM term t WHERE t.w = ?", "t"), Some("term"));
    assert_eq!(table_of("SELECT n FROM a JOIN \"b\" AS x ON a.i = x.i", "x"), Some("b"));
    assert_eq!(table_of("SELECT n FROM term WHERE w = ?", "term"), Some("term"));
    let columns =
        compared_columns("SELECT a FROM t WHERE t.at > ? AND (t.b = ? OR c IN (?)) AND d = e.d", &|w| {
            w != "x"
        });
    assert_eq!(columns, ["b", "c", "at"]);
}

#[test]
fn data_stands_where_parameters_did() {
    let data = |column: &str| (column == "word").then(|| "'it''s $1'".to_owned());
    for (normal, want) in [
        (
            "SELECT a FROM t WHERE t.`word` = ? AND n > ?",
            Some("SELECT a FROM t WHERE t.`word` = 'it''s $1' AND n > '1'"),
        ),
        (
            "SELECT a FROM t WHERE (word IN (?)) LIMIT ?",
            Some("SELECT a FROM t WHERE (word IN ('it''s $1')) LIMIT 10"),
        ),
        (
            "SELECT a FROM t WHERE word NOT LIKE ? LIMIT ?, ?",
            Some("SELECT a FROM t WHERE word NOT LIKE 'it''s $1' LIMIT 10, 10"),
        ),
        (
            "SELECT a FROM t WHERE word BETWEEN ? AND ? OFFSET ?",
            Some("SELECT a FROM t WHERE word BETWEEN 'it''s $1' AND 'it''s $1' OFFSET 10"),
        ),
        ("SELECT a FROM t WHERE f(?) = word", Some("SELECT a FROM t WHERE f('1') = word")),
        ("SELECT a FROM t", Some("SELECT a FROM t")),
        ("DROP TABLE t", None),
        ("SELECT a FROM t; SELECT b", None),
    ] {
        assert_eq!(with_data(normal, &data).as_deref(), want, "{normal}");
    }
}

proptest::proptest! {
    /// A literal never comes through, whatever stands around it.
    #[test]
    fn no_literal_data_in_the_output(before in "[ -~]{0,20}", secret in "[a-z]{12}") {
        let before = before.replace(['\'', '"', '`', '$', '[', '\\'], " ").replace("--", " ").replace("/*", " ");
        let out = normalise("sqlite", &format!("{before} '{secret}'"));
        proptest::prop_assert!(!out.contains(&secret), "{}", out);
    }

    #[test]
    fn normalising_again_changes_nothing(text in "[a-c(),= '1?-]{0,30}") {
        let once = normalise("postgresql", &text);
        let again = normalise("postgresql", &once);
        proptest::prop_assert_eq!(&normalise("postgresql", &again), &again);
    }
}

#[test]
fn statements_that_change_rows_are_told_from_those_that_read() {
    for (statement, changes) in [
        ("INSERT INTO t (a) VALUES (?)", true),
        ("update t set a = ?", true),
        ("WITH new AS (INSERT INTO t (a) VALUES (?) RETURNING id) SELECT id FROM new", true),
        ("WITH old AS (SELECT id FROM t) DELETE FROM u WHERE id IN (SELECT id FROM old)", true),
        ("WITH old AS (SELECT id FROM t) UPDATE u SET a = ?", true),
        ("WITH old AS (SELECT id FROM t) SELECT id FROM old FOR UPDATE", false),
        ("SELECT updated FROM t WHERE a = ?", false),
        ("BEGIN", false),
    ] {
        assert_eq!(changes_rows(statement), changes, "{statement}");
    }
}

#[test]
fn statements_that_ask_for_one_number_are_told_from_those_that_ask_for_rows() {
    for (statement, counts) in [
        (r#"SELECT COUNT(*) AS "__count" FROM "visit" WHERE "visit"."patient_id" = ?"#, true),
        ("select count(distinct a) from t", true),
        ("SELECT sum(t.cents) FROM t", true),
        ("SELECT account FROM t", false),
        ("SELECT counted FROM t WHERE COUNT(a) > ?", false),
        ("SELECT COUNT(*), author_id FROM t GROUP BY author_id", false),
        ("SELECT author_id, COUNT(*) FROM t GROUP BY author_id", false),
        ("SELECT COUNT(*) OVER (PARTITION BY a) FROM t", false),
        ("DELETE FROM t", false),
    ] {
        assert_eq!(counts_rows(statement), counts, "{statement}");
    }
    assert!(counts_all(r#"SELECT COUNT(*) AS "__count" FROM "entry""#));
    assert!(!counts_all("SELECT sum(cents) FROM t") && !counts_all("SELECT count(*) FROM t WHERE paid"));
}

#[test]
fn searches_within_texts_are_known() {
    for (statement, matches) in [
        ("SELECT a FROM t WHERE title ILIKE ?::VARCHAR LIMIT ?", true),
        ("select a from t where upper(title) like upper(?)", true),
        ("SELECT a FROM t WHERE title ~* ?", true),
        ("SELECT likes FROM t WHERE like_count = ?", false),
    ] {
        assert_eq!(matches_text(statement), matches, "{statement}");
    }
}

#[test]
fn what_only_tests_a_connection_asks_nothing() {
    for (system, text) in [
        ("postgresql", "SELECT 1"),
        ("mysql", "/* ping */ select 1"),
        ("oracle.db", "SELECT 'x' FROM DUAL"),
        ("h2database", "VALUES 1;"),
    ] {
        assert!(tests_a_connection(&normalise(system, text)), "{text}");
    }
    for text in ["SELECT 1 FROM users WHERE id = 3", "SELECT 1, 2", "SELECT now()", "SELECT a"] {
        assert!(!tests_a_connection(&normalise("postgresql", text)), "{text}");
    }
}
