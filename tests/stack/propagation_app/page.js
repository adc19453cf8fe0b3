// One page, with nothing about tracing in it: `--require @opentelemetry/auto-instrumentations-node/register` traces it.
'use strict';
const http = require('http');

http
  .createServer((request, response) => setTimeout(() => response.end('ok'), 5))
  .listen(Number(process.argv[2]), '127.0.0.1');

// The tracer listens for the signal too and sends its last spans, so that node would not end by itself.
process.on('SIGTERM', () => setTimeout(() => process.exit(0), 500));
