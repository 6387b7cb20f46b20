"""What is done with data once: manifests, checking, transcoding, statistics, synthetic data."""
