# frozen_string_literal: true

# As send.py, with the OpenTelemetry SDK for Ruby, which exports HTTP/protobuf alone:
# ruby send.rb PROTOCOL COMPRESSION ENDPOINT SERVICE TRACEPARENT TRACESTATE

require 'opentelemetry/sdk'
require 'opentelemetry/exporter/otlp'

_protocol, compression, endpoint, service, traceparent, tracestate = ARGV
T0 = 1_700_000_000
def at(milliseconds) = Time.at(T0, milliseconds, :millisecond)

exporter = OpenTelemetry::Exporter::OTLP::Exporter.new(endpoint: "#{endpoint}/v1/traces", compression: compression)
resource = OpenTelemetry::SDK::Resources::Resource.default.merge(
  OpenTelemetry::SDK::Resources::Resource.create('service.name' => service, 'deployment.number' => 7)
)
provider = OpenTelemetry::SDK::Trace::TracerProvider.new(resource: resource)
provider.add_span_processor(OpenTelemetry::SDK::Trace::Export::BatchSpanProcessor.new(exporter))
tracer = provider.tracer('sender', '1.2.3')

propagator = OpenTelemetry::Trace::Propagation::TraceContext.text_map_propagator
caller_context = propagator.extract({ 'traceparent' => traceparent, 'tracestate' => tracestate },
                                    context: OpenTelemetry::Context.empty)
linked = OpenTelemetry::Trace::SpanContext.new(
  trace_id: ['0af7651916cd43dd8448eb211c80319c'].pack('H*'), span_id: ['b7ad6b7169203331'].pack('H*'),
  trace_flags: OpenTelemetry::Trace::TraceFlags::SAMPLED, remote: true
)
root = tracer.start_span(
  'GET /orders/{id}', with_parent: caller_context, kind: :server, start_timestamp: at(0),
                      links: [OpenTelemetry::Trace::Link.new(linked, { 'why' => 'batch' })],
                      attributes: {
                        'text' => 'grün ✓', 'flag' => true, 'whole' => 9_007_199_254_740_991, 'negative' => -42,
                        'fraction' => 0.5, 'texts' => %w[a b], 'wholes' => [1, 2, 3], 'fractions' => [0.5, 1.5],
                        'flags' => [true, false]
                      }
)
root.add_event('happened', attributes: { 'n' => 1 }, timestamp: at(5))
root.status = OpenTelemetry::Trace::Status.error('went wrong')
below = OpenTelemetry::Trace.context_with_span(root, parent_context: caller_context)
[['work', :internal, 10, 20], ['SELECT orders', :client, 20, 40], ['publish', :producer, 40, 41],
 ['take', :consumer, 50, 60]].each do |name, kind, from, to|
  span = tracer.start_span(name, with_parent: below, kind: kind, start_timestamp: at(from))
  if kind == :client
    span.set_attribute('db.system.name', 'postgresql')
    span.set_attribute('db.query.text', 'SELECT * FROM orders WHERE id = $1')
    span.status = OpenTelemetry::Trace::Status.ok
  end
  span.finish(end_timestamp: at(to))
end
root.finish(end_timestamp: at(100))
exit(1) unless provider.shutdown == OpenTelemetry::SDK::Trace::Export::SUCCESS
