"""Models for release: base, adapter and router in one folder, measured and with a model card."""
