"""A catalogue over gRPC, plain Python: `opentelemetry-instrument` alone traces it. Its own timers go to a CSV file, one row
per call: method, status, messages received and sent, milliseconds."""

import csv
import os
import sys
import threading
import time
from concurrent import futures

import grpc
from grpc_reflection.v1alpha import reflection

import catalog_pb2
import catalog_pb2_grpc

LOCK = threading.Lock()
TIMINGS = open(os.environ["SHOP_TIMINGS"], "w", newline="", buffering=1)
WRITER = csv.writer(TIMINGS)
WRITER.writerow(["method", "status", "received", "sent", "ms"])


def product(name: str) -> catalog_pb2.Product:
    made = catalog_pb2.Product(id=name, price=9.5, stock=2**53 + 1)
    made.updated.GetCurrentTime()
    return made


class Row:
    """Counts and times one call."""

    def __init__(self, method: str):
        self.method, self.status, self.received, self.sent = method, "OK", 0, 0
        self.began = time.perf_counter()

    def end(self) -> None:
        with LOCK:
            WRITER.writerow(
                [self.method, self.status, self.received, self.sent, 1000 * (time.perf_counter() - self.began)]
            )


class Catalog(catalog_pb2_grpc.CatalogServicer):
    def GetProduct(self, request, context):
        row = Row("GetProduct")
        row.received = 1
        try:
            if context.invocation_metadata() and dict(context.invocation_metadata()).get("x-tenant") != "blue":
                row.status = "PERMISSION_DENIED"
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "no tenant")
            if request.id == "missing":
                row.status = "NOT_FOUND"
                context.abort(grpc.StatusCode.NOT_FOUND, f"no product {request.id!r}")
            time.sleep(0.02)
            row.sent = 1
            return product(request.id)
        finally:
            row.end()

    def Watch(self, request, context):
        row = Row("Watch")
        row.received = 1
        for n in range(request.count or 5):
            time.sleep(0.01)
            row.sent += 1
            yield product(f"{request.id}{n}")
        row.end()

    def Add(self, requests, context):
        row = Row("Add")
        ids = []
        for request in requests:
            row.received += 1
            ids.append(request.id)
        time.sleep(0.01)
        row.sent = 1
        row.end()
        return product("+".join(ids))

    def Chat(self, requests, context):
        row = Row("Chat")
        for request in requests:
            row.received += 1
            time.sleep(0.005)
            row.sent += 1
            yield product(f"re {request.id}")
        row.end()


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    catalog_pb2_grpc.add_CatalogServicer_to_server(Catalog(), server)
    if "--no-reflection" not in sys.argv:
        names = (catalog_pb2.DESCRIPTOR.services_by_name["Catalog"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
