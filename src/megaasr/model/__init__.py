"""The speech model: prompt, native classes, loading, and the interface that others see."""
