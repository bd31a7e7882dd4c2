"""The speech model: prompt, native classes, loading, and the interface the other packages use."""
