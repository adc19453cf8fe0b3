// As ../send.py, with the OpenTelemetry SDK for Java:
// java Send PROTOCOL COMPRESSION ENDPOINT SERVICE TRACEPARENT TRACESTATE
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

public final class Send {
  static final long T0 = 1_700_000_000_000_000_000L;
  static final long MS = 1_000_000L;

  public static void main(String[] args) {
    SpanExporter exporter = args[0].equals("grpc")
        ? OtlpGrpcSpanExporter.builder().setEndpoint(args[2]).setCompression(args[1]).build()
        : OtlpHttpSpanExporter.builder().setEndpoint(args[2] + "/v1/traces").setCompression(args[1]).build();
    Resource resource = Resource.getDefault().merge(
        Resource.create(Attributes.builder().put("service.name", args[3]).put("deployment.number", 7).build()));
    SdkTracerProvider provider = SdkTracerProvider.builder()
        .setResource(resource).addSpanProcessor(BatchSpanProcessor.builder(exporter).build()).build();
    Tracer tracer = provider.get("sender", "1.2.3");

    Map<String, String> headers = Map.of("traceparent", args[4], "tracestate", args[5]);
    Context caller = W3CTraceContextPropagator.getInstance().extract(Context.root(), headers, new TextMapGetter<>() {
      @Override
      public Iterable<String> keys(Map<String, String> carrier) {
        return carrier.keySet();
      }

      @Override
      public String get(Map<String, String> carrier, String key) {
        return carrier == null ? null : carrier.get(key);
      }
    });
    SpanContext linked = SpanContext.createFromRemoteParent(
        "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", TraceFlags.getSampled(), TraceState.getDefault());
    Span root = tracer.spanBuilder("GET /orders/{id}").setParent(caller).setSpanKind(SpanKind.SERVER)
        .setStartTimestamp(T0, TimeUnit.NANOSECONDS)
        .addLink(linked, Attributes.of(AttributeKey.stringKey("why"), "batch"))
        .setAttribute("text", "grün ✓").setAttribute("flag", true)
        .setAttribute("whole", 9007199254740991L).setAttribute("negative", -42L).setAttribute("fraction", 0.5)
        .setAttribute(AttributeKey.stringArrayKey("texts"), List.of("a", "b"))
        .setAttribute(AttributeKey.longArrayKey("wholes"), List.of(1L, 2L, 3L))
        .setAttribute(AttributeKey.doubleArrayKey("fractions"), List.of(0.5, 1.5))
        .setAttribute(AttributeKey.booleanArrayKey("flags"), List.of(true, false))
        .startSpan();
    root.addEvent("happened", Attributes.of(AttributeKey.longKey("n"), 1L), T0 + 5 * MS, TimeUnit.NANOSECONDS);
    root.setStatus(StatusCode.ERROR, "went wrong");
    Context below = caller.with(root);
    child(tracer, below, "work", SpanKind.INTERNAL, 10, 20);
    child(tracer, below, "SELECT orders", SpanKind.CLIENT, 20, 40);
    child(tracer, below, "publish", SpanKind.PRODUCER, 40, 41);
    child(tracer, below, "take", SpanKind.CONSUMER, 50, 60);
    root.end(T0 + 100 * MS, TimeUnit.NANOSECONDS);
    provider.shutdown().join(20, TimeUnit.SECONDS);
  }

  private static void child(Tracer tracer, Context below, String name, SpanKind kind, long start, long end) {
    Span span = tracer.spanBuilder(name).setParent(below).setSpanKind(kind)
        .setStartTimestamp(T0 + start * MS, TimeUnit.NANOSECONDS).startSpan();
    if (kind == SpanKind.CLIENT) {
      span.setAttribute("db.system.name", "postgresql");
      span.setAttribute("db.query.text", "SELECT * FROM orders WHERE id = $1");
      span.setStatus(StatusCode.OK);
    }
    span.end(T0 + end * MS, TimeUnit.NANOSECONDS);
  }
}
