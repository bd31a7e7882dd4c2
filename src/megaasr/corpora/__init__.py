"""Readers of public corpora in their published layouts, which write manifests."""
