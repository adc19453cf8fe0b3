-- The bookshop of the suite `apps`: 2,000 books of 500 authors, 300,000 orders. `orders.email` has no index on purpose.
CREATE TABLE author (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE book (
    id integer PRIMARY KEY,
    title text NOT NULL,
    author_id integer NOT NULL REFERENCES author,
    price_cents integer NOT NULL
);
CREATE TABLE orders (id integer PRIMARY KEY, email text NOT NULL, note text NOT NULL);
INSERT INTO author SELECT i, 'Author ' || i FROM generate_series(1, 500) AS i;
INSERT INTO book SELECT i, 'Book ' || i, 1 + (i * 37) % 500, 500 + (i * 37) % 4000 FROM generate_series(1, 2000) AS i;
INSERT INTO orders
SELECT i, 'reader' || (i * 31) % 50000 || '@example.org', repeat('note ', 10) || i FROM generate_series(1, 300000) AS i;
-- Two prices of each book, found by a function that takes its time.
CREATE FUNCTION slowly(id integer) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM pg_sleep(0.006); RETURN 'price of ' || id; END $$;
CREATE VIEW price AS SELECT id AS book_id, slowly(id) AS note FROM book;
ANALYZE;
