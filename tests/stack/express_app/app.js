// A bookshop on Express and PostgreSQL, with nothing about tracing in it: it runs under
// `--require @opentelemetry/auto-instrumentations-node/register`. The pages are those of the Django bookshop.
'use strict';
const express = require('express');
const http = require('http');
const { Pool } = require('pg');

const pool = new Pool({ connectionString: process.env.SHOP_DATABASE_URL, max: 8 });
const partner = new http.Agent({ keepAlive: true });
const app = express();

// One statement for the books, then one for each author.
app.get('/books', async (request, response) => {
  const first = (Number(request.query.page || 0) % 90) * 20;
  const listed = await pool.query('SELECT id, title, author_id FROM book ORDER BY id LIMIT 20 OFFSET $1', [first]);
  const books = [];
  for (const book of listed.rows) {
    const author = await pool.query('SELECT name FROM author WHERE id = $1', [book.author_id]);
    books.push({ title: book.title, author: author.rows[0].name });
  }
  response.json({ books });
});

// orders.email has no index.
app.get('/orders', async (request, response) => {
  const found = await pool.query('SELECT id FROM orders WHERE email = $1 ORDER BY id', [
    `reader${request.query.reader}@example.org`,
  ]);
  response.json({ orders: found.rows.map((row) => row.id) });
});

// What a partner asks for it: the waiting is somebody else's.
app.get('/quote/:id', (request, response, next) => {
  const url = `${process.env.SHOP_PARTNER_URL}/shipping/${request.params.id}`;
  http
    .get(url, { agent: partner }, (answer) => {
      let text = '';
      answer.on('data', (part) => (text += part));
      answer.on('end', () => response.json({ book: request.params.id, quote: JSON.parse(text) }));
    })
    .on('error', next);
});

// Found the slow way, in the event loop.
app.get('/discount/:id', (request, response) => {
  let best = 0;
  let seed = BigInt(request.params.id);
  for (let step = 0; step < 2000000; step += 1) {
    seed = (seed * 1103515245n + 12345n) & 0x7fffffffn;
    const value = Number(seed % 1000n) - (step % 7);
    if (value > best) best = value;
  }
  response.json({ book: request.params.id, discount: best });
});

// One row by its key.
app.get('/book/:id', async (request, response) => {
  const found = await pool.query(
    'SELECT b.title, a.name FROM book b JOIN author a ON a.id = b.author_id WHERE b.id = $1',
    [request.params.id],
  );
  response.json(found.rows[0]);
});

app.listen(Number(process.argv[2]), '127.0.0.1');

// The tracer listens for the signal too and sends its last spans, so that node would not end by itself.
process.on('SIGTERM', () => setTimeout(() => process.exit(0), 500));
