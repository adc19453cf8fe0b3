// Spans from the OpenTelemetry SDK for Go, in two ways.
//
//	sender send PROTOCOL COMPRESSION ENDPOINT SERVICE TRACEPARENT TRACESTATE
//
// sends the spans that ../send.py sends, and ends.
//
//	sender serve PROTOCOL ENDPOINT ADDRESS CHILDREN
//
// is a service: it answers every request, continues its trace, and makes one SERVER span and CHILDREN others for it. On
// SIGTERM it sends what waits, prints how many spans it made as {"made": N}, and ends.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func main() {
	if len(os.Args) == 8 && os.Args[1] == "send" {
		send(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6], os.Args[7])
		return
	}
	if len(os.Args) == 6 && os.Args[1] == "serve" {
		children, err := strconv.Atoi(os.Args[5])
		must(err)
		serve(os.Args[2], os.Args[3], os.Args[4], children)
		return
	}
	fmt.Fprintln(os.Stderr, "usage: see the head of main.go")
	os.Exit(2)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func exporter(protocol, compression, endpoint string) *otlptrace.Exporter {
	ctx := context.Background()
	if protocol == "grpc" {
		options := []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(endpoint)}
		if compression == "gzip" {
			options = append(options, otlptracegrpc.WithCompressor("gzip"))
		}
		made, err := otlptracegrpc.New(ctx, options...)
		must(err)
		return made
	}
	packed := otlptracehttp.NoCompression
	if compression == "gzip" {
		packed = otlptracehttp.GzipCompression
	}
	made, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint+"/v1/traces"), otlptracehttp.WithCompression(packed))
	must(err)
	return made
}

func provider(exporter *otlptrace.Exporter, service string, options ...sdk.BatchSpanProcessorOption) *sdk.TracerProvider {
	from := resource.NewSchemaless(attribute.String("service.name", service), attribute.Int("deployment.number", 7))
	return sdk.NewTracerProvider(sdk.WithResource(from), sdk.WithBatcher(exporter, options...))
}

func send(protocol, compression, endpoint, service, traceparent, tracestate string) {
	made := provider(exporter(protocol, compression, endpoint), service)
	tracer := made.Tracer("sender", trace.WithInstrumentationVersion("1.2.3"))
	at := func(ms int) time.Time { return time.Unix(1_700_000_000, int64(ms)*1_000_000) }
	carrier := propagation.MapCarrier{"traceparent": traceparent, "tracestate": tracestate}
	caller := propagation.TraceContext{}.Extract(context.Background(), carrier)
	linkedTrace, _ := trace.TraceIDFromHex("0af7651916cd43dd8448eb211c80319c")
	linkedSpan, _ := trace.SpanIDFromHex("b7ad6b7169203331")
	linked := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: linkedTrace, SpanID: linkedSpan, TraceFlags: trace.FlagsSampled, Remote: true,
	})
	below, root := tracer.Start(caller, "GET /orders/{id}",
		trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(at(0)),
		trace.WithLinks(trace.Link{SpanContext: linked, Attributes: []attribute.KeyValue{attribute.String("why", "batch")}}),
		trace.WithAttributes(
			attribute.String("text", "grün ✓"), attribute.Bool("flag", true), attribute.Int64("whole", 9007199254740991),
			attribute.Int("negative", -42), attribute.Float64("fraction", 0.5),
			attribute.StringSlice("texts", []string{"a", "b"}), attribute.IntSlice("wholes", []int{1, 2, 3}),
			attribute.Float64Slice("fractions", []float64{0.5, 1.5}), attribute.BoolSlice("flags", []bool{true, false}),
		))
	root.AddEvent("happened", trace.WithTimestamp(at(5)), trace.WithAttributes(attribute.Int("n", 1)))
	root.SetStatus(codes.Error, "went wrong")
	child := func(name string, kind trace.SpanKind, start, end int) {
		_, span := tracer.Start(below, name, trace.WithSpanKind(kind), trace.WithTimestamp(at(start)))
		if kind == trace.SpanKindClient {
			span.SetAttributes(attribute.String("db.system.name", "postgresql"),
				attribute.String("db.query.text", "SELECT * FROM orders WHERE id = $1"))
			span.SetStatus(codes.Ok, "")
		}
		span.End(trace.WithTimestamp(at(end)))
	}
	child("work", trace.SpanKindInternal, 10, 20)
	child("SELECT orders", trace.SpanKindClient, 20, 40)
	child("publish", trace.SpanKindProducer, 40, 41)
	child("take", trace.SpanKindConsumer, 50, 60)
	root.End(trace.WithTimestamp(at(100)))
	must(made.Shutdown(context.Background()))
}

func serve(protocol, endpoint, address string, children int) {
	// Blocking when the queue is full: this service loses no span of its own accord, so that what is missing at the end was
	// lost on the way.
	made := provider(exporter(protocol, "none", endpoint), "sender", sdk.WithBlocking(),
		sdk.WithMaxExportBatchSize(512), sdk.WithBatchTimeout(500*time.Millisecond))
	tracer := made.Tracer("sender")
	var count atomic.Int64
	handler := http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		ctx := propagation.TraceContext{}.Extract(request.Context(), propagation.HeaderCarrier(request.Header))
		ctx, span := tracer.Start(ctx, "GET /", trace.WithSpanKind(trace.SpanKindServer))
		for number := range children {
			_, child := tracer.Start(ctx, "SELECT part", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
				attribute.String("db.system.name", "postgresql"), attribute.Int("part", number),
				attribute.String("db.query.text", "SELECT * FROM part WHERE id = $1")))
			child.End()
		}
		_, _ = answer.Write([]byte("ok"))
		span.End()
		if span.SpanContext().IsSampled() {
			count.Add(int64(children) + 1)
		}
	})
	server := &http.Server{Addr: address, Handler: handler}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	go func() {
		<-stop.Done()
		_ = server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		must(err)
	}
	failed := ""
	if err := made.Shutdown(context.Background()); err != nil {
		failed = strings.TrimSpace(err.Error())
	}
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{"made": count.Load(), "failed": failed}))
}
