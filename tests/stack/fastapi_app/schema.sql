-- The bookshop's data: 2,000 books, 100,000 reviews, 90,000 orders. `review.book_id` and `orders.email` have no
-- index on purpose: those are the faults that the suite expects hotspan to find.
CREATE TABLE book (
    id integer PRIMARY KEY,
    title text NOT NULL,
    price_cents integer NOT NULL
);
CREATE TABLE review (
    id integer PRIMARY KEY,
    book_id integer NOT NULL,
    rating integer NOT NULL,
    body text NOT NULL
);
CREATE TABLE orders (
    id integer PRIMARY KEY,
    book_id integer NOT NULL,
    email text NOT NULL,
    note text NOT NULL,
    created_at timestamptz NOT NULL
);
INSERT INTO book
SELECT i, 'Book ' || i, 500 + (i * 37) % 4000 FROM generate_series(1, 2000) AS i;
INSERT INTO review
SELECT i, 1 + (i * 7919) % 2000, 1 + i % 5, repeat('word ', 4) || i FROM generate_series(1, 100000) AS i;
INSERT INTO orders
SELECT i, 1 + (i * 7907) % 2000, 'reader' || (i * 31) % 5000 || '@example.org', repeat('note ', 10) || i,
       timestamptz '2026-01-01 00:00:00+00' + i * interval '1 minute'
FROM generate_series(1, 90000) AS i;
ANALYZE;
