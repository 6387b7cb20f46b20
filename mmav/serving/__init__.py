"""An HTTP endpoint that classifies clips: limits, reading processes, batches over requests, health and metrics."""
