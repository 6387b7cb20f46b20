"""Clips in tar shards: found by an index, read by range or forward from disks, object stores and commands."""
