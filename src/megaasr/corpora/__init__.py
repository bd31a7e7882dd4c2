"""Public corpora in their published folder layouts, as manifests."""
