"""Measures the gateway beside its peers; `loadtest/compare` is the command."""
