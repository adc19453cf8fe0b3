// As ../send.py, with the OpenTelemetry SDK for Node.js:
// node send.mjs PROTOCOL COMPRESSION ENDPOINT SERVICE TRACEPARENT TRACESTATE
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, defaultTextMapGetter, trace } from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter as Grpc } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as Json } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as Proto } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

const [protocol, compression, endpoint, service, traceparent, tracestate] = process.argv.slice(2);
const Exporter = { grpc: Grpc, 'http/protobuf': Proto, 'http/json': Json }[protocol];
const url = protocol === 'grpc' ? endpoint : `${endpoint}/v1/traces`;
const exporter = new Exporter({ url, compression });
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': service, 'deployment.number': 7 }),
  spanProcessors: [new BatchSpanProcessor(exporter)],
});
const tracer = provider.getTracer('sender', '1.2.3');

const at = (ms) => [1_700_000_000, ms * 1_000_000];
const caller = new W3CTraceContextPropagator().extract(ROOT_CONTEXT, { traceparent, tracestate }, defaultTextMapGetter);
const linked = {
  traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: TraceFlags.SAMPLED, isRemote: true,
};
const root = tracer.startSpan('GET /orders/{id}', {
  kind: SpanKind.SERVER,
  startTime: at(0),
  links: [{ context: linked, attributes: { why: 'batch' } }],
  attributes: {
    text: 'grün ✓', flag: true, whole: Number.MAX_SAFE_INTEGER, negative: -42, fraction: 0.5,
    texts: ['a', 'b'], wholes: [1, 2, 3], fractions: [0.5, 1.5], flags: [true, false],
  },
}, caller);
root.addEvent('happened', { n: 1 }, at(5));
root.setStatus({ code: SpanStatusCode.ERROR, message: 'went wrong' });
const below = trace.setSpan(caller, root);
for (const [name, kind, start, end, attributes] of [
  ['work', SpanKind.INTERNAL, 10, 20, {}],
  ['SELECT orders', SpanKind.CLIENT, 20, 40, { 'db.system.name': 'postgresql', 'db.query.text': 'SELECT * FROM orders WHERE id = $1' }],
  ['publish', SpanKind.PRODUCER, 40, 41, {}],
  ['take', SpanKind.CONSUMER, 50, 60, {}],
]) {
  const span = tracer.startSpan(name, { kind, startTime: at(start), attributes }, below);
  if (kind === SpanKind.CLIENT) span.setStatus({ code: SpanStatusCode.OK });
  span.end(at(end));
}
root.end(at(100));
await provider.shutdown();
