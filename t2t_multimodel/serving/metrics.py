"""What /metrics tells Prometheus of a server: requests, their time, batches, the queue."""

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The numbers of one server. A problem that it does not have is counted as "unknown"."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self._registry)
        named = {"registry": self._registry}
        self._requests = Counter("t2t_requests", "Requests, by problem and status", ["problem", "status"], **named)
        self._seconds = Histogram("t2t_request_seconds", "Time of a request", ["problem"], buckets=_SECONDS, **named)
        self._batches = Histogram("t2t_batch_inputs", "Inputs decoded together", buckets=_ROWS, **named)
        self._streams = Gauge("t2t_streams", "Answers that are being streamed", **named)
        self._held = Gauge("t2t_request_bytes", "Bytes of requests under way, beyond the first 64 KiB of each", **named)
        self._waiting = Gauge("t2t_waiting_inputs", "Inputs that wait to be decoded", **named)

    def request(self, problem: str, status: int, seconds: float) -> None:
        """Counts a finished request."""
        self._requests.labels(problem, str(status)).inc()
        self._seconds.labels(problem).observe(seconds)

    def queue(self, batch: int, waiting: int) -> None:
        """Notes a batch (0: none) and how many inputs wait."""
        if batch:
            self._batches.observe(batch)
        self._waiting.set(waiting)

    def streams(self, count: int) -> None:
        """Notes how many answers are being streamed."""
        self._streams.set(count)

    def bodies(self, held: int) -> None:
        """Notes how many bytes of the bodies of large requests are held."""
        self._held.set(held)

    def text(self) -> bytes:
        return prometheus_client.generate_latest(self._registry)
